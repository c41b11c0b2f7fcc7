"""nginx as a reverse proxy in front of a python http.server"""

import signal

from harness import http

NEEDS = ["nginx", "curl", "ab"]
SIZES = [0, 1, 1000, 100_000, 5_000_000]


def run(case):
    port, backend_port = case.port(), case.port()
    backend = http.backend(case, backend_port, "one", SIZES)
    configuration = http.nginx_configuration(
        case, 2,
        f"upstream backend {{ server 127.0.0.1:{backend_port}; keepalive 4; }}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://backend;\n"
        f'proxy_http_version 1.1; proxy_set_header Connection ""; }} }}',
    )
    server = case.server("nginx", "-c", configuration, ready=port)
    at = f"http://127.0.0.1:{port}"
    with case.ring("files through the proxy", 1_000_000):
        for size in SIZES:
            http.fetch(case, f"{at}/{size}", case.suite.data(size))
    case.record("absent", case.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"{at}/absent"))
    with case.ring("ab through the proxy", 250_000):
        http.ab(case, f"{at}/1000", 500, 10, "-k")
    case.stop(server, signal.SIGQUIT)
    case.stop(backend)
