"""Evaluations as an application asks for them: a flag, a type, a default and a context. `python3 make_evaluations.py > evaluations.json`.

What a flag serves comes from the evaluator beside, `../make_evaluations.py`; what this adds is the caller's side: types, defaults, errors.
"""

import importlib.util
import json
import pathlib
import sys

BESIDE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(BESIDE))
spec = importlib.util.spec_from_file_location("server_evaluations", BESIDE / "make_evaluations.py")
server = importlib.util.module_from_spec(spec)
spec.loader.exec_module(server)
flag, clause, rollout = server.flag, server.clause, server.rollout

STAGES = {name: name for name in ("off", "dualwrite", "shadow", "live", "rampdown", "complete")}
COHORTS = {"clients-staff": ["42", "Zoë", "user-1"]}
TO_STAFF = [{"cohort": "clients-staff", "serve": {"variant": "b"}}]
FLAGS = [
    flag("c-boolean", TO_STAFF, "boolean", {"a": False, "b": True}, "a", "a"),
    flag("c-string", TO_STAFF, "string", {"a": "", "b": "Kia ora ✓"}, "a", "a"),
    flag("c-digits", [], "string", {"a": "10"}, "a", "a"),
    flag("c-integer", TO_STAFF, "integer", {"a": 0, "b": -42}, "a", "a"),
    flag("c-large", [], "integer", {"a": 9_007_199_254_740_993}, "a", "a"),
    flag("c-float", TO_STAFF, "float", {"a": 0.0, "b": 2.5}, "a", "a"),
    flag("c-whole", [], "float", {"a": 10.0}, "a", "a"),
    flag("c-object", TO_STAFF, "object", {"a": {}, "b": {"list": [1, None, "x"], "nested": {"on": True}}}, "a", "a"),
    flag("c-disabled", TO_STAFF, "string", {"a": "a", "b": "b"}, "b", "a", enabled=False),
    flag("c-split", [{"serve": rollout([("a", 0, 30_000), ("b", 30_000, 100_000)])}], "string", {"a": "a", "b": "b"}, "a", "a"),
    flag("c-plan", [{"clauses": [clause("account.plan", "in", ["pro", "team"])], "serve": {"variant": "b"}}], "string", {"a": "a", "b": "b"}, "a", "a"),
    flag("c-stage", [{"cohort": "clients-staff", "serve": {"variant": "live"}}], "string", STAGES, "dualwrite", "off"),
]
CONTEXTS = [
    {"targetingKey": "42"},
    {"targetingKey": 42},
    {"targetingKey": "43", "account": {"plan": "pro"}},
    {"targetingKey": "Zoë", "account": {"plan": "free", "note": "ünïcödé\n\"quoted\""}},
    {"account": {"plan": "team"}},
    {},
]
DEFAULTS = {"boolean": True, "string": "the default", "integer": 7, "float": 7.5, "object": {"the": "default"}}


def fits(value, ask):
    if ask == "boolean":
        return isinstance(value, bool)
    if ask == "string":
        return isinstance(value, str)
    if ask == "object":
        return isinstance(value, dict)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return ask == "float" or value == int(value)


def case(flag, ask, context):
    failed = {"flag": flag if isinstance(flag, str) else flag["key"], "ask": ask, "default": DEFAULTS[ask], "context": context}
    failed.update(value=DEFAULTS[ask], variant=None, reason="ERROR")
    if isinstance(flag, str):
        return {**failed, "error": "FLAG_NOT_FOUND"}
    answer = server.evaluate(flag, context)
    if "error" in answer:
        return {**failed, "error": answer["error"]}
    if not fits(answer["value"], ask):
        return {**failed, "error": "TYPE_MISMATCH"}
    return {**failed, "value": answer["value"], "variant": answer["variant"], "reason": answer["reason"], "error": None}


def main():
    server.COHORTS.update(COHORTS)
    cases = [case(flag, ask, context) for flag in FLAGS for ask in DEFAULTS for context in (CONTEXTS if ask == flag["type"] else CONTEXTS[:1])]
    cases += [case(key, ask, CONTEXTS[0]) for key in ("c-no-such-flag", "C-BOOLEAN") for ask in DEFAULTS]
    cohorts = [{"name": name, "ids": ids} for name, ids in COHORTS.items()]
    lines = server.lines
    print(f'{{"cohorts": {lines(cohorts)},\n"flags": {lines(FLAGS)},\n"cases": {lines(cases)}}}')


if __name__ == "__main__":
    main()
