"""Rules over cohorts with conditions, exceptions, prerequisites and schedules, in plain Python: `python3 make_rules.py` writes
rules.json.

It shares no line with the server; what a clause says and which bucket a value is in come from the other two files beside it.
This is here to show where the answers came from, not to be run again over a published file.
"""

import json

from make_buckets import bucket
from make_clauses import instant, look_up, outcome


def clause(attribute, operator, operand=None, **more):
    field = {} if operand is None else {"values" if isinstance(operand, list) else "value": operand}
    return {"attribute": attribute, "operator": operator, **field, **more}


PRO = clause("plan", "equals", "pro")
BIG = clause("seats", "at_least", 10)
INSIDE = clause("address", "in_cidr", "10.0.0.0/8")
COHORTS = [
    {"name": "staff", "ids": ["42", "7", "staff-1"], "conditions": []},
    {"name": "big", "ids": [], "conditions": [[PRO, BIG], [clause("plan", "equals", "enterprise")]]},
    {"name": "both", "ids": ["42", "u-3"], "conditions": [[PRO, BIG], [INSIDE]]},
    {"name": "by-key", "ids": [], "conditions": [[clause("targetingKey", "starts_with", "staff-")]]},
    {"name": "nobody", "ids": [], "conditions": []},
]
DECEMBER, JANUARY = "2026-12-01T00:00:00Z", "2027-01-01T00:00:00+01:00"
HALF = [{"variant": "new", "from": 0, "to": 50_000}, {"variant": "old", "from": 50_000, "to": 100_000}]


def flag(key, rules, needs=(), **more):
    prerequisites = [{"flag": other, "variants": variants} for other, variants in needs]
    return {"key": key, "type": "string", "variants": {"old": "o", "new": "n", "third": "t", "off": "f"},
            "default_variant": "old", "off_variant": "off", "prerequisites": prerequisites, "rules": rules, **more}


def serve(variant="new", **rule):
    return {**rule, "serve": {"variant": variant}}


FLAGS = [
    flag("big", [serve(cohort="big")]),
    flag("both", [serve(cohort="both")]),
    flag("by-key", [serve(cohort="by-key")]),
    flag("all-but-big", [serve(except_cohort="big")]),
    flag("all-but-both", [serve(except_cohort="both")]),
    flag("all-but-staff", [serve(except_cohort="staff")]),
    flag("all-but-unknown", [serve(except_cohort="unknown")]),
    flag("unknown", [serve(cohort="unknown"), serve("third", cohort="staff")]),
    flag("staff-but-big", [serve(cohort="staff", except_cohort="big")]),
    flag("three", [serve("third", cohort="nobody"), serve(cohort="both", clauses=[clause("beta", "exists")]),
                   {"except_cohort": "big", "serve": {"rollout": {"seed": "three", "ranges": HALF}}}]),
    flag("scheduled", [{"serve": {"schedule": [{"from": DECEMBER, "variant": "new"}, {"from": JANUARY, "variant": "third"}]}}]),
    flag("staff-first", [serve(cohort="staff"), {"clauses": [PRO], "serve": {"schedule": [{"from": JANUARY, "variant": "new"}]}}]),
    flag("killed", [serve()], enabled=False),
    flag("needs-big", [serve()], [("big", ["new"])]),
    flag("needs-scheduled", [serve()], [("scheduled", ["new", "third"])]),
    flag("needs-both", [serve(clauses=[clause("beta", "equals", True)])], [("big", ["new"]), ("both", ["new"])]),
    flag("needs-not", [], [("needs-big", ["off", "old"])]),
    flag("needs-killed", [serve()], [("killed", ["new"])]),
    flag("needs-off", [serve()], [("killed", ["off"])]),
    flag("needs-nothing", [serve()], [("there-is-none", ["new"])]),
    flag("needs-unknown-variant", [serve()], [("big", ["gone"])]),
    flag("circle-a", [serve()], [("circle-b", ["new", "old", "off"])]),
    flag("circle-b", [serve()], [("circle-a", ["new", "old", "off"])]),
    flag("into-the-circle", [serve()], [("circle-a", ["off"])]),
    flag("change", [serve(clauses=[PRO]), serve("third", cohort="big"), serve("third", except_cohort="both"),
                    serve(clauses=[clause("targetingKey", "ends_with", "3")])], change="billing"),
]
CIRCULAR = {"circle-a", "circle-b", "into-the-circle"}

CONTEXTS = [
    {}, {"plan": "pro", "seats": 10}, {"plan": "pro", "seats": 9.5}, {"plan": "free"}, {"plan": "enterprise"},
    {"targetingKey": 42, "plan": "pro", "seats": 10.0, "beta": True}, {"targetingKey": "42", "plan": "free", "beta": False},
    {"targetingKey": "7", "plan": 1, "seats": 10}, {"targetingKey": "7", "plan": "pro", "seats": "10", "address": "10.0.0.1"},
    {"targetingKey": "staff-1", "plan": "pro", "seats": 12, "address": "::ffff:10.1.1.1", "beta": True},
    {"targetingKey": "staff-2", "seats": 1, "address": "192.168.0.1"}, {"targetingKey": "", "plan": "pro", "seats": 11},
    {"targetingKey": "u-0", "plan": None, "address": "10.0.0.0/8"}, {"targetingKey": "u-1", "plan": ["pro"], "seats": 10},
    {"targetingKey": "u-2", "plan": "enterprise", "address": "2001:db8::1", "beta": "true"},
    {"targetingKey": "u-3", "plan": "free", "seats": 1, "address": "192.168.0.1", "beta": None},
    {"targetingKey": "u-4", "plan": "free", "seats": 1, "address": "192.168.0.1"},
    {"targetingKey": "u-5", "plan": "pro", "seats": 1, "address": "192.168.0.1"},
]
NOWS = ["2026-11-30T23:59:59.999999Z", DECEMBER, "2026-12-31T22:59:59Z", "2026-12-31T23:00:00Z"]


class NeedsKey(Exception):
    pass


def say(asked, context, is_group):
    """yes, no, or why it can't be told."""
    if is_group and asked["attribute"] != "targetingKey":
        return "group"
    said = outcome(asked, context)
    if said == "missing" and asked["attribute"] == "targetingKey":
        raise NeedsKey
    return said


def member(name, context, is_group):
    """True, False, or None if it can't be told."""
    found = next((cohort for cohort in COHORTS if cohort["name"] == name), None)
    if found is None:
        return None
    key = look_up(context, "targetingKey")
    if key in found["ids"]:
        return True
    if not found["conditions"]:
        if key is None:
            raise NeedsKey
        return False
    if is_group:
        return None
    said = []
    for group in found["conditions"]:
        each = [outcome(asked, context) for asked in group]
        said.append("no" if "no" in each else "yes" if all(one == "yes" for one in each) else "untold")
    if "yes" in said:
        return True
    asks_key = any(asked["attribute"] == "targetingKey" for group in found["conditions"] for asked in group)
    if key is None and (found["ids"] or ("untold" in said and asks_key)):
        raise NeedsKey
    return None if "untold" in said else False


def rule_matches(rule, context, is_group):
    for asked in rule.get("clauses", []):
        if say(asked, context, is_group) != "yes":
            return False
    if "cohort" in rule and member(rule["cohort"], context, is_group) is not True:
        return False
    return "except_cohort" not in rule or member(rule["except_cohort"], context, is_group) is False


def evaluate(asked, context, now):
    def served(variant, reason, rule=None):
        return {"variant": variant, "value": asked["variants"][variant], "reason": reason, "rule": rule}

    if not asked.get("enabled", True):
        return served(asked["off_variant"], "DISABLED")
    for prerequisite in asked["prerequisites"]:
        other = next((other for other in FLAGS if other["key"] == prerequisite["flag"]), None)
        if other is None or asked["key"] in CIRCULAR:
            return served(asked["off_variant"], "DISABLED")
        told = evaluate(other, context, now)
        if "error" in told:
            return told
        if told["variant"] not in prerequisite["variants"]:
            return served(asked["off_variant"], "DISABLED")
    try:
        for number, rule in enumerate(asked["rules"]):
            if not rule_matches(rule, context, "change" in asked):
                continue
            what = rule["serve"]
            if "variant" in what:
                return served(what["variant"], "TARGETING_MATCH", number)
            if "schedule" in what:
                passed = [step["variant"] for step in what["schedule"] if instant(step["from"]) <= instant(now)]
                if not passed:
                    continue
                return served(passed[-1], "TARGETING_MATCH", number)
            key = look_up(context, "targetingKey")
            if key is None:
                raise NeedsKey
            where = bucket(what["rollout"]["seed"], key)
            owner = next(part["variant"] for part in what["rollout"]["ranges"] if part["from"] <= where < part["to"])
            return {**served(owner, "SPLIT", number), "bucket": where}
    except NeedsKey:
        return {"error": "TARGETING_KEY_MISSING"}
    return served(asked["default_variant"], "DEFAULT" if asked["rules"] else "STATIC")


def lines(entries):
    return ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)


def main():
    cases = []
    for asked in FLAGS:
        is_scheduled = "schedule" in json.dumps([asked["rules"], asked["prerequisites"]])
        for context in CONTEXTS:
            for now in NOWS if is_scheduled else NOWS[:1]:
                cases.append({"flag": asked["key"], "context": context, "now": now, **evaluate(asked, context, now)})
    with open("rules.json", "w", encoding="utf-8") as file:
        file.write(f'{{"cohorts": [\n{lines(COHORTS)}\n],\n"flags": [\n{lines(FLAGS)}\n],\n"cases": [\n{lines(cases)}\n]}}\n')


if __name__ == "__main__":
    main()
