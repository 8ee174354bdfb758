"""Questions for sides and allocations, and what a client makes of the answers: `python3 make_routing.py > routing.json`.

`ask` is the client's call, `query` and `sent` what goes to the server, `answer` its lines, `result` what the caller gets.
"""

import json


def line(number, user, side, group, because="recorded"):
    return {"line": number, "user": user, "side": side, "group": group, "because": because}


def asked(name, users, answer, result, period=None, record=True):
    query = {**({"period": period} if period else {}), **({} if record else {"record": "false"})}
    sent = [{"user": str(user)} for user in users]
    return {"name": name, "users": users, "period": period, "record": record, "query": query, "sent": sent, "answer": answer, "result": result}


SIDES = [
    asked("one", ["7"], [line(1, "7", "new", "4711")], [{"side": "new"}]),
    asked("a number is sent as text", [7], [line(1, "7", "old", "4711")], [{"side": "old"}]),
    asked("a period, nothing recorded", ["Zoë \"Z\""], [line(1, "Zoë \"Z\"", "old", None, "unknown_user")], [{"side": "old"}], "2026-12", False),
    asked("in order", ["1", "2", "1"], [line(1, "1", "new", "a"), line(2, "2", "old", "b"), line(3, "1", "new", "a")],
          [{"side": "new"}, {"side": "old"}, {"side": "new"}], "2026-Q4"),
    asked("a line with an error", ["1", "2", "3"], [line(1, "1", "new", "a"), {"line": 2, "error": "not a question"}, line(3, "3", "old", "c")],
          [{"side": "new"}, {"error": "invalid", "detail": "not a question"}, {"side": "old"}]),
    asked("answers break off", ["1", "2"], [line(1, "1", "new", "a")], [{"side": "new"}, {"error": "connection"}]),
    asked("a side of next year", ["1"], [line(1, "1", "both", "a")], [{"error": "unexpected"}]),
    asked("nobody", [], [], []),
]


def row(payer, amount, side, group="95", charge="3843"):
    return {"charge_id": charge, "period": "2026-11", "currency": "EUR", "payer": payer, "amount": amount, "side": side, "group_id": group}


def explained(name, effective, old, result, **facts):
    queries = [{"query": "charges", "rows": [{"charge_id": "3843", "period": "2026-11", "currency": "EUR", "amount": "89532"}]},
               {"query": "old", "rows": old}, *([{"query": "effective", "rows": effective}] if effective is not None else [])]
    charge = {"period": "2026-11", "currency": "EUR", "amount": "89532"}
    answer = {"change": "billing-allocation", "stage": "live", "charge_id": "3843", "class": "same_payer", "queries": queries, "facts": {"charge": charge, "exponent": 2, **facts}}
    return {"name": name, "charge": "3843", "answer": answer, "result": {"charge_id": "3843", "period": "2026-11", "currency": "EUR", **result}}


OLD = [{"charge_id": "3843", "payer": "5", "amount": "89532"}]
ALLOCATIONS = [
    explained("divided", [row("5", "29845", "new"), row("82", "59687", "new")], OLD,
              {"side": "new", "group_id": "95", "parts": [{"payer": "5", "amount": "29845"}, {"payer": "82", "amount": "59687"}]}),
    explained("decimals stay texts", [row("5", "895.32000000001", "old", None)], OLD,
              {"side": "old", "group_id": None, "parts": [{"payer": "5", "amount": "895.32000000001"}]}),
    explained("no view yet: the old model is in force", None, OLD, {"side": "old", "group_id": None, "parts": [{"payer": "5", "amount": "89532"}]}),
    explained("nobody pays", [], OLD, {"side": "old", "group_id": None, "parts": []}),
]


def lines(values):
    return "[\n" + ",\n".join("  " + json.dumps(value, ensure_ascii=False) for value in values) + "\n]"


if __name__ == "__main__":
    print(f'{{"sides": {lines(SIDES)},\n"allocations": {lines(ALLOCATIONS)}}}')
