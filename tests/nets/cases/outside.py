"""the real network is out of reach by default, and counted; with --outside allow curl and nginx reach it"""

import os
import subprocess

from harness import Skip

NEEDS = ["curl", "nginx", "ip"]
OUTSIDE = "192.0.2.1"
PORT = 8099


def run(case):
    if os.geteuid() != 0 or subprocess.run(["ip", "addr", "add", f"{OUTSIDE}/32", "dev", "lo"], capture_output=True).returncode != 0:
        raise Skip("no network namespace of our own to give an address to")
    case.spawn(["/usr/bin/python3", "-m", "http.server", PORT, "--bind", OUTSIDE], "server")
    url = f"http://{OUTSIDE}:{PORT}/"
    case.until("the server outside listens", lambda: subprocess.run(["curl", "-s", "-o", "/dev/null", url]).returncode == 0)

    def curl(host, *words, status=0, **options):
        return case.run(host, "curl", "-sS", "-m", 5, "-o", "/dev/null", "-w", "%{http_code}", *words, status=status, **options)

    curl("one", url, status=7)
    case.run("one", "/usr/bin/python3", "-c", UNREACHABLE, OUTSIDE)
    case.landline("--net", case.net, "run", "--outside", "allow", "--", "true")
    case.same("curl to the outside", curl("one", url), "200")
    case.run("one", "/usr/bin/python3", "-c", DATAGRAM, OUTSIDE)
    (case.folder / "nginx.conf").write_text(
        "daemon off; user root; error_log stderr; pid nginx.pid; events { worker_connections 64; }\n"
        "http { access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;\n"
        f"server {{ listen 80; location / {{ proxy_pass {url}; }} }} }}\n"
    )
    case.start("front=10.1.0.1", "nginx", "-p", case.folder, "-c", "nginx.conf")
    case.listens("front=10.1.0.1", 80)
    case.same("by a proxy of the net", curl("one", "http://10.1.0.1/"), "200")


UNREACHABLE = """
import errno, socket, sys
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    try: socket.socket(type=kind).connect((sys.argv[1], 9)); sys.exit("reached")
    except OSError as e: assert e.errno == errno.ENETUNREACH, e
"""
DATAGRAM = """
import socket, sys
there = socket.socket(type=socket.SOCK_DGRAM); there.connect((sys.argv[1], 9)); there.send(b"x")
"""
