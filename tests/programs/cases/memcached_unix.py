"""memcached on its UNIX socket: values up to 5 MB, many connections, pipelined requests"""

import os

NEEDS = ["memcached"]


def run(case):
    path = case.path("memcached.sock")
    who = ["-u", "root"] if os.getuid() == 0 else []
    server = case.server("memcached", "-s", path, "-t", 4, "-m", 256, "-I", "8m", *who, ready=path)
    with case.ring("values, and 100 connections", 7_000_000):
        case.record("client", case.run(*case.helper("memcached_client.py"), path, 100, seconds=30))
    case.idle(server, "memcached")
    case.stop(server, status=None)
