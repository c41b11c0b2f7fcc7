"""nginx, two workers and sendfile, with curl, wrk and ab, reloaded while it serves"""

import signal
import time

from harness import http, processes
from harness.case import sha

NEEDS = ["nginx", "curl", "wrk", "ab"]
SIZES = [0, 1, 100, 1024, 65536, 100 * 1024, 1_000_003, 20_000_000]


def run(case):
    port = case.port()
    site = case.path("site")
    site.mkdir()
    for size in SIZES:
        (site / str(size)).write_bytes(case.suite.data(size).read_bytes())
    configuration = http.nginx_configuration(
        case, 2, f"server {{ listen 127.0.0.1:{port}; listen [::1]:{port}; root {site}; }}"
    )
    server = case.server("nginx", "-c", configuration, ready=port)
    at = f"http://127.0.0.1:{port}"

    with case.ring("files by curl", 10_000_000):
        for size in SIZES:
            http.fetch(case, f"{at}/{size}", case.suite.data(size))
    case.record("several in one connection", sha(case.run("curl", "-sS", *[f"{at}/{size}" for size in SIZES[:7]])))
    case.record("a range", sha(case.run("curl", "-sS", "-r", "1000-60000", f"{at}/65536")))
    case.record("absent", case.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"{at}/absent"))
    case.record("head", case.run("curl", "-sS", "-I", "-w", "%header{content-length}", "-o", "/dev/null", f"{at}/1000003"))
    with case.ring("over ::1", 1_000_000):
        case.record("over ::1", sha(case.run("curl", "-sS", *[f"http://[::1]:{port}/1000003"] * 5)))

    with case.ring("wrk", 10_000_000):
        http.wrk(case, f"{at}/1024", 50, 1)
        http.wrk(case, f"{at}/102400", 20, 1)
    with case.ring("ab", 1_000_000):
        http.ab(case, f"{at}/1024", 2000, 20, "-k")
        http.ab(case, f"{at}/1024", 1000, 20)
    reload_while_serving(case, server, configuration, at)
    case.idle(server, "nginx")
    case.stop(server, signal.SIGQUIT)


def reload_while_serving(case, server, configuration, at):
    workers = set(processes.children(server.pid))
    slow = case.start("curl", "-sS", "--limit-rate", "15M", f"{at}/20000000")
    load = case.start("wrk", "-t1", "-c10", "-d2s", f"{at}/1024")
    for _ in range(2):
        time.sleep(0.4)
        case.run("nginx", "-c", configuration, "-s", "reload", role="server")
    case.same("a download across two reloads", sha(case.wait(slow)), sha(case.suite.data(20_000_000)))
    case.wait(load)
    case.until("the first workers are gone", lambda: not workers & set(processes.children(server.pid)))
    http.fetch(case, f"{at}/65536", case.suite.data(65536))
