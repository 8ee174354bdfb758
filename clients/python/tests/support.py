"""A server that answers as it is told, the real one with what these tests need of it, and where things are."""

import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CORPUS = ROOT / "tests/corpus/v1"
sys.path.insert(0, str(ROOT / "tests/python"))

import server as real  # noqa: E402

PATIENCE_S = 20.0


def corpus(name):
    return json.loads((CORPUS / name).read_text(encoding="utf-8"))


def eventually(test, condition, what, seconds=PATIENCE_S):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            test.fail(f"{what}: not after {seconds} s")
        time.sleep(0.005)


class RealServer(real.Server):
    """`changeover serve` on SQLite. Without `load`, an empty one; with it the example of a video host, at a stage."""

    def __init__(self, *more, app_stage=None, environment=None):
        self.app_stage, self.environment = app_stage, environment
        super().__init__(*more)

    def start(self, address):
        if self.environment:
            os.environ.update(self.environment)
        try:
            if self.app_stage and self.admin_token is None:
                self._install()
            super().start(address)
        finally:
            for name in self.environment or ():
                os.environ.pop(name, None)

    def _install(self):
        self.run("demo", "load", "--charges", "200")
        self.run("change", "install", str(ROOT / "examples/video-hosting/change.toml"))
        for stage in ("dualwrite", "shadow", "live", "rampdown"):
            self.run("change", "stage", "billing-allocation", stage, "--force", "--reason", "a test")
            if stage == "dualwrite":
                self.run("backfill", "billing-allocation")
            if stage == self.app_stage:
                return

    def run(self, *arguments):
        environment = {**os.environ, "CHANGEOVER_DATABASE_URL": f"sqlite:{self.directory.name}/service.db"}
        done = subprocess.run([os.environ["CHANGEOVER_BINARY"], *arguments], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(f"{arguments}: {done.stderr}{done.stdout}")
        return done.stdout

    @property
    def address(self):
        return self.url.removeprefix("http://")

    def kill(self):
        """As a power cut would."""
        self.process.kill()
        self.process.wait()
        self.reader.join(timeout=10)
        self.process.stdout.close()

    def end(self):
        if self.process.poll() is None or not self.process.stdout.closed:
            super().end()

    def token(self, role):
        return self.request("POST", "/api/v1/tokens", {"name": f"a {role} of a test", "role": role})[1]["secret"]

    def load(self, document):
        for cohort in document["cohorts"]:
            self.request("POST", "/api/v1/cohorts", {"name": cohort["name"]})
            if cohort["ids"]:
                self.request("PUT", f"/api/v1/cohorts/{cohort['name']}/ids", "\n".join(cohort["ids"]) + "\n", content_type="text/plain")
        for flag in document["flags"]:
            self.request("POST", "/api/v1/flags", flag)

    def serve(self, key, value, version=None):
        """Makes a string flag serve a value to everybody."""
        body = {"key": key, "type": "string", "variants": {"v": value}, "default_variant": "v", "off_variant": "v", "rules": []}
        if self.request("GET", f"/api/v1/flags/{key}", fails=False)[0] == 200:
            self.request("PUT", f"/api/v1/flags/{key}", body)
        else:
            self.request("POST", "/api/v1/flags", body)


class FakeServer:
    """Answers with what `answer(request)` returns: (status, headers, body), `"closed"` or `"silent"`. Requests are noted."""

    def __init__(self, answer):
        self.answer, self.requests, self._release = answer, [], threading.Event()
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                length = int(self.headers.get("Content-Length") or 0)
                request = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": self.rfile.read(length).decode()}
                if self.path.startswith("/ofrep/v1/events"):
                    answered = (503, {}, "")
                else:
                    fake.requests.append(request)
                    answered = fake.answer(request)
                if answered == "silent":
                    fake._release.wait(PATIENCE_S)
                if answered in ("silent", "closed"):
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, headers, body = answered
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self):
        self._release.set()
        self.server.shutdown()
        self.server.server_close()
