"""An independent evaluator, in plain Python: `python3 make_evaluations.py > evaluations.json`.

It shares no line with the server: every flag below is asked with every context, and the answers are frozen. This is here to
show where they came from, not to be run again over a published file.
"""

import json
from decimal import Decimal

from make_buckets import bucket

COHORTS = {
    "staff": ["42", "7", "user-1", "550e8400-e29b-41d4-a716-446655440000", "07", "18446744073709551615", "Zoë"],
    "empty": [],
    "numbers": [str(number * 3) for number in range(40)],
}


def rollout(ranges, **more):
    return {"rollout": {**more, "ranges": [{"variant": v, "from": f, "to": t} for v, f, t in ranges]}}


def flag(key, rules, kind="string", variants=None, default="old", off="off", **more):
    variants = variants or {"old": "the old way", "new": "the new way", "third": "another", "off": "nothing"}
    return {"key": key, "type": kind, "variants": variants, "default_variant": default, "off_variant": off, "rules": rules, **more}


def clause(attribute, operator, operand, **more):
    return {"attribute": attribute, "operator": operator, "value" if operator == "equals" else "values": operand, **more}


TEN = [("new", 0, 10_000), ("old", 10_000, 100_000)]
FLAGS = [
    flag("static", []),
    flag("killed", [{"serve": {"variant": "new"}}], enabled=False),
    flag("boolean", [{"cohort": "staff", "serve": {"variant": "on"}}], "boolean", {"on": True, "no": False}, "no", "no"),
    flag("integer", [{"cohort": "numbers", "serve": {"variant": "many"}}], "integer", {"one": 1, "many": 9_007_199_254_740_993}, "one", "one"),
    flag("float", [{"cohort": "numbers", "serve": {"variant": "ten"}}], "float", {"half": 0.5, "ten": 10.0}, "half", "half"),
    flag("object", [{"cohort": "staff", "serve": {"variant": "full"}}], "object", {"none": {}, "full": {"a": [1, 2.5, None], "b": {"c": "d"}}}, "none", "none"),
    flag("nobody", [{"cohort": "empty", "serve": {"variant": "new"}}]),
    flag("plan", [{"clauses": [clause("account.plan", "in", ["pro", "team"])], "serve": {"variant": "new"}}]),
    flag("plan-not", [{"clauses": [clause("account.plan", "equals", "free", negate=True)], "serve": {"variant": "new"}}]),
    flag("plan-any-case", [{"clauses": [clause("account.plan", "equals", "PRO", ignore_case=True)], "serve": {"variant": "new"}}]),
    flag("seats", [{"clauses": [clause("seats", "in", [1, 10, 2.5])], "serve": {"variant": "new"}}]),
    flag("seats-not", [{"clauses": [clause("seats", "in", [1, 10], negate=True)], "serve": {"variant": "new"}}]),
    flag("beta", [{"clauses": [clause("beta", "equals", True)], "serve": {"variant": "new"}}]),
    flag("key-in", [{"clauses": [clause("targetingKey", "in", ["7", 42])], "serve": {"variant": "new"}}]),
    flag("both", [{"cohort": "numbers", "clauses": [clause("beta", "equals", True), clause("seats", "equals", 10)], "serve": {"variant": "new"}}]),
    flag("order", [
        {"clauses": [clause("beta", "equals", True)], "serve": {"variant": "third"}},
        {"cohort": "staff", "serve": {"variant": "new"}},
        {"serve": rollout([("third", 0, 50_000), ("old", 50_000, 100_000)])},
    ]),
    flag("ten", [{"serve": rollout(TEN)}]),
    flag("ten-other-seed", [{"serve": rollout(TEN, seed="another seed")}]),
    flag("pieces", [{"serve": rollout([("old", 20_000, 50_000), ("new", 0, 20_000), ("third", 50_000, 60_000), ("new", 60_000, 100_000)])}]),
    flag("by-account", [{"serve": rollout([("new", 0, 50_000), ("old", 50_000, 100_000)], attribute="account.id", seed="accounts")}]),
    flag("nearly-all", [{"cohort": "staff", "serve": rollout([("old", 0, 1), ("new", 1, 100_000)])}]),
]

CONTEXTS = [
    {},
    {"targetingKey": ""},
    {"targetingKey": "Zoë", "account": {"plan": "pro", "id": "a-1"}, "seats": 10, "beta": True},
    {"targetingKey": 42, "account": {"plan": "free", "id": 7}, "seats": 1.0, "beta": False},
    {"targetingKey": 42.0, "account": {"plan": "Pro", "id": 7.0}, "seats": 2.5},
    {"targetingKey": "42", "account.plan": "team", "account.id": "a-2", "seats": "10", "beta": "true"},
    {"targetingKey": "7", "account": {"plan": None}, "seats": None, "beta": None},
    {"targetingKey": "07", "account": {"plan": ["pro"]}, "seats": [10], "beta": 1},
    {"targetingKey": "+7", "account": "pro", "seats": True, "beta": {}},
    {"targetingKey": "user-1", "account": {"plan": True, "id": True}, "seats": 11, "beta": 0},
    {"targetingKey": "USER-1", "account": {"plan": "TEAM", "id": "a-1"}, "seats": -0.0},
    {"targetingKey": "550e8400-e29b-41d4-a716-446655440000", "beta": True, "account": {"plan": 5}},
    {"targetingKey": "550E8400-E29B-41D4-A716-446655440000", "beta": True, "seats": 10},
    {"targetingKey": 18446744073709551615, "account": {"plan": ""}},
    {"account": {"plan": "pro", "id": "a-1"}, "seats": 10, "beta": True},
    {"account": {"plan": "free"}, "seats": 9, "beta": False},
]
CONTEXTS += [{"targetingKey": str(number), "beta": number % 2 == 0, "seats": number, "account": {"id": number}} for number in range(24)]


def canonical(value):
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float):
        if abs(value) >= 2**53:
            return None
        return str(int(value)) if value == int(value) else format(Decimal(repr(value)), "f")
    return str(value) if -(2**63) <= value < 2**64 else None


def kind(value):
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, str) else None


class NeedsKey(Exception):
    pass


def find(context, path):
    if path == "targetingKey":
        key = canonical(context.get("targetingKey"))
        if not key:
            raise NeedsKey
        return key
    if path in context:
        return context[path]
    for name in path.split("."):
        if not isinstance(context, dict) or name not in context:
            return None
        context = context[name]
    return context


def holds(clause, context):
    value = find(context, clause["attribute"])
    operands = [clause["value"]] if clause["operator"] == "equals" else clause["values"]
    if clause["attribute"] == "targetingKey":
        operands = [canonical(operand) for operand in operands]
    if kind(value) is None or kind(value) != kind(operands[0]):
        return False
    if clause.get("ignore_case"):
        value, operands = value.lower(), [operand.lower() for operand in operands]
    return (value in operands) != clause.get("negate", False)


def evaluate(flag, context):
    def served(variant, reason, rule=None):
        return {"variant": variant, "value": flag["variants"][variant], "reason": reason, "rule": rule}

    if not flag.get("enabled", True):
        return served(flag["off_variant"], "DISABLED")
    try:
        for number, rule in enumerate(flag["rules"]):
            if not all(holds(clause, context) for clause in rule.get("clauses", [])):
                continue
            if "cohort" in rule and find(context, "targetingKey") not in COHORTS[rule["cohort"]]:
                continue
            serve = rule["serve"]
            if "variant" in serve:
                return served(serve["variant"], "TARGETING_MATCH", number)
            division = serve["rollout"]
            value = canonical(find(context, division.get("attribute", "targetingKey")))
            if value is None:
                continue
            where = bucket(division.get("seed", flag["key"]), value)
            owner = next(r["variant"] for r in division["ranges"] if r["from"] <= where < r["to"])
            return {**served(owner, "SPLIT", number), "bucket": where}
    except NeedsKey:
        return {"error": "TARGETING_KEY_MISSING"}
    return served(flag["default_variant"], "DEFAULT" if flag["rules"] else "STATIC")


def lines(values):
    return "[\n" + ",\n".join("  " + json.dumps(value, ensure_ascii=False) for value in values) + "\n]"


def main():
    cases = [{"flag": flag["key"], "context": context, **evaluate(flag, context)} for flag in FLAGS for context in CONTEXTS]
    cohorts = [{"name": name, "ids": ids} for name, ids in COHORTS.items()]
    print(f'{{"cohorts": {lines(cohorts)},\n"flags": {lines(FLAGS)},\n"cases": {lines(cases)}}}')


if __name__ == "__main__":
    main()
