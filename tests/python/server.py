"""A real `changeover serve` on an SQLite file of its own, and the few requests of its API that the tests need."""

import json
import os
import queue
import re
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

PATIENCE_S = 60


class Server:
    def __init__(self, *more):
        self.more = more
        self.directory = tempfile.TemporaryDirectory(prefix="changeover-python-")
        self.admin_token = None
        try:
            self.start("127.0.0.1:0")
        except BaseException:
            self.stop()
            raise

    def start(self, address):
        """Serves on an address; the first start prints an admin's token."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CHANGEOVER_")}
        environment["CHANGEOVER_DATABASE_URL"] = f"sqlite:{self.directory.name}/service.db"
        self.process = subprocess.Popen(
            [os.environ["CHANGEOVER_BINARY"], "serve", "--listen", address, *self.more],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self.output, found = [], queue.Queue()
        self.reader = threading.Thread(target=self._read, args=(found,), daemon=True)
        self.reader.start()
        self._wait_until_ready(found)

    def _read(self, found):
        for line in self.process.stdout:
            self.output.append(line)
            for name, pattern in (("url", r"http://127\.0\.0\.1:[1-9]\d*"), ("token", r"\bco_\w+_[0-9a-f]{64}")):
                if match := re.search(pattern, line):
                    found.put((name, match.group()))
        found.put(("end", ""))

    def _wait_until_ready(self, found):
        known, deadline = {} if self.admin_token is None else {"token": self.admin_token}, time.monotonic() + PATIENCE_S
        while not {"url", "token"} <= known.keys():
            try:
                name, value = found.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                name = "end"
            if name == "end":
                raise AssertionError(f"the server named no address and no token:\n{''.join(self.output)}")
            known.setdefault(name, value)
        self.url, self.admin_token = known["url"], known["token"]
        while self.request("GET", "/readyz", token=None, fails=False)[0] != 200:
            if time.monotonic() > deadline:
                raise AssertionError(f"the server never got ready:\n{''.join(self.output)}")
            time.sleep(0.02)

    def request(self, method, path, body=None, token="admin", content_type="application/json", fails=True):
        """Status and parsed body; a status that is an error raises, unless `fails` is false."""
        data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type}
        if token is not None:
            headers["Authorization"] = f"Bearer {self.admin_token if token == 'admin' else token}"
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                status, text = response.status, response.read()
        except urllib.error.HTTPError as error:
            if fails:
                raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error
            return error.code, None
        try:
            return status, json.loads(text)
        except ValueError:
            return status, None

    def create_flags(self):
        """The flags that `changeover conformance` prints."""
        command = [os.environ["CHANGEOVER_BINARY"], "conformance", "--print-flags", "json"]
        for flag in json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout):
            self.request("POST", "/api/v1/flags", flag)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(timeout=10)
        self.process.stdout.close()

    def stop(self):
        self.end()
        self.directory.cleanup()
