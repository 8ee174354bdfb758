"""usage: test_deploy.py BINARY: the dashboard and the alert rules against the metrics of a server that really runs."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana/changeover.json").read_text())
RULES = ROOT / "deploy/prometheus/alerts.yaml"
# Labels that Prometheus or a histogram adds.
OTHERS = {"le", "instance", "job"}


def fetched(url, **more):
    with urllib.request.urlopen(urllib.request.Request(url, **more), timeout=10) as answer:
        return answer.read().decode()


def until(what, found, limit=90):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            if result := found():
                return result
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.2)
    raise AssertionError(f"never: {what}")


def panels():
    """Titles and expressions, with Grafana's variables filled in."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$change", ".*").replace("$__rate_interval", "1m")


def rules():
    text = RULES.read_text()
    for found in re.finditer(r"^ +expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)", text, re.M):
        yield " ".join((found.group(1) or found.group(2)).split())


def catalogue():
    """Every metric and its labels, as docs/reference/metrics.md has them; the suite holds that page to the program."""
    page = (ROOT / "docs/reference/metrics.md").read_text()
    rows = re.findall(r"^\| `(changeover_\w+)` \| (\w+) \| ([^|]*) \|", page, re.M)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def check_names(expression, known):
    names = set(re.findall(r"changeover_\w+", expression))
    if not names:
        assert expression.startswith("up{"), expression
        return names
    labels = set()
    for name in names:
        of_histogram = re.sub(r"_(bucket|count|sum)$", "", name)
        name = of_histogram if known.get(of_histogram, ("",))[0] == "histogram" else name
        assert name in known, f"there is no metric {name}: {expression}"
        labels |= known[name][1]
    used = {label for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for label in group.split(", ")}
    used |= {pair.strip() for selector in re.findall(r"\{([^}]*)\}", expression) for pair in re.findall(r"(\w+)\s*=", selector)}
    assert used <= labels | OTHERS, f"{used - labels - OTHERS} is no label of {names}: {expression}"
    return names


def there(expression, metrics):
    """Without Prometheus: each metric has a series, but for those that a panel shows as 0 until there is one."""
    for name in re.findall(r"changeover_\w+", expression):
        assert f"\n{name}" in metrics or "vector(0)" in expression, f"{name} has no data: {expression}"


def with_prometheus(directory, address):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    configuration = (ROOT / "deploy/prometheus/prometheus.yaml").read_text()
    assert "127.0.0.1:8080" in configuration
    configuration = configuration.replace("127.0.0.1:8080", address).replace("15s", "1s").replace("[alerts.yaml]", f"['{RULES}']")
    (directory / "prometheus.yaml").write_text(configuration)
    subprocess.run(["promtool", "check", "config", str(directory / "prometheus.yaml")], check=True, stdout=subprocess.DEVNULL)
    prometheus = subprocess.Popen(
        ["prometheus", f"--config.file={directory}/prometheus.yaml", f"--storage.tsdb.path={directory}/data",
         f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(expression):
        answer = fetched(f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        return json.loads(answer)["data"]["result"]
    try:
        until("two scrapes", lambda: ask("count_over_time(changeover_snapshot_version[1m]) > 3"))
        for title, expression in panels():
            data = ask(expression)
            assert data, f"the panel `{title}` has no data: {expression}"
            assert all(one["value"][1] != "NaN" for one in data), f"the panel `{title}` shows NaN: {data}"
        firing = {one["metric"]["alertname"] for one in ask("ALERTS")}
        assert not firing, f"these alerts fire after the demo: {firing}"
        print(f"{len(list(panels()))} expressions of {len(DASHBOARD['panels'])} panels have data in Prometheus; no alert fires")
    finally:
        prometheus.terminate()
        prometheus.wait(20)


def main():
    known = catalogue()
    used = set()
    for expression in [expression for _, expression in panels()] + list(rules()):
        used |= check_names(expression, known)
    assert len(list(rules())) == RULES.read_text().count("alert:"), "every rule was read"
    print(f"the names and labels of {len(used)} metrics are right")
    with tempfile.TemporaryDirectory(prefix="changeover-deploy-") as directory:
        directory = pathlib.Path(directory)
        with open(directory / "log", "w") as log:
            environment = {**os.environ, "CHANGEOVER_DATABASE_URL": f"sqlite:{directory}/demo.db"}
            server = subprocess.Popen([sys.argv[1], "demo", "--charges", "2000"], env=environment, cwd=directory, stdout=log, stderr=log)
        try:
            said = lambda: re.search(r"serves http://([0-9.:]+)", (directory / "log").read_text())
            address = until("the demo serves", said).group(1)
            metrics = until("the changes are read", lambda: (
                text if "changeover_stage{" in (text := fetched(f"http://{address}/metrics")) and "changeover_assignments{" in text
                and "changeover_oldest_range_age_seconds{" in text else None))
            for _, expression in panels():
                there(expression, metrics)
            if shutil.which("prometheus") and shutil.which("promtool"):
                with_prometheus(directory, address)
            else:
                print("SKIPPED: there is no Prometheus, so no panel was asked for its data (Debian: apt-get install prometheus)", file=sys.stderr)
        except BaseException:
            print((directory / "log").read_text()[-3000:], file=sys.stderr)
            raise
        finally:
            server.terminate()
            server.wait(20)


main()
