"""nginx on UNIX sockets: it listens on one, has its upstream behind another, and curl --unix-socket asks"""

import signal

from harness import http
from harness.case import sha

NEEDS = ["nginx", "curl", "ab"]
SIZES = [0, 1, 1000, 100_000, 5_000_000]


def run(case):
    port, front, back = case.port(), case.path("front.sock"), case.path("back.sock")
    site = case.path("site")
    site.mkdir()
    for size in SIZES:
        (site / str(size)).write_bytes(case.suite.data(size).read_bytes())
    backend = http.backend(case, back, "one", SIZES)
    configuration = http.nginx_configuration(
        case, 2,
        f"upstream backend {{ server unix:{back}; keepalive 4; }}\n"
        f"server {{ listen unix:{front}; root {site}; location /back/ {{ proxy_pass http://backend/;\n"
        f'proxy_http_version 1.1; proxy_set_header Connection ""; }} }}\n'
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://backend;\n"
        f'proxy_http_version 1.1; proxy_set_header Connection ""; }} }}',
    )
    server = case.server("nginx", "-c", configuration, ready=front)
    for what, at in (("files", "http://localhost"), ("the upstream", "http://localhost/back")):
        curl = ["curl", "-sS", "--fail", "--unix-socket", front]
        with case.ring(f"{what} by a UNIX socket", 0):  # one connection each: it may be over before the ring is worth while
            for size in SIZES:
                case.same(f"{what}: {size} bytes", sha(case.run(*curl, f"{at}/{size}")), sha(case.suite.data(size)))
        several = case.run(*curl, *[f"{at}/{size}" for size in SIZES[:4] * 3])
        case.record(f"{what}: several in one connection", sha(several))
        urls = [word for n in range(8) for word in ("-o", case.path(f"parallel-{n}"), f"{at}/5000000?{n}")]
        case.run(*curl, "-Z", "--parallel-max", 8, *urls)
        sums = {sha(case.path(f"parallel-{n}")) for n in range(8)}
        case.same(f"{what}: eight at a time", sums, {sha(case.suite.data(5_000_000))})
    with case.ring("the upstream by TCP", 1_000_000):
        for size in SIZES:
            http.fetch(case, f"http://127.0.0.1:{port}/{size}", case.suite.data(size))
        http.ab(case, f"http://127.0.0.1:{port}/1000", 500, 10, "-k")
    case.idle(server, "nginx")
    case.stop(server, signal.SIGQUIT)
    case.stop(backend)
