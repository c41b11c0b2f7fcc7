"""dnsmasq by TCP, with dig: one query for each connection, and many by one"""

import re

NEEDS = ["dnsmasq", "dig"]


def run(case):
    port = case.port()
    server = start(case, port)
    dig = ["dig", "@127.0.0.1", "-p", port, "+tcp", "+time=10", "+tries=1", "+noall", "+answer"]
    case.record("a query", answers(case.run(*dig, "host-7.test")))
    case.record("a long answer", answers(case.run(*dig, "TXT", "long.test")))
    case.record("no answer", answers(case.run(*dig, "absent.test")))
    names = [f"host-{n}.test" for n in range(90)]  # dnsmasq takes 100 by one connection
    with case.ring("ninety queries by one connection", 1000):
        # +keepopen belongs to each query, not to the whole.
        case.record("by one connection", answers(case.run(*dig, *[word for name in names for word in (name, "+tcp", "+keepopen")])))
    clients = [case.start(*dig, *names[n : n + 5]) for n in range(0, 50, 5)]
    case.record("ten at a time", [answers(case.wait(client)) for client in clients])
    case.idle(server, "dnsmasq")
    case.stop(server, status=None)


def start(case, port, bind=("--bind-interfaces",)):
    records = [f"--host-record=host-{n}.test,10.0.{n // 256}.{n % 256}" for n in range(200)]
    text = ",".join(["--txt-record=long.test"] + ["x" * 250] * 12)
    return case.server(
        "dnsmasq", "--no-daemon", f"--port={port}", "--listen-address=127.0.0.1", *bind, "--no-resolv", "--no-hosts",
        "--conf-file=/dev/null", "--edns-packet-max=4096", f"--user={case.me}", *records, text, ready=port,
    )


def answers(output):
    return re.sub(rb"[ \t]+", b" ", output)
