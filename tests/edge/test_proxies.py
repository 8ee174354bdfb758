"""usage: test_proxies.py BINARY: who reaches which application through real proxies."""

import json
import shutil
import sys

from world import CHANGE, World, request, session, until

ADMIN = session("500", role="admin")


def app(port, cookie="", path="/", **more):
    """Which application answered."""
    status, _, body = request(port, path, {"Cookie": cookie, **more} if cookie else more)
    return json.loads(body)["app"] if status == 200 else status


def reaches(port, cookie, wanted):
    until(f"`{cookie}` reaches {wanted}", lambda: app(port, cookie) == wanted, 15)


def by_side(world, port):
    assert [app(port, f"user={user}") for user in (1, 2, 3)] == ["new"] * 3
    assert [app(port, f"user={user}") for user in (20, 21, 99999)] == ["old"] * 3
    assert app(port) == "old", "nobody"
    assert app(port, session("1")) == "new" and app(port, session("20")) == "old"
    for method in ["POST", "PUT", "DELETE"]:
        status, _, body = request(port, "/a?b=c", {"Cookie": "user=1"}, method, "what is sent")
        got = json.loads(body)
        assert (status, got["app"], got["method"], got["path"], got["sent"]) == (200, "new", method, "/a?b=c", "what is sent"), got
    # What the application itself answers is passed on.
    for code in [401, 403, 404, 500, 502, 503]:
        status, _, body = request(port, f"/status/{code}", {"Cookie": "user=1"})
        assert (status, json.loads(body)["app"]) == (code, "new"), (code, status, body)


def nobody_is_fooled(world, port):
    lies = {"X-Changeover-Side": "new", "X-Changeover-Upstream": "new", "X-Changeover-Token": "mine"}
    _, _, body = request(port, "/", {"Cookie": "user=20", **lies})
    got = json.loads(body)
    assert got["app"] == "old" and got["ours"] == {"x-changeover-side": "old", "x-changeover-upstream": "old"}, got
    assert world.token not in body, got
    assert app(port, session("77"), **{"X-Upstream": "new"}) == "new", "staff choose"
    assert app(port, "user=77", **{"X-Upstream": "new"}) == "old", "who only says so does not"
    assert app(port, session("20"), **{"X-Upstream": "new"}) == "old", "nor do others"
    assert app(port, session("77"), **{"X-Upstream": "http://elsewhere.example"}) == "old"


def another_cohort(world, port):
    """Recorded sides change with the period, a flag's at once."""
    world.set_cohort("20\n")
    assert (app(port, "user=2"), app(port, "user=20")) == ("new", "old"), "the period goes on"
    world.sql("UPDATE changeover_assignment SET period = '2020-01'")
    reaches(port, "user=20", "new")
    reaches(port, "user=2", "old")
    settings = json.loads((world.path / "edge.json").read_text())
    world.cli("edge", "set", CHANGE, "-", "--reason", "at once", input=json.dumps({**settings, "flag": "copy-of-the-app"}))
    world.set_cohort("1\n2\n3\n")
    reaches(port, "user=20", "old")
    reaches(port, "user=2", "new")
    world.cli("edge", "set", CHANGE, str(world.path / "edge.json"), "--reason", "as before")
    world.sql("DELETE FROM changeover_assignment")
    reaches(port, "user=2", "new")
    reaches(port, "user=20", "old")


def maintenance(world, port):
    world.cli("edge", "maintenance", CHANGE, "on", "--reason", "a test", "--retry-after", "77")
    reaches(port, "user=1", 503)
    status, headers, body = request(port, "/", {"Cookie": "user=1"})
    assert (status, headers["Retry-After"]) == (503, "77"), (status, headers.items())
    assert "maintenance" in body.lower() and headers["Content-Type"].startswith("text/html"), body
    assert app(port) == 503
    assert app(port, ADMIN) == "old", "an admin is let in"
    assert app(port, session("20")) == 503
    world.cli("edge", "maintenance", CHANGE, "off", "--reason", "done")
    reaches(port, "user=1", "new")


def without_the_server(world, port, knows):
    """`knows`: whether the proxy itself keeps what it was told; `None` if it has no way to go on."""
    assert (app(port, "user=1"), app(port, "user=20")) == ("new", "old")
    world.kill_server()
    for _ in range(3 if knows is not None else 0):
        assert (app(port, "user=1"), app(port, "user=20")) == ("new" if knows else "old", "old")
        assert app(port, "user=3; never=seen") == "old", "the old copy for who was never seen"
        status, _, body = request(port, "/x", {"Cookie": "user=4"}, "POST", "kept")
        assert status == 200 and json.loads(body)["sent"] == "kept", body
    assert knows is not None or request(port, "/", {"Cookie": "user=1"})[0] >= 500, "it says so"
    world.start_server()
    reaches(port, "user=3; never=seen", "new")


def main():
    world = World(sys.argv[1])
    try:
        proxies = [("nginx", world.start_nginx(), True)]
        others = [("Caddy", world.start_caddy, False), ("Traefik", world.start_traefik, None), ("Envoy", world.start_envoy, False)]
        for name, start, knows in others:
            if shutil.which(name.lower()):
                proxies.append((name, start(), knows))
            else:
                print(f"SKIPPED: there is no {name}, so its snippet was not tried", file=sys.stderr)
        for name, port, knows in proxies:
            for test in [by_side, nobody_is_fooled, another_cohort, maintenance]:
                test(world, port)
                print(f"{name}: {test.__name__.replace('_', ' ')}")
            without_the_server(world, port, knows)
            print(f"{name}: without the server")
        world.new.stop()
        for name, port, _ in proxies:
            assert app(port, "user=1") in [502, 503], f"{name}: a copy that is down is not served by the other one"
            assert app(port, "user=20") == "old"
    except BaseException:
        print((world.path / "log").read_text()[-4000:], file=sys.stderr)
        for log in world.path.glob("nginx-*/error.log"):
            print(log.read_text()[-3000:], file=sys.stderr)
        raise
    finally:
        world.close()


main()
