"""Every operator in plain Python: `python3 make_clauses.py` writes clauses.json.

It shares no line with the server. `values` lists clauses on an attribute, each with the values of which it says yes, no, or
that they are of a type of which it can't tell; `paths` has whole contexts. This is here to show where the answers came from,
not to be run again over a published file.
"""

import datetime
import ipaddress
import json
import re
from fractions import Fraction

MISSING, WRONG_TYPE = "missing", "wrong_type"
EXACT_FLOAT_MAX = 2**53


class WrongType(Exception):
    pass


def number(value):
    """An exact number: an int of 64 bits, or a float that stands for one number only."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongType
    if isinstance(value, float) and abs(value) >= EXACT_FLOAT_MAX:
        raise WrongType
    return Fraction(value)


def text(value):
    if not isinstance(value, str):
        raise WrongType
    return value


def folded(value):
    return value.lower().replace("ς", "σ")


RFC_3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))", re.ASCII)


def instant(value):
    """Nanoseconds since 1970; a leap second counts as the second before it."""
    found = RFC_3339.fullmatch(text(value))
    if not found:
        raise WrongType
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    if hour > 23 or minute > 59 or second > 60:
        raise WrongType
    try:
        date = datetime.date(year, month, day)
    except ValueError as error:
        raise WrongType from error
    seconds = (date - datetime.date(1970, 1, 1)).days * 86_400 + hour * 3_600 + minute * 60 + min(second, 59)
    if found[9]:
        offset = int(found[10]) * 3_600 + int(found[11]) * 60
        seconds -= offset if found[9] == "+" else -offset
    return seconds * 10**9 + int((found[7] or "0").ljust(9, "0"))


SEMVER = re.compile(
    r"v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?", re.ASCII)


def version(value):
    found = SEMVER.fullmatch(text(value))
    if not found:
        raise WrongType
    return [int(part) for part in found.groups()[:3]], found[4]


def compare_versions(one, other):
    if one[0] != other[0]:
        return -1 if one[0] < other[0] else 1
    if one[1] is None or other[1] is None:
        return (one[1] is None) - (other[1] is None)
    ones, others = one[1].split("."), other[1].split(".")
    for left, right in zip(ones, others):
        if left == right:
            continue
        if left.isdigit() and right.isdigit():
            return -1 if int(left) < int(right) else 1
        if left.isdigit() != right.isdigit():
            return -1 if left.isdigit() else 1
        return -1 if left < right else 1
    return (len(ones) > len(others)) - (len(ones) < len(others))


def address(value):
    try:
        if "%" in text(value):
            raise WrongType
        found = ipaddress.ip_address(value)
    except ValueError as error:
        raise WrongType from error
    return getattr(found, "ipv4_mapped", None) or found


def network(value):
    found = ipaddress.ip_network(value, strict=False)
    mapped = getattr(found.network_address, "ipv4_mapped", None)
    if mapped and found.prefixlen >= 96:
        return ipaddress.ip_network((mapped, found.prefixlen - 96))
    return found


def equal(value, comparand, fold):
    """Texts with texts, numbers with numbers, booleans with booleans."""
    if isinstance(comparand, bool):
        if not isinstance(value, bool):
            raise WrongType
        return value == comparand
    if isinstance(comparand, str):
        return fold(text(value)) == fold(comparand)
    return number(value) == number(comparand)


def contains(value, comparands, fold):
    if isinstance(value, str):
        if not all(isinstance(comparand, str) for comparand in comparands):
            raise WrongType
        return any(fold(comparand) in fold(value) for comparand in comparands)
    if not isinstance(value, list):
        raise WrongType
    untold = False
    for element in value:
        try:
            if any(equal(element, comparand, fold) for comparand in comparands):
                return True
        except WrongType:
            untold = True
    if untold:
        raise WrongType
    return False


def holds(clause, value):
    operator = clause["operator"]
    comparands = clause["values"] if "values" in clause else [clause.get("value")]
    first = comparands[0]
    fold = folded if clause.get("ignore_case") else (lambda part: part)
    if operator in ("equals", "in"):
        return any([equal(value, comparand, fold) for comparand in comparands])
    if operator == "contains":
        return contains(value, comparands, fold)
    if operator == "starts_with":
        return any([fold(text(value)).startswith(fold(comparand)) for comparand in comparands])
    if operator == "ends_with":
        return any([fold(text(value)).endswith(fold(comparand)) for comparand in comparands])
    if operator == "matches":
        flags = re.IGNORECASE if clause.get("ignore_case") else 0
        return any([re.search(comparand, text(value), flags) is not None for comparand in comparands])
    if operator in ("before", "after"):
        return instant(value) < instant(first) if operator == "before" else instant(value) > instant(first)
    if operator == "in_cidr":
        found = address(value)
        return any(found.version == network(item).version and found in network(item) for item in comparands)
    if operator.startswith("semver_"):
        order = compare_versions(version(value), version(first))
        return {"equals": order == 0, "less_than": order < 0, "at_most": order <= 0, "more_than": order > 0,
                "at_least": order >= 0}[operator.removeprefix("semver_")]
    found, comparand = number(value), number(first)
    return {"less_than": found < comparand, "at_most": found <= comparand, "more_than": found > comparand,
            "at_least": found >= comparand}[operator]


def look_up(context, path):
    if path == "targetingKey":
        key = context.get(path)
        if key is None or key == "":
            return None
        return key if isinstance(key, str) else str(key)
    if path in context:
        return context[path]
    for name in path.split("."):
        if not isinstance(context, dict) or name not in context:
            return None
        context = context[name]
    return context


def outcome(clause, context):
    value = look_up(context, clause["attribute"])
    if clause["operator"] == "exists":
        told = value is not None
    elif value is None:
        return MISSING
    else:
        try:
            told = holds(clause, value)
        except WrongType:
            return WRONG_TYPE
    return "yes" if told != clause.get("negate", False) else "no"


TEXTS = ["pro", "PRO", "profi", "größe", "GRÖSSE", "GRÖßE", "", "7", "true", "ΟΔΟΣ", "οδος", "οδοσανθος", "a.b", "x\ny"]
NUMBERS = [0, -0.0, 1, 1.0, -1, 0.5, -0.5, 0.1, 7, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 9007199254740991.0,
           9007199254740992.0, 1e17, -1e300, 0.30000000000000004]
INSTANTS = ["2026-12-01T00:00:00Z", "2026-12-01t00:00:00z", "2026-12-01 01:00:00+01:00", "2026-11-30T23:59:60Z",
            "2026-11-30T23:59:59.999999999Z", "2026-12-01T00:00:00.000000001Z", "2026-12-01T00:00:00-00:00",
            "2026-11-30T10:00:00-14:01", "1969-12-31T23:59:59Z", "0001-01-02T00:00:00Z", "2026-12-01", "2026-12-01T00:00Z",
            "2026-12-01T00:00:00", "2026-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2026-12-01T24:00:00Z",
            "2026-12-01T00:00:00.Z", "2026-12-01T00:00:00,5Z", "2026-12-01T00:00:00+0100", " 2026-12-01T00:00:00Z"]
VERSIONS = ["1.2.3", "v1.2.3", "1.2.3+build.7", "1.2.3-rc.1", "1.2.3-rc.2", "1.2.3-rc.10", "1.2.3-rc.1.1", "1.2.3-1",
            "1.2.3-alpha", "1.2.3-Alpha", "1.2.3--", "1.2.4", "1.10.0", "1.9.9", "2.0.0", "0.0.0", "1.2", "1.2.3.4", "01.2.3",
            "1.2.3-01", "1.2.3-", "V1.2.3", "vv1.2.3", "", "latest"]
ADDRESSES = ["10.1.2.3", "::ffff:10.1.2.3", "::ffff:0a01:0203", "10.255.255.255", "11.0.0.0", "9.255.255.255", "2001:db8::1",
             "2001:DB8:ffff::", "2001:db9::", "::1", "::", "0.0.0.0", "::10.1.2.3", "10.1.2", "010.1.2.3", "10.1.2.3/8",
             "fe80::1%eth0", "10.1.2.3:80", " 10.1.2.3", "localhost"]
ODD = [True, False, ["pro"], ["pro", 1], [], [[]], {}, {"pro": 1}, [None], [7, 8.0], [True]]
EVERYTHING = TEXTS + NUMBERS + INSTANTS[:3] + VERSIONS[:3] + ADDRESSES[:3] + ODD


def clauses():
    """Clauses, each with the values that it is asked about."""
    for comparand in ["pro", "größe", "ΟΔΟΣ", "7", 7, 0, 0.5, 2**53, 2**64 - 1, True, False, ""]:
        yield {"operator": "equals", "value": comparand}, EVERYTHING
    for comparands in [["pro", "7"], [7, 0.5], [True], ["a", "b", "c", "d", "e", "f", "g", "h", "pro"]]:
        yield {"operator": "in", "values": comparands}, EVERYTHING
        yield {"operator": "contains", "values": comparands}, EVERYTHING
    for operator in ["equals", "contains", "starts_with", "ends_with"]:
        for comparand in ["Pro", "GRÖSSE", "größe", "ΟΔΟΣ", "ος", "O"]:
            yield {"operator": operator, "value": comparand, "ignore_case": True}, TEXTS + [1, True, ["PRO"], [1]]
    for operator in ["contains", "starts_with", "ends_with"]:
        for comparands in [["pro"], ["o", "a"], ["fi", "."], ["ö"]]:
            yield {"operator": operator, "values": comparands}, EVERYTHING
    for pattern in ["^pro$", "o", "^$", "[0-9]", "^(pro|free)", "a\\.b", "^x$"]:
        yield {"operator": "matches", "value": pattern}, TEXTS + [7, True, []]
        yield {"operator": "matches", "value": pattern, "ignore_case": True}, TEXTS
    for operator in ["less_than", "at_most", "more_than", "at_least"]:
        for comparand in [0, 1, 0.5, -0.5, 7, 2**53, 2**53 + 1, 2**64 - 1, -(2**63), 0.1]:
            yield {"operator": operator, "value": comparand}, NUMBERS + ["7", True, [7], {}]
    for operator in ["before", "after"]:
        for comparand in ["2026-12-01T00:00:00Z", "2026-11-30T23:59:60+00:00", "1970-01-01T00:00:00.5+01:00"]:
            yield {"operator": operator, "value": comparand}, INSTANTS + [0, 1_795_000_000, True, []]
    for operator in ["equals", "less_than", "at_most", "more_than", "at_least"]:
        for comparand in ["1.2.3", "v1.2.3-rc.2", "1.10.0+b"]:
            yield {"operator": "semver_" + operator, "value": comparand}, VERSIONS + [1, 1.2, True, ["1.2.3"]]
    for comparands in [["10.0.0.0/8"], ["10.1.2.99/24", "2001:db8::/32"], ["::ffff:10.0.0.0/104"], ["10.1.2.3"], ["0.0.0.0/0"],
                       ["::/0"], ["2001:db8::1"]]:
        yield {"operator": "in_cidr", "values": comparands}, ADDRESSES + [167_837_955, True, ["10.1.2.3"]]
    yield {"operator": "exists"}, EVERYTHING


def told(clause, values):
    """Each value under what the clause, and its negation, say of it."""
    found = {"yes": [], "no": [], WRONG_TYPE: []}
    for value in values:
        asked = {"attribute": "a", **clause}
        said = outcome(asked, {"a": value})
        found[said].append(value)
        turned = {"yes": "no", "no": "yes"}.get(said, said)
        assert outcome({**asked, "negate": True}, {"a": value}) == turned
    return {"clause": clause, **found}


def main():
    told_of = [told(clause, values) for clause, values in clauses()]
    paths = [
        ("account.plan", {"account": {"plan": "pro"}}), ("account.plan", {"account.plan": "pro", "account": {"plan": "free"}}),
        ("account.plan", {"account": "pro"}), ("account.plan", {"account": {"plan": None}}), ("account.plan", {}),
        ("account.plan", {"account.plan": None, "account": {"plan": "pro"}}), ("a.b.c", {"a": {"b": {"c": "pro"}}}),
        ("a.b.c", {"a": {"b.c": "pro"}}), ("targetingKey", {"targetingKey": "pro"}), ("targetingKey", {"targetingKey": ""}),
        ("targetingKey", {}), ("targetingKey", {"targetingKey": 7}),
    ]
    cases = []
    for path, context in paths:
        for clause in [{"operator": "equals", "value": "pro"}, {"operator": "exists"}, {"operator": "in", "values": ["7"]}]:
            asked = {"attribute": path, **clause}
            cases.append({"clause": asked, "context": context, "outcome": outcome(asked, context)})
    with open("clauses.json", "w", encoding="utf-8") as file:
        file.write('{"values": [\n' + lines(told_of) + '\n],\n"paths": [\n' + lines(cases) + "\n]}\n")


def lines(entries):
    return ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)


if __name__ == "__main__":
    main()
