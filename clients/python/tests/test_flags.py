"""Flags against the real server: killed, restarted, slow, without its database; many threads and tasks; changes; the disk."""

import asyncio
import concurrent.futures
import json
import os
import pathlib
import socket
import stat
import tempfile
import threading
import time
import unittest

import changeover
from changeover.details import identity
from support import PATIENCE_S, FakeServer, RealServer, eventually


class WithServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = RealServer()
        cls.addClassCleanup(cls.server.stop)
        cls.server.create_flags()
        cls.token = cls.server.token("evaluate")

    def client(self, server=None, **settings):
        server = server or self.server
        client = changeover.Client(server.url, self.token if server is self.server else server.admin_token, **settings)
        self.addCleanup(client.close)
        return client


class Changes(WithServer):
    def test_a_change_is_seen_within_a_second(self):
        self.server.serve("news", "old")
        client = self.client()
        contexts = [{"targetingKey": str(number)} for number in range(20)]
        for context in contexts:
            self.assertEqual(client.string("news", "?", context), "old")
        eventually(self, lambda: client._flags.has_events, "a stream is open")
        for value in ("new", "newer"):
            self.server.serve("news", value)
            until = time.monotonic() + 1.0
            while {client.string("news", "?", context) for context in contexts} != {value}:
                self.assertLess(time.monotonic(), until, "the change is not seen after a second")
                time.sleep(0.002)
        # Nobody needs to ask: what was used lately is renewed at once.
        self.server.serve("news", "newest")
        values = lambda: {client._flags._kept[identity(context)].items["news"]["value"] for context in contexts}
        eventually(self, lambda: values() == {"newest"}, "the renewal")
        details = client.details("string", "news", "?", contexts[0])
        self.assertEqual((details.reason, details.error_code), ("STATIC", None))

    def test_without_events_an_answer_is_renewed_when_it_is_old(self):
        self.server.serve("ageing", "old")
        client = self.client(events=False, max_age=0.2)
        self.assertEqual(client.string("ageing", "?", "1"), "old")
        self.server.serve("ageing", "new")
        eventually(self, lambda: client.string("ageing", "?", "1") == "new", "the new value")
        self.assertEqual(client.details("string", "ageing", "?", "1", cached=False).value, "new")

    def test_all_flags_of_a_context(self):
        self.server.serve("one-of-all", "here")
        client = self.client()
        every = client.all_details("1")
        self.assertEqual(every["one-of-all"], client.details("string", "one-of-all", "?", "1"))
        self.assertGreater(len(every), 1)
        self.assertEqual(client.all_details(3.5), {})

        async def asked():
            async with changeover.AsyncClient(client=client) as on_loop:
                return await on_loop.all_details("1")

        self.assertEqual(asyncio.run(asked()), every)

    def test_without_a_server_no_flag_is_known(self):
        with changeover.Client("http://127.0.0.1:9", "none", timeout=0.5) as client:
            self.assertEqual(client.all_details("1"), {})

    def test_an_idle_context_is_asked_anew_after_a_change(self):
        self.server.serve("idle", "old")
        client = self.client()
        self.assertEqual(client.string("idle", "?", "1"), "old")
        eventually(self, lambda: client._flags.has_events, "a stream is open")
        client._flags._kept[identity("1")].used -= 100.0
        generation = client._flags._generation
        self.server.serve("idle", "new")
        eventually(self, lambda: client._flags._generation > generation, "the change is told")
        self.assertEqual(client.string("idle", "?", "1"), "new")

    def test_a_listener_hears_of_changes(self):
        self.server.serve("heard", "old")
        client, heard = self.client(), threading.Event()
        client.on_change(heard.set)
        client.string("heard", "?", "1")
        eventually(self, lambda: client._flags.has_events, "a stream is open")
        heard.clear()
        self.server.serve("heard", "new")
        self.assertTrue(heard.wait(5))


class Many(WithServer):
    def test_ten_thousand_evaluations_from_fifty_threads(self):
        client = self.client()

        def evaluate(number):
            return [client.boolean("conformance-boolean", False, {"targetingKey": str((number + n) % 40)}) for n in range(200)]

        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            values = [value for values in pool.map(evaluate, range(50)) for value in values]
        self.assertEqual((len(values), set(values)), (10_000, {True}))
        self.assertEqual(len(client._flags._kept), 40)

    def test_ten_thousand_evaluations_from_fifty_tasks(self):
        async def evaluate(client, number):
            return [await client.boolean("conformance-boolean", False, {"targetingKey": str((number + n) % 40)}) for n in range(200)]

        async def run():
            async with changeover.AsyncClient(self.server.url, self.token) as client:
                found = await asyncio.gather(*(evaluate(client, number) for number in range(50)))
                return [value for values in found for value in values]

        values = asyncio.run(run())
        self.assertEqual((len(values), set(values)), (10_000, {True}))

    def test_threads_that_need_the_same_answer_make_one_request(self):
        item = {"key": "f", "value": "v", "variant": "x", "reason": "STATIC"}

        def answer(_):
            time.sleep(0.2)
            return 200, {"Content-Type": "application/json"}, {"flags": [item]}

        fake = FakeServer(answer)
        self.addCleanup(fake.close)
        client = changeover.Client(fake.url, "co_x", events=False)
        self.addCleanup(client.close)
        with concurrent.futures.ThreadPoolExecutor(30) as pool:
            values = list(pool.map(lambda _: client.string("f", "?", "1"), range(30)))
        self.assertEqual((set(values), len(fake.requests)), ({"v"}, 1))

    def test_what_is_kept_is_bounded(self):
        client = self.client(contexts_max=10)
        for number in range(50):
            self.assertTrue(client.boolean("conformance-boolean", False, number))
        self.assertEqual(len(client._flags._kept), 10)
        self.assertEqual(client._flags._bytes, sum(kept.size for kept in client._flags._kept.values()))

    @unittest.skipUnless(hasattr(os, "fork"), "there is no fork here")
    def test_a_fork_goes_on_by_itself(self):
        self.server.serve("forked", "old")
        client = self.client()
        self.assertEqual(client.string("forked", "?", "1"), "old")
        eventually(self, lambda: client._flags.has_events, "a stream is open")
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            code = 2
            try:
                values = [client.string("forked", "?", key) for key in ("1", "2", "3")]
                until = time.monotonic() + PATIENCE_S
                while not client._flags.has_events and time.monotonic() < until:
                    time.sleep(0.005)
                os.write(writer, b"x")
                # It has a stream of its own: nothing else tells it within a minute.
                while client.string("forked", "?", "1") != "new" and time.monotonic() < until:
                    time.sleep(0.005)
                code = 0 if values == ["old"] * 3 and client.string("forked", "?", "1") == "new" else 1
                client.close()
            finally:
                os._exit(code)
        os.read(reader, 1)
        self.server.serve("forked", "new")
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        for end in (reader, writer):
            os.close(end)
        self.assertTrue(client.boolean("conformance-boolean", False, "4"))


class Outages(WithServer):
    def own_server(self, *more):
        server = RealServer(*more)
        self.addCleanup(server.stop)
        server.serve("f", "first")
        return server

    def test_a_server_that_is_killed_and_restarted(self):
        server = self.own_server()
        client = self.client(server)
        self.assertEqual(client.string("f", "?", "1"), "first")
        eventually(self, lambda: client._flags.has_events, "a stream is open")
        server.kill()
        eventually(self, lambda: not client._flags.has_events, "the stream's end")
        self.assertEqual(client.string("f", "?", "1"), "first")
        details = client.details("string", "f", "?", "somebody else")
        self.assertEqual((details.value, details.reason, details.error_code), ("?", "ERROR", "PROVIDER_NOT_READY"))
        client._flags._kept[identity("1")].at -= 100.0
        details = client.details("string", "f", "?", "1")
        self.assertEqual((details.value, details.reason, details.error_code), ("first", "STALE", None))
        server.start(server.address)
        server.serve("f", "second")
        eventually(self, lambda: client.string("f", "?", "1") == "second", "the new value")
        eventually(self, lambda: client.string("f", "?", "somebody else") == "second", "the new value for others")

    def test_a_start_without_the_server_serves_what_is_on_disk(self):
        server = self.own_server()
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "state.json"
            with self.client(server, state_path=path) as client:
                self.assertEqual(client.string("f", "?", {"targetingKey": "1", "secret": "s3cret"}), "first")
                stage = client.migrator("f", default_stage="live").stage("1")
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
            self.assertNotIn("s3cret", path.read_text())
            server.kill()
            with self.client(server, state_path=path) as client:
                details = client.details("string", "f", "?", {"targetingKey": "1", "secret": "s3cret"})
                self.assertEqual((details.value, details.reason, details.error_code), ("first", "STALE", None))
                self.assertEqual(client.string("f", "?", "2"), "?")
                self.assertEqual(client.migrator("f", default_stage="live").stage("2"), stage)
            server.start(server.address)
            with self.client(server, state_path=path) as client:
                self.assertEqual(client.details("string", "f", "?", {"targetingKey": "1", "secret": "s3cret"}).reason, "STATIC")
            for broken in ("", "{", "[]", '{"format": 1}', json.dumps({"format": 1, "url": "http://elsewhere", "contexts": {}, "stages": {}})):
                path.write_text(broken)
                with self.assertLogs("changeover"), self.client(server, state_path=path) as client:
                    self.assertEqual(client.string("f", "?", "1"), "first")

    def test_the_last_known_stage_is_kept_on_disk(self):
        server = self.own_server()
        server.serve("phase", "shadow")
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "state.json"
            with self.client(server, state_path=path) as client:
                self.assertEqual(client.migrator("phase").stage("1"), changeover.Stage.SHADOW)
            server.kill()
            with self.client(server, state_path=path) as client:
                self.assertEqual(client.migrator("phase").stage("a newcomer"), changeover.Stage.SHADOW)
                self.assertEqual(client.migrator("another").stage("a newcomer"), changeover.Stage.OFF)

    def test_a_server_that_hangs_costs_one_caller_one_timeout(self):
        fake = FakeServer(lambda _: "silent")
        self.addCleanup(fake.close)
        client = changeover.Client(fake.url, "co_x", timeout=0.5, events=False)
        self.addCleanup(client.close)
        began = time.monotonic()
        details = client.details("boolean", "f", True, "1")
        self.assertEqual((details.value, details.error_code), (True, "PROVIDER_NOT_READY"))
        took = time.monotonic() - began
        self.assertTrue(0.4 < took < 5.0, took)
        client._flags.server._until = time.monotonic() + 60.0
        for number in range(1000):
            self.assertTrue(client.boolean("f", True, number))
        self.assertEqual(len(fake.requests), 1)
        client._flags.server._until = 0.0
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            self.assertEqual(set(pool.map(lambda number: client.boolean("f", True, number), range(20))), {True})
        self.assertEqual(len(fake.requests), 2)

    def test_a_server_that_answers_drop_by_drop_is_given_up_in_time(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def drip():
            try:
                connection, _ = listener.accept()
                with connection:
                    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n" + b"X: y\r\n" * 100:
                        connection.sendall(bytes([byte]))
                        time.sleep(0.05)
            except OSError:
                pass

        threading.Thread(target=drip, daemon=True).start()
        client = changeover.Client(f"http://127.0.0.1:{listener.getsockname()[1]}", "co_x", timeout=0.5, events=False)
        self.addCleanup(client.close)
        began = time.monotonic()
        self.assertEqual(client.details("boolean", "f", True, "1").error_code, "PROVIDER_NOT_READY")
        self.assertLess(time.monotonic() - began, 5.0)

    def test_half_an_answer_is_none(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def answer():
            try:
                for _ in range(2):
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"flags":[]}')
            except OSError:
                pass

        threading.Thread(target=answer, daemon=True).start()
        client = changeover.Client(f"http://127.0.0.1:{listener.getsockname()[1]}", "co_x", events=False)
        self.addCleanup(client.close)
        self.assertEqual(client.details("boolean", "f", True, "1").error_code, "PROVIDER_NOT_READY")

    def test_a_rate_limit_is_heeded(self):
        server = self.own_server("--rate-limit-per-second", "5", "--rate-limit-burst", "40")
        client = self.client(server, events=False)
        codes = [client.details("string", "f", "?", number).error_code for number in range(60)]
        self.assertEqual((codes[0], codes[-1]), (None, "PROVIDER_NOT_READY"))
        eventually(self, lambda: client.string("f", "?", "later") == "first", "the limit's end")

    def test_a_wrong_token_is_told_and_breaks_nothing(self):
        client = changeover.Client(self.server.url, "co_wrong")
        self.addCleanup(client.close)
        details = client.details("boolean", "conformance-boolean", False, "1")
        self.assertEqual((details.value, details.reason, details.error_code), (False, "ERROR", "GENERAL"))
        self.assertIn("401", details.error_message)


class Contexts(WithServer):
    def test_what_is_no_context(self):
        client = self.client()
        circle = {}
        circle["itself"] = circle
        for context in ([], 1.5, True, object(), {"a": object()}, {"a": float("nan")}, {1: "a", "b": 2}, circle):
            details = client.details("boolean", "conformance-boolean", False, context)
            self.assertEqual((details.value, details.error_code), (False, "INVALID_CONTEXT"), context)
        for wrong in (("text", "conformance-boolean"), ("boolean", ["conformance-boolean"]), ("boolean", None)):
            for cached in (True, False):
                self.assertTrue(client.details(*wrong, True, "1", cached=cached).value, wrong)
            self.assertTrue(asyncio.run(changeover.AsyncClient(client=client).details(*wrong, True, "1")).value, wrong)
        for context in (None, {}, "1", 1, "Zoë \ud83d\ude00", {"targetingKey": "1", "n": {"b": [1, None]}}):
            self.assertTrue(client.boolean("conformance-boolean", False, context), context)
        self.assertEqual(identity({"b": 1, "a": 2}), identity({"a": 2, "b": 1}))
        self.assertEqual(identity("1"), identity({"targetingKey": "1"}))
        self.assertNotEqual(identity("1"), identity(1))

    def test_what_a_caller_does_with_an_object_is_his(self):
        client = self.client()
        first = client.object("conformance-object", {}, "1")
        first.clear()
        self.assertNotEqual(client.object("conformance-object", {}, "1"), first)

    def test_arguments_that_make_no_sense_are_told_at_once(self):
        for wrong in ({"url": ""}, {"url": "flags.example.com"}, {"url": "ftp://x"}, {"token": "a b"}, {"token": "a\nb"}, {"timeout": 0}):
            with self.assertRaises(ValueError):
                changeover.Client(**{"url": "http://127.0.0.1:1", "token": "co_x", **wrong})

    def test_after_close_the_kept_answers_serve(self):
        client = self.client()
        self.assertTrue(client.boolean("conformance-boolean", False, "1"))
        client.close()
        client.close()
        self.assertTrue(client.boolean("conformance-boolean", False, "1"))

        async def ask():
            return await changeover.AsyncClient(client=client).boolean("conformance-boolean", False, "2")

        self.assertIn(asyncio.run(ask()), (True, False))


class OpenFeature(WithServer):
    def test_a_provider_serves_what_the_client_keeps(self):
        from openfeature import api
        from openfeature.evaluation_context import EvaluationContext
        from openfeature.exception import ErrorCode
        from openfeature.flag_evaluation import Reason

        from changeover.openfeature import ChangeoverProvider

        client = self.client()
        api.set_provider(ChangeoverProvider(client), "ours")
        flags, subject = api.get_client("ours"), EvaluationContext("7", {"plan": "pro"})
        for kind, ask in (("boolean", flags.get_boolean_details), ("string", flags.get_string_details), ("integer", flags.get_integer_details),
                          ("float", flags.get_float_details), ("object", flags.get_object_details)):
            default = {"boolean": False, "string": "", "integer": -1, "float": -1.0, "object": {}}[kind]
            details = ask(f"conformance-{kind}", default, subject)
            own = client.details(kind, f"conformance-{kind}", default, {"targetingKey": "7", "plan": "pro"})
            self.assertEqual((details.value, details.variant, details.reason, details.error_code), (own.value, own.variant, Reason.STATIC, None))
        details = flags.get_boolean_details("nothing", True, subject)
        self.assertEqual((details.value, details.reason, details.error_code), (True, Reason.ERROR, ErrorCode.FLAG_NOT_FOUND))
        self.assertTrue(asyncio.run(flags.get_boolean_value_async("conformance-boolean", False, subject)))


if __name__ == "__main__":
    unittest.main()
