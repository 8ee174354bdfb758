"""What a migrator does, from the table of docs/clients.md: `python3 make_migrator.py > migrator.json`. Shares no line with a client."""

import json

# stage → sides that a read calls, the one that counts first; sides that a write calls, in order
TABLE = {
    "off": (["old"], ["old"]),
    "dualwrite": (["old"], ["old", "new"]),
    "shadow": (["old", "new"], ["old", "new"]),
    "live": (["new", "old"], ["new", "old"]),
    "rampdown": (["new"], ["new", "old"]),
    "complete": (["new"], ["new"]),
}
EQUAL = ({"returns": {"total": 12.5, "lines": [1, 2]}}, {"returns": {"total": 12.5, "lines": [1, 2]}})
DIFFERENT = ({"returns": 10}, {"returns": 11})
OUTCOMES = {
    "both return the same": EQUAL,
    "both return, not the same": DIFFERENT,
    "one returns null": ({"returns": "a"}, {"returns": None}),
    "old fails": ({"raises": "Boom"}, {"returns": 1}),
    "new fails": ({"returns": 1}, {"raises": "Boom"}),
    "both fail alike": ({"raises": "Boom"}, {"raises": "Boom"}),
    "both fail, not alike": ({"raises": "Boom"}, {"raises": "Bang"}),
}
JSON_BYTES_MAX = 32 * 1024


def sendable(value):
    """`$object` stands for an object of the language, equal to those with the same number; `$text` for so many `x`."""
    if isinstance(value, dict) and "$object" in value:
        return False
    return not (isinstance(value, dict) and "$text" in value) or value["$text"] + 2 <= JSON_BYTES_MAX


def compared(old, new, how):
    if how == "fails":
        return False
    if how == "within_1":
        return abs(old - new) <= 1
    return old == new


def ignored(old, new, how):
    return {"always": True, "never": False, "fails": False, "new_is_null": new is None}[how]


def observed_read(outcomes, settings):
    both = {side: {"error": outcome["raises"]} if "raises" in outcome else {} for side, outcome in outcomes.items()}
    returned = {side: outcome["returns"] for side, outcome in outcomes.items() if "returns" in outcome}
    if len(returned) < 2:
        for side, value in returned.items():
            if settings["values"] and sendable(value):
                both[side]["value"] = value
        return both
    old, new = returned["old"], returned["new"]
    can_send = settings["values"] and sendable(old) and sendable(new)
    if settings["compare"] is not None or settings["ignore"] or not can_send:
        both["matches"] = compared(old, new, settings["compare"])
        if not both["matches"] and any(ignored(old, new, how) for how in settings["ignore"]):
            return {"old": {}, "new": {}, "matches": True}
    if can_send:
        both["old"]["value"], both["new"]["value"] = old, new
    return both


def trace(name, stage, operation, outcomes, order="serial", first=None, draw=0.0, **more):
    settings = {"compare": None, "ignore": [], "values": True, "sample": 1, **more}
    outcomes = dict(zip(("old", "new"), outcomes))
    sides = TABLE[stage][operation == "write"]
    counts, sampled = sides[0], draw < settings["sample"]
    if operation == "read":
        if not sampled:
            sides = sides[:1]
        if order == "random" and len(sides) == 2 and first != sides[0]:
            sides = sides[::-1]
        calls = sides
    else:
        calls = sides[:1] if "raises" in outcomes[counts] else sides
    observation = None
    if len(calls) == 2:
        if operation == "read":
            observation = observed_read({side: outcomes[side] for side in ("old", "new")}, settings)
        elif sampled or "raises" in outcomes[calls[1]]:
            observation = {side: {"error": outcomes[side]["raises"]} if "raises" in outcomes[side] else {} for side in ("old", "new")}
        if observation is not None:
            rate = 1 if operation == "write" and "raises" in outcomes[calls[1]] else settings["sample"]
            observation = {"operation": f"shop:{operation}", **observation, **({} if rate == 1 else {"sample_rate": rate})}
    return {
        "name": f"{stage} {operation}: {name}", "stage": stage, "operation": operation, "order": order,
        **({"first": first} if first else {}), **settings, "draw": draw, **outcomes,
        "calls": [f"{side}.{operation}" for side in calls], "together": order == "concurrent" and operation == "read" and len(calls) == 2,
        "result": outcomes[counts], "observation": observation,
    }


def traces():
    for stage in TABLE:
        for name, outcomes in OUTCOMES.items():
            yield trace(name, stage, "read", outcomes)
            yield trace(name, stage, "write", outcomes)
    for stage in TABLE:
        for name in ("both return, not the same", "old fails", "new fails"):
            yield trace(f"{name}, concurrent", stage, "read", OUTCOMES[name], "concurrent")
            yield trace(f"{name}, order is for reads", stage, "write", OUTCOMES[name], "concurrent")
            for first in ("old", "new"):
                yield trace(f"{name}, random, {first} first", stage, "read", OUTCOMES[name], "random", first)
                yield trace(f"{name}, random, order is for reads", stage, "write", OUTCOMES[name], "random", first)
    for stage in ("shadow", "live"):
        for name, more in {
            "compare says the same": {"compare": "within_1"},
            "compare fails": {"compare": "fails"},
            "compare, values kept back": {"compare": "within_1", "values": False},
            "ignored": {"ignore": ["never", "always"]},
            "ignored although compare differs": {"compare": "equal", "ignore": ["always"]},
            "ignore says no": {"ignore": ["never"]},
            "ignore fails": {"ignore": ["fails"]},
            "one ignore fails, another says yes": {"ignore": ["fails", "always"]},
            "values kept back": {"values": False},
            "sampled": {"sample": 0.5, "draw": 0.25},
            "not sampled": {"sample": 0.5, "draw": 0.5},
            "never sampled": {"sample": 0, "draw": 0.0},
        }.items():
            yield trace(name, stage, "read", DIFFERENT, **more)
        yield trace("compare is not asked of a failure", stage, "read", OUTCOMES["new fails"], compare="equal")
        yield trace("a failure, values kept back", stage, "read", OUTCOMES["old fails"], values=False)
        yield trace("ignore is not asked of a failure", stage, "read", OUTCOMES["new fails"], ignore=["always"])
        yield trace("ignore is not asked of a match", stage, "read", EQUAL, ignore=["always"])
        yield trace("ignored because new is null", stage, "read", OUTCOMES["one returns null"], ignore=["new_is_null"])
        objects = [{"returns": {"$object": number}} for number in (1, 1, 2)]
        yield trace("equal objects", stage, "read", objects[:2])
        yield trace("other objects", stage, "read", objects[1:])
        yield trace("large values", stage, "read", [{"returns": {"$text": 40_000}}, {"returns": {"$text": 40_000}}])
        yield trace("one large value", stage, "read", [{"returns": "short"}, {"returns": {"$text": 40_000}}])
        yield trace("an object, the other failed", stage, "read", [objects[0], {"raises": "Boom"}])
        yield trace("sampled, concurrent", stage, "read", DIFFERENT, "concurrent", sample=0.5, draw=0.75)
    for stage in TABLE:
        yield trace("a sample leaves no write out", stage, "write", EQUAL, sample=0.5, draw=0.75)
        yield trace("a sampled write", stage, "write", EQUAL, sample=0.5, draw=0.25)
        for name in ("old fails", "new fails"):
            yield trace(f"{name}, not sampled", stage, "write", OUTCOMES[name], sample=0.5, draw=0.75)


# What the flag answers for a context, one after the other, and the stage of each. `error`: the flag cannot be evaluated.
STAGES = [
    {"default_stage": "off", "answers": [{"value": stage} for stage in TABLE], "stages": list(TABLE)},
    {"default_stage": "off", "answers": [{"error": "PROVIDER_NOT_READY"}], "stages": ["off"]},
    {"default_stage": "complete", "answers": [{"error": "FLAG_NOT_FOUND"}, {"value": "banana"}], "stages": ["complete", "complete"]},
    {"default_stage": "off", "answers": [{"value": "live"}, {"error": "GENERAL"}, {"value": "LIVE"}, {"value": "shadow"}, {"value": ""}],
     "stages": ["live", "live", "live", "shadow", "shadow"]},
    {"default_stage": "off",
     "answers": [{"context": "a", "value": "live"}, {"context": "b", "value": "shadow"}, {"context": "a", "error": "GENERAL"},
                 {"context": "b", "error": "GENERAL"}, {"context": "c", "error": "GENERAL"}],
     "stages": ["live", "shadow", "live", "shadow", "shadow"]},
]


def lines(values):
    return "[\n" + ",\n".join("  " + json.dumps(value, ensure_ascii=False) for value in values) + "\n]"


if __name__ == "__main__":
    table = {stage: {"read": read, "write": write} for stage, (read, write) in TABLE.items()}
    print(f'{{"table": {json.dumps(table)},\n"stages": {lines(STAGES)},\n"traces": {lines(traces())}}}')
