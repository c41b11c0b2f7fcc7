"""python3 -m http.server with curl, one and many at a time"""

import signal

from harness import http
from harness.case import sha

NEEDS = ["curl"]
SIZES = [0, 1, 1000, 65536, 1_000_003, 20_000_000]


def run(case):
    port = case.port()
    site = case.path("site")
    site.mkdir()
    for size in SIZES:
        (site / str(size)).write_bytes(case.suite.data(size).read_bytes())
    server = case.server(
        case.suite.python, "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", site, port, ready=port
    )
    at = f"http://127.0.0.1:{port}"
    with case.ring("files", 10_000_000):
        for size in SIZES:
            http.fetch(case, f"{at}/{size}", case.suite.data(size))
    case.record("listing", sha(case.run("curl", "-sS", f"{at}/")))
    case.record("absent", case.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"{at}/absent"))
    with case.ring("twenty at a time", 1):
        outputs = [word for n in range(20) for word in ("-o", case.path(f"parallel-{n}"), f"{at}/1000003?{n}")]
        case.run("curl", "-sS", "-Z", "--parallel-max", 20, *outputs)
    sums = {sha(case.path(f"parallel-{n}")) for n in range(20)}
    case.same("twenty at a time", sums, {sha(case.suite.data(1_000_003))})
    case.idle(server, "http.server")
    case.stop(server, signal.SIGINT)
