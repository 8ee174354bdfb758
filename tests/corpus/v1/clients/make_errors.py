"""HTTP answers and what a client makes of them: `python3 make_errors.py > errors.json`."""

import json

BY_CODE = {
    "unauthenticated": "unauthenticated", "forbidden": "forbidden", "own_proposal": "forbidden", "stale": "precondition_failed",
    "row_differs": "precondition_failed", "gate_held": "gate_held", "lease_held": "gate_held", "gate_paused": "gate_paused", "lease_lost": "lease_lost",
    "rate_limited": "rate_limited", "busy": "unavailable", "database_unavailable": "unavailable", "version_not_reached": "unavailable",
}
BY_STATUS = {401: "unauthenticated", 403: "forbidden", 404: "not_found", 410: "not_found", 409: "conflict", 412: "precondition_failed",
             429: "rate_limited", 502: "unavailable", 503: "unavailable", 504: "unavailable"}
PROBLEMS = [
    (400, "invalid_request"), (400, "invalid_json"), (401, "unauthenticated"), (403, "forbidden"), (403, "own_proposal"), (429, "rate_limited"),
    (404, "not_found"), (404, "flag_not_found"), (404, "change_not_found"), (404, "charge_not_found"), (404, "row_not_found"), (404, "unknown_gate"),
    (405, "method_not_allowed"), (409, "exists"), (409, "refused"), (409, "unique_violation"), (409, "foreign_key_violation"), (409, "untranslated"),
    (409, "idempotency_key_in_flight"), (409, "gate_held"), (409, "gate_paused"), (409, "lease_lost"), (410, "not_kept"), (412, "stale"), (412, "row_differs"),
    (413, "too_large"), (415, "unsupported_media_type"), (422, "invalid_value"), (422, "invalid_write"), (422, "constraint_violation"),
    (422, "refused_by_database"), (422, "translation_failed"), (422, "idempotency_key_reused"), (500, "internal"), (503, "busy"),
    (503, "version_not_reached"), (503, "database_unavailable"), (409, "a_code_of_next_year"), (418, "a_code_of_next_year"),
    (409, "lease_held"), (404, "gate_not_found"),
]


def kind(status, code=None):
    if code in BY_CODE:
        return BY_CODE[code]
    if code and code.endswith("_not_found") or code == "not_found":
        return "not_found"
    if status in BY_STATUS:
        return BY_STATUS[status]
    if status < 400:
        return "unexpected"
    return "invalid" if status < 500 else "server"


def again(status, code=None):
    return status in (408, 425, 429, 500, 502, 503, 504) or code == "idempotency_key_in_flight"


def problem(status, code):
    body = {"type": f"/docs/problems#{code}", "title": "A title", "status": status, "detail": f"About {code}.", "code": code}
    headers = {"Content-Type": "application/problem+json"}
    answer = {"status": status, "headers": headers, "body": json.dumps(body)}
    return {**answer, "kind": kind(status, code), "code": code, "detail": body["detail"], "faults": [], "retried": again(status, code)}


def plain(status, body="", content_type="text/html", **headers):
    answer = {"status": status, "headers": {"Content-Type": content_type, **headers}, "body": body}
    return {**answer, "kind": kind(status), "code": None, "detail": None, "faults": [], "retried": again(status)}


def mappings():
    yield from (problem(status, code) for status, code in PROBLEMS)
    faults = [{"operation": 0, "row": 1, "pointer": "/operations/0/rows/1/name", "table": "users", "column": "name", "detail": "is too long"}]
    one = problem(422, "invalid_write")
    yield {**one, "body": json.dumps({**json.loads(one["body"]), "faults": faults}), "faults": faults}
    for status in (301, 302, 307, 400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 418, 422, 425, 429, 500, 501, 502, 503, 504, 505, 599):
        yield plain(status, "<html>a proxy's page</html>", **({"Location": "http://127.0.0.1:1/"} if status < 400 else {}))
    yield plain(503, "", "application/problem+json")
    yield plain(503, "{\"code\": 7, \"detail\": [\"no text\"], \"faults\": \"none\"}", "application/problem+json")
    yield plain(404, "[]", "application/json")
    yield plain(500, "{\"code\": ", "application/problem+json")
    # Successes that are not what they should be.
    for body, content_type in (("", "application/json"), ("<html>signed out</html>", "text/html"), ("{\"half\": ", "application/json")):
        yield {**plain(200, body, content_type), "kind": "unexpected", "retried": False}


# What the server answers, one after the other, the last one for ever. An answer: a status, with `Retry-After` perhaps; `closed`: the
# connection is closed without an answer; `silent`: no answer in time. `waits`: the least and the most seconds before each retry.
def sequence(name, answers, attempts, result, after=()):
    after = dict(enumerate(after))
    waits = [[after.get(n - 1, 0), after.get(n - 1, 0) + 0.1 * 2**n] for n in range(1, attempts)]
    return {"name": name, "answers": answers, "attempts": attempts, "result": result, "waits": waits}


RETRIES = [
    sequence("at once", [{"status": 200}], 1, "ok"),
    sequence("the second time", [{"status": 503}, {"status": 200}], 2, "ok"),
    sequence("the fourth time", [{"status": 500}, {"status": 502}, {"status": 504}, {"status": 200}], 4, "ok"),
    sequence("never", [{"status": 503}], 4, "unavailable"),
    sequence("a refusal is final", [{"status": 422, "code": "invalid_write"}], 1, "invalid"),
    sequence("a refusal after a failure is final", [{"status": 503}, {"status": 409, "code": "unique_violation"}], 2, "conflict"),
    sequence("Retry-After", [{"status": 429, "retry_after": 2}, {"status": 503, "retry_after": 30}, {"status": 200}], 3, "ok", [2, 30]),
    sequence("Retry-After is too long", [{"status": 503, "retry_after": 31}], 1, "unavailable"),
    sequence("Retry-After is nonsense", [{"status": 503, "retry_after": "soon"}, {"status": 200}], 2, "ok"),
    sequence("Retry-After is past", [{"status": 503, "retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, {"status": 200}], 2, "ok"),
    sequence("Retry-After is negative", [{"status": 503, "retry_after": -5}, {"status": 200}], 2, "ok"),
    sequence("closed without an answer", [{"closed": True}, {"status": 200}], 2, "ok"),
    sequence("always closed", [{"closed": True}], 4, "connection"),
    sequence("silent", [{"silent": True}, {"status": 200}], 2, "ok"),
    sequence("a key in flight", [{"status": 409, "code": "idempotency_key_in_flight", "retry_after": 1}, {"status": 200}], 2, "ok", [1]),
    sequence("another conflict", [{"status": 409, "code": "refused", "retry_after": 1}], 1, "conflict"),
    sequence("501 is for ever", [{"status": 501}], 1, "server"),
]

# Answers to an evaluation of the flag `f` as a string with default `d`, for a context that nothing is known of; and with `kept` for one
# whose kept answers, older than max_age, have "kept" for it. `one`: asked with `cached: false`.
ITEM = {"key": "f", "value": "v", "variant": "x", "reason": "STATIC"}


def evaluation(name, status, body, value, reason, error, one=False, kept=None):
    text = body if isinstance(body, str) else json.dumps(body)
    return {"name": name, "one": one, "status": status, "body": text, "value": value, "reason": reason, "error": error, "kept": kept}


def evaluations():
    failed = lambda error: ("d", "ERROR", error)
    stale = {"value": "kept", "reason": "STALE", "error": None}
    yield evaluation("served", 200, {"flags": [ITEM]}, "v", "STATIC", None)
    yield evaluation("served, one", 200, ITEM, "v", "STATIC", None, True)
    yield evaluation("no such flag", 200, {"flags": []}, *failed("FLAG_NOT_FOUND"))
    yield evaluation("no such flag, one", 404, {"key": "f", "errorCode": "FLAG_NOT_FOUND", "errorDetails": "?"}, *failed("FLAG_NOT_FOUND"), True)
    for code in ("TARGETING_KEY_MISSING", "PARSE_ERROR", "INVALID_CONTEXT", "GENERAL"):
        item = {"key": "f", "errorCode": code, "errorDetails": "why"}
        yield evaluation(f"an item with {code}", 200, {"flags": [item]}, *failed(code))
        yield evaluation(f"{code}, one", 500 if code == "GENERAL" else 400, item, *failed(code), True)
    yield evaluation("an unknown code", 200, {"flags": [{"key": "f", "errorCode": "OUT_OF_TEA"}]}, *failed("GENERAL"))
    yield evaluation("400 with a code", 400, {"errorCode": "INVALID_CONTEXT", "errorDetails": "why"}, *failed("INVALID_CONTEXT"))
    yield evaluation("no value", 200, {"flags": [{"key": "f", "reason": "DEFAULT"}]}, "d", "DEFAULT", None)
    yield evaluation("null", 200, {"flags": [{"key": "f", "value": None, "reason": "STATIC"}]}, *failed("TYPE_MISMATCH"))
    yield evaluation("another type", 200, {"flags": [{**ITEM, "value": 7}]}, *failed("TYPE_MISMATCH"))
    yield evaluation("no reason", 200, {"flags": [{"key": "f", "value": "v"}]}, "v", "UNKNOWN", None)
    for status in (401, 403):
        yield evaluation(f"{status}", status, {"errorCode": "GENERAL", "errorDetails": "no"}, *failed("GENERAL"), kept=stale)
    for status in (429, 500, 502, 503, 504):
        yield evaluation(f"{status}", status, "", *failed("PROVIDER_NOT_READY"), kept=stale)
    yield evaluation("a proxy's page", 200, "<html>", *failed("PROVIDER_NOT_READY"), kept=stale)
    yield evaluation("no object", 200, "[]", *failed("PROVIDER_NOT_READY"), kept=stale)
    yield evaluation("no flags", 200, "{}", *failed("PROVIDER_NOT_READY"), kept=stale)


def lines(values):
    return "[\n" + ",\n".join("  " + json.dumps(value, ensure_ascii=False) for value in values) + "\n]"


if __name__ == "__main__":
    print(f'{{"mappings": {lines(mappings())},\n"retries": {lines(RETRIES)},\n"evaluations": {lines(evaluations())}}}')
