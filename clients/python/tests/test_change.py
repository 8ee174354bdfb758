"""What is about a change: observations, sides, allocations, writes, middleware; against the real server, and without its database."""

import asyncio
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest
import uuid

import changeover
from changeover import errors
from support import FakeServer, RealServer, eventually

CHANGE = "billing-allocation"


class WithChange(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = RealServer(app_stage="live")
        cls.addClassCleanup(cls.server.stop)
        body = {"key": CHANGE, "type": "string", "variants": {"old": "old", "new": "new"}, "default_variant": "old", "off_variant": "old", "rules": []}
        cls.server.request("POST", "/api/v1/flags", body)
        cls.client = changeover.Client(cls.server.url, cls.server.admin_token)
        cls.addClassCleanup(cls.client.close)

    def summary(self, subject):
        return {one["name"]: one for one in self.server.request("GET", f"/api/v1/{subject}/observations")[1]["items"]}


class Observations(WithChange):
    def test_what_a_migrator_observes_is_counted(self):
        self.server.serve("ledger-stage", "shadow")
        old, new = {"total": 12.5}, {"total": 12.5}
        migrator = self.client.migrator(
            "ledger-stage", lambda _: old, lambda _: new, lambda _: "written", lambda _: 1 / 0, change=CHANGE, name="ledger")
        eventually(self, lambda: migrator.stage("7") is changeover.Stage.SHADOW, "the stage")
        self.assertEqual(migrator.read("7", "invoice"), old)
        new = {"total": 13}
        self.assertEqual(migrator.read("7", "invoice"), old)
        with self.assertLogs("changeover"):
            self.assertEqual(migrator.write("7", "invoice"), "written")
        self.assertTrue(self.client.flush(10))
        found = self.summary(f"changes/{CHANGE}")
        self.assertEqual((found["ledger:read"]["compared"], found["ledger:read"]["mismatches"]), (2, 1))
        self.assertEqual((found["ledger:write"]["errors_old"], found["ledger:write"]["errors_new"]), (0, 1))

    def test_they_wait_while_the_server_is_away_and_are_counted_once(self):
        server = RealServer()
        self.addCleanup(server.stop)
        server.serve("stage", "live")
        client = changeover.Client(server.url, server.admin_token, observations_max=30)
        self.addCleanup(client.close)
        migrator = client.migrator("stage", lambda: 1, lambda: 1, order="concurrent")
        self.assertEqual(migrator.read("7"), 1)
        self.assertTrue(client.flush(10))
        server.kill()
        for _ in range(50):
            self.assertEqual(migrator.read("7"), 1)
        self.assertFalse(client.flush(0.3))
        self.assertEqual((client.stats()["pending"], client.stats()["dropped"]), (30, 20))
        server.start(server.address)
        eventually(self, lambda: client.flush(1), "all are sent")
        self.assertEqual((client.stats()["sent"], client.stats()["refused"]), (31, 0))
        found = server.request("GET", "/api/v1/flags/stage/observations")[1]["items"]
        self.assertEqual([(one["name"], one["compared"]) for one in found], [("stage:read", 31)])

    def test_what_the_server_refuses_is_counted(self):
        migrator = self.client.migrator("conformance-nothing", lambda: 1, lambda: 1, default_stage="shadow", name="no/such flag")
        with self.assertLogs("changeover"):
            migrator.read("7")
            before = self.client.stats()["refused"]
            self.assertTrue(self.client.flush(10))
        self.assertEqual(self.client.stats()["refused"], before + 1)

    def test_a_cancelled_read_is_no_failure(self):
        async def run():
            self.server.serve("cancelled", "live")
            async with changeover.AsyncClient(self.server.url, self.server.admin_token) as client:
                started = asyncio.Event()

                async def new():
                    started.set()
                    await asyncio.sleep(60)

                migrator = client.migrator("cancelled", lambda: 1, new, order="concurrent")
                task = asyncio.ensure_future(migrator.read("7"))
                await started.wait()
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                self.assertEqual(client.stats()["pending"], 0)

        asyncio.run(run())

    def test_an_interrupt_passes_through(self):
        def interrupted():
            raise KeyboardInterrupt

        migrator = self.client.migrator("conformance-nothing", lambda: 1, interrupted, default_stage="shadow")
        with self.assertRaises(KeyboardInterrupt):
            migrator.read("7")


class Routing(WithChange):
    def test_sides_are_asked_recorded_and_kept(self):
        client = self.client
        self.assertEqual(client.side_of(CHANGE, 7), "old")
        self.assertEqual([answer.get() for answer in client.sides_of(CHANGE, ["1", "nobody", "2"], "2030-01", record=False)], ["old"] * 3)
        users = [str(number) for number in range(1, 1201)]
        answers = list(client.sides_of(CHANGE, iter(users), "2030-01", record=False))
        self.assertEqual([answer.user for answer in answers], users)
        with self.assertRaises(errors.Invalid):
            client.side_of(CHANGE, 7, "2030-13")
        with self.assertRaises(errors.NotFound) as raised:
            client.side_of("no-such-change", 7)
        self.assertEqual(raised.exception.code, "change_not_found")
        self.assertEqual(client.side_of("no-such-change", 7, default="old"), changeover.Side.OLD)

    def test_an_allocation(self):
        found = self.client.allocation_of(CHANGE, 5)
        self.assertEqual((found.charge_id, found.side, len(found.parts) >= 1), ("5", "old", True))
        with self.assertRaises(errors.NotFound) as raised:
            self.client.allocation_of(CHANGE, 999_999)
        self.assertEqual(raised.exception.code, "charge_not_found")

    def test_on_a_loop(self):
        async def run():
            async with changeover.AsyncClient(self.server.url, self.server.admin_token) as client:
                self.assertEqual(await client.side_of(CHANGE, 7), "old")
                self.assertEqual([answer.get() async for answer in client.sides_of(CHANGE, [1, 2], "2030-01", record=False)], ["old", "old"])
                self.assertEqual((await client.allocation_of(CHANGE, 5)).side, "old")
                result = await client.write(CHANGE, [changeover.insert("users", {"name": "Async", "company": "A"})], dry_run=True)
                self.assertEqual(result.operations[0]["rows"][0]["name"], "Async")

        asyncio.run(run())

    def test_a_server_that_is_away(self):
        server = FakeServer(lambda _: (200, {}, '{"line":1,"user":"7","side":"new","group":"1","because":"recorded"}\n'))
        client = changeover.Client(server.url, "co_x", side_max_age=0.0, events=False)
        self.addCleanup(client.close)
        client._calls._sleep = lambda _: None
        self.assertEqual(client.side_of(CHANGE, 7), "new")
        server.close()
        client._transport.close()
        self.assertEqual(client.side_of(CHANGE, 7), "new")  # the last known one
        self.assertEqual(client.side_of(CHANGE, 8, default="old"), "old")
        with self.assertRaises(errors.NoAnswer):
            client.side_of(CHANGE, 8)

    def test_wsgi(self):
        def app(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [environ["changeover.side"].encode()]

        def ask(user):
            seen = []
            wrapped = changeover.WsgiMiddleware(app, self.client, CHANGE, user)
            body = b"".join(wrapped({}, lambda status, headers: seen.extend(headers)))
            return body, dict(seen)["X-Changeover-Side"]

        self.assertEqual(ask(lambda environ: "7"), (b"old", "old"))
        self.assertEqual(ask(lambda environ: None), (b"old", "old"))
        with self.assertLogs("changeover"):
            self.assertEqual(ask(lambda environ: environ["nothing"]), (b"old", "old"))
        self.client._routing._kept[CHANGE, "500", None, True] = (changeover.Side.NEW, float("inf"))
        self.assertEqual(ask(lambda environ: 500), (b"new", "new"))

    def test_asgi(self):
        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": scope["changeover.side"].encode()})

        async def run():
            sent = []

            async def send(message):
                sent.append(message)

            async with changeover.AsyncClient(self.server.url, self.server.admin_token) as client:
                for user in (lambda scope: "7", lambda scope: asyncio.sleep(0, "7"), lambda scope: None):
                    sent.clear()
                    await changeover.AsgiMiddleware(app, client, CHANGE, user)({"type": "http"}, None, send)
                    self.assertEqual((sent[0]["headers"], sent[1]["body"]), ([(b"x-changeover-side", b"old")], b"old"))

        asyncio.run(run())


class Writes(WithChange):
    def test_a_write_reaches_both_models_once(self):
        writes = self.client.writes(CHANGE)
        key = str(uuid.uuid4())
        operations = [
            changeover.insert("users", {"name": "Ada", "company": "Ada Ltd"}),
            changeover.insert("videos", {"user_id": changeover.minted(0, "id"), "title": "First"}, {"user_id": changeover.minted(0, "id"), "title": "Second"}),
        ]
        first = writes.run(operations, idempotency_key=key)
        again = writes.run(operations, idempotency_key=key)
        self.assertEqual((first.is_replayed, again.is_replayed, again.operations), (False, True, first.operations))
        self.assertEqual(len(first.operations[1]["rows"]), 2)
        self.assertTrue(first.translated)
        user = first.operations[0]["rows"][0]["id"]
        writes.run([changeover.update("users", {"id": user}, {"name": "Ada L."}, only_if={"name": "Ada"})])
        with self.assertRaises(errors.PreconditionFailed) as raised:
            writes.run([changeover.update("users", {"id": user}, {"name": "X"}, only_if={"name": "Ada"})])
        self.assertEqual(raised.exception.code, "row_differs")
        with self.assertRaises(errors.Invalid) as raised:
            writes.run([changeover.insert("users", {"nome": "Ada"})])
        self.assertEqual((raised.exception.code, raised.exception.faults[0]["operation"]), ("invalid_write", 0))
        with self.assertRaises(errors.Conflict) as raised:
            writes.run([changeover.insert("users", {"id": user, "name": "Ada", "company": "B"})])
        self.assertEqual(raised.exception.code, "unique_violation")
        with self.assertRaises(errors.NotFound):
            writes.run([changeover.delete("users", {"id": 999_999})])
        writes.run([changeover.upsert("users", {"id": user, "name": "Ada", "company": "C"}, by=["id"])])
        self.assertIn("tables", writes.schema())

    def test_a_write_whose_answer_is_lost_is_done_once(self):
        cut, name = [True], f"once-{uuid.uuid4().hex}"
        proxy = Proxy(self.server.address, lambda: cut.pop() if cut else False)
        self.addCleanup(proxy.close)
        client = changeover.Client(f"http://{proxy.address}", self.server.admin_token, events=False)
        self.addCleanup(client.close)
        result = client.writes(CHANGE).run([changeover.insert("users", {"name": name, "company": "O"})])
        self.assertTrue(result.is_replayed)

    def test_roles(self):
        client = changeover.Client(self.server.url, self.server.token("evaluate"), events=False)
        self.addCleanup(client.close)
        with self.assertRaises(errors.Forbidden):
            client.writes(CHANGE).run([changeover.insert("users", {"name": "A", "company": "B"})])


class Proxy:
    """Passes bytes to an address; can be cut off, and can swallow an answer: `loses()` says so for each connection."""

    def __init__(self, address, loses=lambda: False):
        host, port = address.rsplit(":", 1)
        self.target, self.loses, self.is_cut, self.open = (host, int(port)), loses, False, []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                if self.is_cut:
                    near.close()
                    continue
                far = socket.create_connection(self.target)
            except OSError:
                return
            self.open += [near, far]
            threading.Thread(target=self._pass, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, self.loses()), daemon=True).start()

    def _pass(self, source, sink, is_lost):
        try:
            while data := source.recv(65536):
                if is_lost:
                    break
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        self.is_cut = True
        for one in self.open:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def mend(self):
        self.is_cut = False

    def close(self):
        self.cut()
        self.listener.close()


class Postgres:
    """A cluster of its own, or a database of the server that CHANGEOVER_TEST_POSTGRES_URL names."""

    def __init__(self):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3].split(".")[0]))
        initdb = str(found[-1]) if found else shutil.which("initdb")
        self.programs = pathlib.Path(initdb).parent
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="changeover-pg-"))
        self.user = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self.directory, account.pw_uid, account.pw_gid)
            self.user = {"user": "postgres", "cwd": str(self.directory)}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._run("initdb", "-D", self.directory / "data", "-U", "postgres", "-A", "trust", "-N")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off -c unix_socket_directories={self.directory}"
        self._run("pg_ctl", "-D", self.directory / "data", "-l", self.directory / "log", "-w", "-o", options, "start")

    def _run(self, program, *arguments):
        subprocess.run([str(self.programs / program), *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self.user)

    def stop(self):
        self._run("pg_ctl", "-D", self.directory / "data", "-m", "immediate", "stop")
        shutil.rmtree(self.directory, ignore_errors=True)


class PostgresServer(RealServer):
    def __init__(self, url):
        self.database_url = url
        super().__init__()

    def start(self, address):
        popen = subprocess.Popen

        def with_database(command, env, **more):
            return popen(command, env={**env, "CHANGEOVER_DATABASE_URL": self.database_url}, **more)

        subprocess.Popen = with_database
        try:
            super().start(address)
        finally:
            subprocess.Popen = popen


@unittest.skipUnless(shutil.which("initdb") or list(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")), "PostgreSQL is not here: NOT TESTED")
class WithoutItsDatabase(unittest.TestCase):
    def test_flags_go_on_and_the_rest_says_so(self):
        postgres = Postgres()
        self.addCleanup(postgres.stop)
        proxy = Proxy(f"127.0.0.1:{postgres.port}")
        self.addCleanup(proxy.close)
        server = PostgresServer(f"postgres://postgres@{proxy.address}/postgres")
        self.addCleanup(server.stop)
        server.serve("f", "v")
        client = changeover.Client(server.url, server.admin_token)
        self.addCleanup(client.close)
        client._calls._sleep = lambda _: None
        self.assertEqual(client.string("f", "?", "1"), "v")
        proxy.cut()
        details = client.details("string", "f", "?", "another", cached=False)
        self.assertEqual((details.value, details.error_code), ("v", None))
        self.assertEqual(client.string("f", "?", "one more"), "v")
        hasty = changeover.Client(server.url, server.admin_token, timeout=0.5, events=False)
        self.addCleanup(hasty.close)
        hasty._calls._sleep = lambda _: None
        with self.assertRaises(errors.ChangeoverError) as raised:
            hasty.writes(CHANGE).run([changeover.insert("users", {"name": "A"})])
        self.assertTrue(raised.exception.is_retried, raised.exception)
        self.assertEqual(hasty.side_of(CHANGE, 7, default="old"), "old")
        proxy.mend()

        def is_changed():
            try:
                server.serve("f", "w")
                return True
            except (AssertionError, OSError):
                return False

        eventually(self, is_changed, "the database is back")
        eventually(self, lambda: client.string("f", "?", "1") == "w", "the new value")


if __name__ == "__main__":
    unittest.main()
