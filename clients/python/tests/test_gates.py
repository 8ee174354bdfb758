"""The worker helper against the real server."""

import asyncio
import threading
import time
import unittest

import changeover
from changeover import errors
from support import FakeServer, RealServer, eventually


class Gates(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = RealServer()
        cls.addClassCleanup(cls.server.stop)
        cls.client = changeover.Client(cls.server.url, cls.server.token("evaluate"), events=False)
        cls.addClassCleanup(cls.client.close)

    def gate(self, worker, **settings):
        self.server.request("PUT", f"/api/v1/gates/{worker}", settings)

    def switch(self, worker, to):
        self.server.request("POST", f"/api/v1/gates/{worker}/{to}", {"reason": "a test"})

    def running(self, gate, work):
        thread = threading.Thread(target=gate.run, args=(work,), daemon=True)
        thread.start()
        self.addCleanup(thread.join, 20)
        self.addCleanup(gate.stop)
        return thread

    def test_what_work_returns_is_returned(self):
        self.gate("once", single_instance=True)
        tokens = [self.client.gate("once").run(lambda lease: lease.fencing_token) for _ in range(2)]
        self.assertLess(tokens[0], tokens[1])
        with self.assertRaises(ZeroDivisionError):
            self.client.gate("once").run(lambda lease: 1 / 0)
        self.assertIsNone(self.server.request("GET", "/api/v1/gates/once")[1]["details"].get("lease", {}).get("held") or None)

    def test_one_instance_runs_and_the_next_one_follows(self):
        self.gate("single", single_instance=True, lease_seconds=2)
        at_work, most, done = [], [], []

        def work(lease):
            at_work.append(lease)
            most.append(len(at_work))
            for _ in range(3):
                lease.wait(0.4)
            at_work.remove(lease)
            if lease.is_allowed:
                done.append(lease.fencing_token)

        threads = [self.running(self.client.gate("single"), work) for _ in range(2)]
        for thread in threads:
            thread.join(20)
        self.assertEqual((len(done), max(most), len(set(done))), (2, 1, 2))

    def test_a_heartbeat_keeps_it(self):
        self.gate("long", single_instance=True, lease_seconds=4)
        allowed = []
        self.client.gate("long").run(lambda lease: allowed.append(lease.wait(4.5)))
        self.assertEqual(allowed, [True])

    def test_a_pause_ends_it_and_a_resume_begins_anew(self):
        self.gate("paused", single_instance=True, lease_seconds=2)
        begun, ended = [], []

        def work(lease):
            begun.append(lease.fencing_token)
            while lease.wait(0.05):
                pass
            ended.append(lease.fencing_token)

        gate = self.client.gate("paused")
        gate._pause = lambda seconds: time.sleep(0.05)
        self.running(gate, work)
        eventually(self, lambda: len(begun) == 1, "the work begins")
        self.switch("paused", "pause")
        eventually(self, lambda: len(ended) == 1, "the work ends")
        self.switch("paused", "resume")
        eventually(self, lambda: len(begun) == 2, "the work begins anew", 30)
        self.assertLess(begun[0], begun[1])

    def test_a_worker_of_which_many_may_run(self):
        self.gate("many")
        found = self.client.gate("many").run(lambda lease: (lease.fencing_token, lease.is_allowed))
        self.assertEqual(found, (None, True))

    def test_a_gate_that_is_not_there_is_waited_for(self):
        gate, found = self.client.gate("later"), []
        pauses = []
        gate._pause = lambda seconds: (pauses.append(seconds), time.sleep(0.02))
        self.running(gate, lambda lease: found.append(lease.is_allowed))
        eventually(self, lambda: len(pauses) > 2, "it is waited for")
        self.gate("later")
        eventually(self, lambda: found == [True], "it runs")

    def test_a_server_that_is_away_ends_the_lease_in_time(self):
        server = RealServer()
        self.addCleanup(server.stop)
        server.request("PUT", "/api/v1/gates/w", {"single_instance": True, "lease_seconds": 2})
        client = changeover.Client(server.url, server.admin_token, events=False)
        self.addCleanup(client.close)
        ended = []

        def work(lease):
            server.kill()
            began = time.monotonic()
            while lease.wait(0.05):
                pass
            ended.append(time.monotonic() - began)
            gate.stop()

        gate = client.gate("w")
        gate.run(work)
        self.assertLess(ended[0], 2.0)

    def test_a_role_that_may_not_is_told(self):
        client = changeover.Client(self.server.url, "co_wrong", events=False)
        self.addCleanup(client.close)
        with self.assertRaises(errors.Unauthenticated):
            client.gate("once").run(lambda lease: None)

    def test_on_a_loop(self):
        self.gate("loop", single_instance=True, lease_seconds=2)

        async def run():
            async with changeover.AsyncClient(self.server.url, self.server.admin_token, events=False) as client:
                async def work(lease):
                    await asyncio.sleep(0.01)
                    return lease.fencing_token

                first = await client.run_gated("loop", work)
                started = asyncio.Event()

                async def for_ever(lease):
                    started.set()
                    await asyncio.sleep(60)

                task = asyncio.ensure_future(client.run_gated("loop", for_ever))
                await started.wait()
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                self.assertLess(first, await client.run_gated("loop", work))

        asyncio.run(run())


class Clocks(unittest.TestCase):
    def test_a_lease_counts_from_before_it_was_asked_for(self):
        def answer(request):
            if request["method"] == "GET":
                return 200, {}, {"worker": "w", "answer": "run", "state": "running", "ask_again_seconds": 10, "single_instance": True}
            if request["path"].endswith("/lease"):
                time.sleep(0.6)
                return 201, {}, {"fencing_token": 7, "lease_seconds": 1, "heartbeat_after_seconds": 30}
            return 204, {}, ""

        fake = FakeServer(answer)
        self.addCleanup(fake.close)
        client = changeover.Client(fake.url, "co_x", events=False)
        self.addCleanup(client.close)
        lease = client.gate("w")._leased()
        self.assertLessEqual(lease._until - time.monotonic(), 0.3)
        self.assertFalse(lease.wait(1.0))


if __name__ == "__main__":
    unittest.main()
