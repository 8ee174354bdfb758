"""The corpus `tests/corpus/v1` that the server and all clients share."""

import asyncio
import json
import threading
import unittest
import urllib.parse

import changeover
from changeover import errors
from changeover.details import identity
from changeover.flags import Kept
from support import FakeServer, RealServer, corpus


class Evaluations(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = RealServer()
        cls.addClassCleanup(cls.server.stop)
        cls.own, cls.shared = corpus("clients/evaluations.json"), corpus("evaluations.json")
        cls.server.load(cls.shared)
        cls.server.load(cls.own)
        cls.client = changeover.Client(cls.server.url, cls.server.token("evaluate"))
        cls.addClassCleanup(cls.client.close)

    def check(self, case, details):
        value = {"float": float, "integer": int}.get(case["ask"], lambda value: value)(case["value"])
        wanted = (value, case["variant"], case["reason"], case["error"])
        self.assertEqual((details.value, details.variant, details.reason, details.error_code), wanted, case)
        self.assertIs(type(details.value), type(value), case)

    def test_as_a_caller_asks(self):
        for case in self.own["cases"]:
            asked = (case["ask"], case["flag"], case["default"], case["context"])
            self.check(case, self.client.details(*asked))
            self.check(case, self.client.details(*asked, cached=False))

    def test_as_a_caller_asks_on_a_loop(self):
        async def ask():
            client = changeover.AsyncClient(client=self.client)
            for case in self.own["cases"]:
                self.check(case, await client.details(case["ask"], case["flag"], case["default"], case["context"]))

        asyncio.run(ask())

    def test_as_the_server_is_held_to(self):
        kinds = {flag["key"]: flag["type"] for flag in self.shared["flags"]}
        for case in self.shared["cases"]:
            details = self.client.details(kinds[case["flag"]], case["flag"], None, case["context"])
            self.assertEqual(details.error_code, case.get("error"), case)
            if "error" not in case:
                found = (details.value, details.variant, details.reason, details.metadata.get("rule"), details.metadata.get("bucket"))
                self.assertEqual(found, (case["value"], case["variant"], case["reason"], case["rule"], case.get("bucket")), case)


class Buckets(unittest.TestCase):
    def test_buckets(self):
        for vector in corpus("buckets.json"):
            self.assertEqual(changeover.bucket(vector["seed"], vector["value"]), vector["bucket"], vector)


class Thing:
    """No JSON, and equal to those with the same number."""

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return isinstance(other, Thing) and self.number == other.number


def failing(name):
    def fail(*_):
        raise type(name, (Exception,), {})(name)

    return fail


def value_of(written):
    if isinstance(written, dict) and "$object" in written:
        return Thing(written["$object"])
    if isinstance(written, dict) and "$text" in written:
        return "x" * written["$text"]
    return written


COMPARES = {None: None, "equal": lambda old, new: old == new, "within_1": lambda old, new: abs(old - new) <= 1, "fails": failing("Bad")}
IGNORES = {"always": lambda *_: True, "never": lambda *_: False, "fails": failing("Bad"), "new_is_null": lambda _, new: new is None}


class Traces(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.corpus = corpus("clients/migrator.json")
        cls.client = changeover.Client("http://127.0.0.1:1", "co_x", events=False)
        cls.addClassCleanup(cls.client.close)
        cls.observed = []
        cls.client._observations.add = lambda path, observation: cls.observed.append((path, observation))

    def setUp(self):
        self.observed.clear()

    def prepared(self, trace, calls, is_async=False):
        """A migrator whose functions note their calls and do what the trace says."""
        together = threading.Barrier(2, timeout=10) if trace["together"] and not is_async else None
        meeting = [] if trace["together"] and is_async else None

        def function(side):
            outcome = trace[side]

            def act(payload):
                self.assertEqual(payload, "payload")
                calls.append(f"{side}.{trace['operation']}")
                if together:
                    together.wait()
                if "raises" in outcome:
                    failing(outcome["raises"])()
                return value_of(outcome["returns"])

            async def act_async(payload):
                if meeting is not None:
                    meeting.append(side)
                    while len(meeting) < 2:  # goes on only if the other one has begun too
                        await asyncio.sleep(0)
                return act(payload)

            return act_async if is_async else act

        functions = {f"{side}_{trace['operation']}": function(side) for side in ("old", "new")}
        settings = {"order": trace["order"], "sample": trace["sample"], "values": trace["values"], "compare": COMPARES[trace["compare"]]}
        make = changeover.AsyncMigrator if is_async else changeover.Migrator
        draws = iter([trace["draw"], 0.0 if trace.get("first") == "old" else 0.9])
        self.client._random = lambda: next(draws)
        ignore = [IGNORES[name] for name in trace["ignore"]]
        migrator = make(self.client, "shop-flag", name="shop", change="billing", ignore=ignore, **functions, **settings)
        kept = Kept({"shop-flag": {"key": "shop-flag", "value": trace["stage"], "reason": "STATIC"}}, None, float("inf"), 1)
        self.client._flags._kept[identity("u")] = kept
        return migrator

    def check(self, trace, calls, outcome):
        if trace["together"]:
            self.assertEqual(sorted(calls), sorted(trace["calls"]))
        else:
            self.assertEqual(calls, trace["calls"])
        wanted = trace["result"]
        if "raises" in wanted:
            self.assertEqual(type(outcome).__name__, wanted["raises"])
        else:
            self.assertEqual(outcome, value_of(wanted["returns"]))
        if trace["observation"] is None:
            self.assertEqual(self.observed, [])
            return
        [(path, observation)] = self.observed
        self.assertEqual(path, "/api/v1/changes/billing/observations")
        observation = json.loads(json.dumps(observation))
        self.assertTrue(observation.pop("id") and observation.pop("at"))
        for side in ("old", "new"):
            self.assertIsInstance(observation[side].pop("duration_us"), int)
        self.assertEqual(observation, trace["observation"])

    def test_traces(self):
        with self.assertLogs("changeover"):  # failures of the other side are told there, and nowhere else
            for trace in self.corpus["traces"]:
                with self.subTest(trace["name"]):
                    self.observed.clear()
                    calls = []
                    migrator = self.prepared(trace, calls)
                    try:
                        outcome = getattr(migrator, trace["operation"])("u", "payload")
                    except Exception as error:
                        outcome = error
                    self.check(trace, calls, outcome)

    def test_traces_on_a_loop(self):
        async def run(trace, calls):
            migrator = self.prepared(trace, calls, is_async=True)
            try:
                return await getattr(migrator, trace["operation"])("u", "payload")
            except Exception as error:
                return error

        async def run_all():
            for trace in self.corpus["traces"]:
                with self.subTest(trace["name"]):
                    self.observed.clear()
                    calls = []
                    outcome = await run(trace, calls)
                    self.check(trace, calls, outcome)

        with self.assertLogs("changeover"):
            asyncio.run(run_all())

    def test_stages(self):
        for case in self.corpus["stages"]:
            with self.subTest(case["stages"]):
                client = changeover.Client("http://127.0.0.1:1", "co_x", events=False)
                self.addCleanup(client.close)
                migrator = client.migrator("f", default_stage=case["default_stage"])
                answers = iter(case["answers"])

                def details(asked, context):
                    answer = next(answers)
                    return changeover.Details(answer.get("value", asked[1]), reason="STATIC", error_code=answer.get("error"))

                client._flags.details = details
                stages = [migrator.stage(answer.get("context", "a")).value for answer in case["answers"]]
                self.assertEqual(stages, case["stages"])


class Errors(unittest.TestCase):
    def serve(self, answer):
        server = FakeServer(answer)
        self.addCleanup(server.close)
        return server

    def client(self, server, **settings):
        client = changeover.Client(server.url, "co_x", events=False, **settings)
        self.addCleanup(client.close)
        self.pauses = []
        client._calls._sleep = self.pauses.append
        return client

    def test_mappings(self):
        current = {}
        server = self.serve(lambda _: (current["status"], current["headers"], current["body"]))
        client = self.client(server)
        for case in corpus("clients/errors.json")["mappings"]:
            with self.subTest(f"{case['status']} {case['code']}"):
                current.update(case)
                server.requests.clear()
                with self.assertRaises(errors.ChangeoverError) as raised:
                    client.writes("billing").run([changeover.insert("users", {"name": "Ada"})])
                error = raised.exception
                self.assertEqual((error.kind, error.code, error.faults), (case["kind"], case["code"], case["faults"]))
                if case["detail"] is not None:
                    self.assertEqual(error.detail, case["detail"])
                self.assertEqual(len(server.requests), 4 if case["retried"] else 1)
                keys = {request["headers"]["Idempotency-Key"] for request in server.requests}
                self.assertEqual(len(keys), 1)

    def test_retries(self):
        for case in corpus("clients/errors.json")["retries"]:
            with self.subTest(case["name"]):
                answers, attempts = list(case["answers"]), []

                def answer(_):
                    attempts.append(1)
                    one = answers.pop(0) if len(answers) > 1 else answers[0]
                    if "status" not in one:
                        return "closed" if "closed" in one else "silent"
                    headers = {"Retry-After": str(one["retry_after"])} if "retry_after" in one else {}
                    return one["status"], headers, {"code": one["code"]} if "code" in one else {}

                client = self.client(self.serve(answer), timeout=0.3)
                try:
                    client._calls.json("POST", "/api/v1/changes/billing/writes", {})
                    result = "ok"
                except errors.ChangeoverError as error:
                    result = error.kind
                self.assertEqual((result, len(attempts), len(self.pauses)), (case["result"], case["attempts"], len(case["waits"])))
                for pause, (least, most) in zip(self.pauses, case["waits"]):
                    self.assertTrue(least <= pause <= most, (pause, least, most))

    def test_evaluations(self):
        for case in corpus("clients/errors.json")["evaluations"]:
            server = self.serve(lambda _: (case["status"], {"Content-Type": "application/json"}, case["body"]))
            with self.subTest(case["name"]):
                client = self.client(server)
                details = client.details("string", "f", "d", "u", cached=not case["one"])
                self.assertEqual((details.value, details.reason, details.error_code), (case["value"], case["reason"], case["error"]))
                if case["kept"] is not None:
                    client = self.client(server)
                    item = {"key": "f", "value": "kept", "variant": "k", "reason": "STATIC"}
                    client._flags._kept[identity("u")] = Kept({"f": item}, None, float("-inf"), 1)
                    details = client.details("string", "f", "d", "u")
                    wanted = case["kept"]
                    self.assertEqual((details.value, details.reason, details.error_code), (wanted["value"], wanted["reason"], wanted["error"]))


class Routing(unittest.TestCase):
    def setUp(self):
        self.answer = None
        self.server = FakeServer(lambda _: self.answer)
        self.addCleanup(self.server.close)
        self.client = changeover.Client(self.server.url, "co_x", events=False)
        self.addCleanup(self.client.close)

    def test_sides(self):
        for case in corpus("clients/routing.json")["sides"]:
            with self.subTest(case["name"]):
                self.server.requests.clear()
                self.answer = (200, {"Content-Type": "application/x-ndjson"}, "".join(json.dumps(line) + "\n" for line in case["answer"]))
                answers = list(self.client.sides_of("billing", case["users"], case["period"], record=case["record"]))
                found = []
                for answer in answers:
                    if answer.side is not None:
                        found.append({"side": answer.side.value})
                    else:
                        found.append({"error": answer.error.kind, **({"detail": answer.error.detail} if answer.error.detail else {})})
                self.assertEqual(found, case["result"])
                if not case["users"]:
                    self.assertEqual(self.server.requests, [])
                    continue
                [request] = self.server.requests
                where = urllib.parse.urlsplit(request["path"])
                self.assertEqual(where.path, "/api/v1/changes/billing/assignments/query")
                self.assertEqual(dict(urllib.parse.parse_qsl(where.query)), case["query"])
                self.assertEqual([json.loads(line) for line in request["body"].splitlines()], case["sent"])

    def test_allocations(self):
        for case in corpus("clients/routing.json")["allocations"]:
            with self.subTest(case["name"]):
                self.answer = (200, {"Content-Type": "application/json"}, case["answer"])
                found = self.client.allocation_of("billing", case["charge"])
                parts = [part._asdict() for part in found.parts]
                self.assertEqual({**found._asdict(), "side": found.side.value, "parts": parts}, case["result"])


if __name__ == "__main__":
    unittest.main()
