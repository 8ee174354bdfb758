"""A real server with the example's data, two small applications, and proxies in front, all on free ports below a directory of their own."""

import base64
import hashlib
import hmac
import http.client
import http.server
import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHANGE = "billing-allocation"
SECRET = b"a-secret-of-thirty-two-bytes-or-more"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, is_so, limit=30):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            if is_so():
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")


def listens(port):
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


def request(port, path="/", headers=None, method="GET", body=None):
    """Status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def session(user, **more):
    """A cookie with a signed token, good for an hour."""
    def text(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")
    claims = {"sub": user, "aud": "shop", "exp": int(time.time()) + 3600, **more}
    signed = text(b'{"alg":"HS256","typ":"JWT"}') + b"." + text(json.dumps(claims).encode())
    return "session=" + (signed + b"." + text(hmac.digest(SECRET, signed, hashlib.sha256))).decode()


class App(http.server.ThreadingHTTPServer):
    """Says its name and what it was sent; `/status/NNN` answers with that status, as the application itself may."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name):
        self.is_down = False

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self):
                if self.server.is_down:
                    self.close_connection = True
                    return
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                ours = {key.lower(): value for key, value in self.headers.items() if key.lower().startswith("x-changeover")}
                body = json.dumps({"app": name, "method": self.command, "path": self.path, "sent": sent, "ours": ours}).encode()
                self.send_response(int(self.path.split("/")[2]) if self.path.startswith("/status/") else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self):
        """Nobody is answered any more, not on connections that are open either."""
        self.is_down = True
        self.shutdown()
        self.server_close()

    @property
    def port(self):
        return self.server_address[1]


class World:
    """Users 1 to 3 are the cohort `early-birds`, which the change's flag puts on the new side. The change is live."""

    def __init__(self, binary):
        self.directory = tempfile.TemporaryDirectory(prefix="changeover-edge-")
        self.path = pathlib.Path(self.directory.name)
        self.binary, self.processes = binary, []
        self.port = free_port()
        self.environment = {
            **os.environ,
            "CHANGEOVER_DATABASE_URL": f"sqlite:{self.path}/videos.db",
            "CHANGEOVER_EDGE_KEYS": f"shop=hs256:{self.path}/secret",
        }
        (self.path / "secret").write_bytes(SECRET)
        (self.path / "edge.json").write_text(json.dumps({
            "subject": [{"jwt": {"key": "shop", "audience": "shop"}, "cookie": "session"}, {"cookie": "user"}],
            "choice": {"cohort": "staff", "header": "X-Upstream"},
            "pass": {"claim": {"name": "role", "value": "admin"}},
        }))
        self.prepare()
        self.token = re.search("co_[A-Za-z0-9_]+", self.cli("token", "create", "proxy", "--role", "evaluate", "--json")).group()
        self.old, self.new = App("old"), App("new")
        self.server = None
        self.start_server()

    def prepare(self):
        self.cli("demo", "load", "--charges", "500")
        self.cli("change", "install", str(ROOT / "examples/video-hosting/change.toml"))
        self.cli("change", "stage", CHANGE, "dualwrite")
        self.cli("backfill", CHANGE)
        for cohort, ids in [("early-birds", "1\n2\n3\n"), ("staff", "77\n")]:
            (self.path / "ids").write_text(ids)
            self.cli("cohort", "import", cohort, str(self.path / "ids"), "--create")
        flag = {"type": "string", "variants": {"old": "old", "new": "new"}, "default_variant": "old", "off_variant": "old",
                "rules": [{"cohort": "early-birds", "serve": {"variant": "new"}}]}
        self.cli("flag", "create", "-", input=json.dumps({**flag, "key": CHANGE, "change": CHANGE}))
        self.cli("flag", "create", "-", input=json.dumps({**flag, "key": "copy-of-the-app"}))
        for stage in ["shadow", "live"]:
            self.cli("change", "stage", CHANGE, stage, "--force", "--reason", "a test")
        self.cli("edge", "set", CHANGE, str(self.path / "edge.json"), "--reason", "a test")

    def cli(self, *arguments, input=None):
        done = subprocess.run([self.binary, *arguments], env=self.environment, input=input, text=True, capture_output=True, timeout=120)
        assert done.returncode == 0, f"changeover {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def set_cohort(self, ids):
        """Until the server has got it: a question before that would record the side of the cohort as it was."""
        (self.path / "ids").write_text(ids)
        said = self.cli("cohort", "import", "early-birds", str(self.path / "ids"), "--replace")
        version = int(re.search(r"generation (\d+)", said).group(1))
        until("the server has the cohort", lambda: json.loads(request(self.port, "/readyz")[2])["version"] >= version)

    def start(self, arguments, **more):
        with open(self.path / "log", "a") as log:
            process = subprocess.Popen(arguments, stdout=log, stderr=log, **more)
        self.processes.append(process)
        return process

    def start_server(self):
        arguments = [self.binary, "serve", "--bind", f"127.0.0.1:{self.port}", "--no-sentinel"]
        self.server = self.start(arguments, env=self.environment)
        until("the server is ready", lambda: request(self.port, "/readyz")[0] == 200)

    def kill_server(self):
        self.server.kill()
        self.server.wait()

    def with_ports(self, text, port):
        """A snippet of deploy/ with this world's addresses."""
        for written, ours in [(8080, self.port), (3000, self.old.port), (3001, self.new.port)]:
            text, times = re.subn(rf"127\.0\.0\.1(:|, port_value: ){written}\b", rf"127.0.0.1\g<1>{ours}", text)
            assert times, f"127.0.0.1:{written} is not in the snippet"
        text = text.replace("0.0.0.0, port_value: 80 ", f"127.0.0.1, port_value: {port} ")
        return text.replace("listen 80;", f"listen 127.0.0.1:{port};").replace("\n:80 {", f"\nhttp://127.0.0.1:{port} {{")

    def start_nginx(self, extra=""):
        port = free_port()
        directory = self.path / f"nginx-{port}"
        directory.mkdir()
        snippet = self.with_ports((ROOT / "deploy/nginx/changeover.conf").read_text(), port)
        snippet = snippet.replace("/var/cache/nginx/", f"{directory}/cache-").replace("/etc/nginx/", f"{directory}/")
        (directory / "changeover.conf").write_text(snippet)
        (directory / "changeover-token.conf").write_text(f"proxy_set_header X-Changeover-Token {self.token};\n")
        temporary = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
        user = "user root;\n" if os.geteuid() == 0 else ""
        (directory / "nginx.conf").write_text(
            f"{user}daemon off;\npid {directory}/pid;\nerror_log {directory}/error.log warn;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{temporary}{extra}include {directory}/changeover.conf;\n}}\n")
        self.start(["nginx", "-p", str(directory), "-e", f"{directory}/error.log", "-c", f"{directory}/nginx.conf"])
        until("nginx listens", lambda: listens(port))
        return port

    def start_caddy(self):
        port = free_port()
        text = "{\n\tadmin off\n\tauto_https off\n}\n" + self.with_ports((ROOT / "deploy/caddy/Caddyfile").read_text(), port)
        (self.path / "Caddyfile").write_text(text)
        environment = {**os.environ, "CHANGEOVER_TOKEN": self.token, "HOME": str(self.path), "XDG_DATA_HOME": str(self.path)}
        self.start(["caddy", "run", "--config", str(self.path / "Caddyfile"), "--adapter", "caddyfile"], env=environment)
        until("Caddy listens", lambda: listens(port))
        return port

    def start_traefik(self):
        port, inner = free_port(), free_port()
        text = self.with_ports((ROOT / "deploy/traefik/changeover.yaml").read_text(), port)
        (self.path / "traefik.yaml").write_text(text.replace("co_…", self.token).replace("127.0.0.1:8079", f"127.0.0.1:{inner}"))
        self.start([
            "traefik", f"--providers.file.filename={self.path}/traefik.yaml", "--global.checknewversion=false", "--global.sendanonymoususage=false",
            f"--entrypoints.web.address=127.0.0.1:{port}", f"--entrypoints.changeover.address=127.0.0.1:{inner}",
        ])
        until("Traefik routes", lambda: request(port)[0] == 200)
        return port

    def start_envoy(self):
        port = free_port()
        text = self.with_ports((ROOT / "deploy/envoy/envoy.yaml").read_text(), port)
        (self.path / "envoy.yaml").write_text(text.replace("co_…", self.token))
        self.start(["envoy", "--config-path", str(self.path / "envoy.yaml"), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warn"])
        until("Envoy routes", lambda: request(port)[0] == 200)
        return port

    def sql(self, text):
        import sqlite3
        with sqlite3.connect(self.path / "videos.db", timeout=30) as connection:
            connection.execute(text)
        connection.close()

    def close(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        self.directory.cleanup()
