"""memcached by UDP, with four threads that share the socket: values, and answers of many datagrams"""

import os

NEEDS = ["memcached"]


def run(case):
    port = case.port()
    who = ["-u", "root"] if os.getuid() == 0 else []
    server = case.server("memcached", "-p", port, "-U", port, "-l", "127.0.0.1", "-t", 4, *who, ready=port)
    with case.ring("values", 1_000_000):
        case.record("client", case.run(*case.helper("memcached_udp_client.py"), port))
    case.idle(server, "memcached")
    case.stop(server, status=None)
