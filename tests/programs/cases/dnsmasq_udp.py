"""dnsmasq by UDP, with dig and dnsperf: answers of all sizes, cut ones, thousands of queries, on its address and on any"""

import re

from . import dnsmasq

NEEDS = ["dnsmasq", "dig", "dnsperf"]


def run(case):
    port = case.port()
    server = dnsmasq.start(case, port)
    dig = ["dig", "@127.0.0.1", "-p", port, "+notcp", "+time=10", "+tries=1", "+noall", "+answer"]
    case.record("a query", dnsmasq.answers(case.run(*dig, "host-7.test")))
    case.record("a long answer", dnsmasq.answers(case.run(*dig, "+bufsize=4096", "TXT", "long.test")))
    case.record("cut", dnsmasq.answers(case.run(*dig, "+bufsize=512", "+ignore", "+comments", "TXT", "long.test")).count(b" tc "))
    case.record("cut, then by TCP", dnsmasq.answers(case.run(*dig, "+bufsize=512", "TXT", "long.test")))
    case.record("no answer", dnsmasq.answers(case.run(*dig, "absent.test")))
    clients = [case.start(*dig, *[f"host-{n}.test" for n in range(first, first + 5)]) for first in range(0, 50, 5)]
    case.record("ten at a time", [dnsmasq.answers(case.wait(client)) for client in clients])

    queries = case.write("queries", "".join(f"host-{n}.test A\n" for n in range(200)))
    # On any address it is told beside each query where that came to, and says beside each answer where that comes from.
    anywhere = case.port()
    on_any = dnsmasq.start(case, anywhere, bind=())
    # With one query at a time dnsperf's own threads sometimes wait for each other until a tenth of a second is over.
    few, many = ["-q", 4, "-n", 5], ["-c", 10, "-T", 2, "-q", 50, "-n", 50]
    for name, to, options in [("one client", port, few), ("many", port, many), ("to any address", anywhere, many)]:
        with case.ring(f"dnsperf, {name}", 100_000):
            output = case.run("dnsperf", "-s", "127.0.0.1", "-p", to, "-d", queries, *options).decode()
        case.record(f"dnsperf, {name}", re.findall(r"(Queries (?:sent|completed|lost)|Response codes): +(.+)", output))
    for its in (server, on_any):
        case.idle(its, "dnsmasq")
        case.stop(its, status=None)
