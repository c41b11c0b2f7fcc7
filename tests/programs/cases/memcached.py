"""memcached with four threads: values up to 5 MB, many connections, pipelined requests"""

import os

NEEDS = ["memcached"]


def run(case):
    port = case.port()
    who = ["-u", "root"] if os.getuid() == 0 else []
    server = case.server(
        "memcached", "-p", port, "-U", 0, "-l", "127.0.0.1", "-t", 4, "-m", 256, "-I", "8m", *who, ready=port
    )
    with case.ring("values, and 200 connections", 7_000_000):
        case.record("client", case.run(*case.helper("memcached_client.py"), port, 200, seconds=30))
    case.idle(server, "memcached", seconds=1)
    case.stop(server, status=None)
