"""usage: bench.py BINARY: what the question to Changeover adds to a request through nginx on loopback, beside the same nginx without it."""

import http.client
import statistics
import sys
import time

from world import World, free_port, listens, until

ROUNDS = 3000


def timed(connection, cookie):
    began = time.perf_counter()
    connection.request("GET", "/", headers={"Cookie": cookie})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    return (time.perf_counter() - began) * 1000


def main():
    world = World(sys.argv[1])
    try:
        plain = free_port()
        bare = f"server {{ listen 127.0.0.1:{plain}; location / {{ proxy_pass http://app_new; proxy_set_header Host $host; }} }}\n"
        asked = world.start_nginx(bare)
        until("nginx listens without the question", lambda: listens(plain))
        connections = {port: http.client.HTTPConnection("127.0.0.1", port, timeout=10) for port in (plain, asked)}
        rows = {"nginx alone": [], "asked each time": [], "asked once a second": []}
        for number in range(ROUNDS + 200):
            # One after the other, so that what the machine does meanwhile hits all of them. Another cookie is another visitor to nginx' cache.
            for row, port, cookie in [
                ("nginx alone", plain, f"user=1; n={number}"),
                ("asked each time", asked, f"user=1; n={number}"),
                ("asked once a second", asked, "user=1"),
            ]:
                took = timed(connections[port], cookie)
                if number >= 200:
                    rows[row].append(took)
        base = statistics.median(rows["nginx alone"])
        print(f"| {ROUNDS} requests each | median ms | 99th percentile ms | added at the median ms |\n|---|---|---|---|")
        for row, took in rows.items():
            p99 = statistics.quantiles(took, n=100)[98]
            print(f"| {row} | {statistics.median(took):.2f} | {p99:.2f} | {statistics.median(took) - base:.2f} |")
    finally:
        world.close()


main()
