"""haproxy between UNIX sockets, and from itself to itself by an abstract name; its own socket for commands"""

from collections import Counter

from harness import http
from harness.case import sha

NEEDS = ["haproxy", "curl", "socat"]
PAIRS = {"server"}  # the abstract name
SIZES = [0, 1, 1000, 100_000, 5_000_000]


def run(case):
    paths = {name: case.path(f"{name}.sock") for name in ("front", "long", "one", "two", "stats")}
    backends = [http.backend(case, paths[name], name, SIZES) for name in ("one", "two")]
    servers = "\n".join(f"  server {name} unix@{paths[name]} check inter 200" for name in ("one", "two"))
    configuration = case.write("haproxy.cfg", CONFIGURATION.format(servers=servers, me=case.folder.name, **paths))
    # It binds its sockets by another name and moves them to theirs, which the kernel's list does not follow.
    server = case.server("haproxy", "-db", "-f", configuration, ready=paths["long"].exists)
    for what in ("front", "long"):
        curl = ["curl", "-sS", "--fail", "--unix-socket", paths[what]]
        answers = Counter(case.run(*curl, "http://localhost/name") for _ in range(10))
        case.record(f"{what}: who answers", dict(answers))
        with case.ring(f"{what}: files", 1_000_000):
            for size in SIZES:
                case.same(f"{what}: {size} bytes", sha(case.run(*curl, f"http://localhost/{size}")), sha(case.suite.data(size)))
        several = case.run(*curl, *[f"http://localhost/{size}" for size in SIZES[:4] * 3])
        case.record(f"{what}: several in one connection", sha(several))
    for command in (b"show servers state web\n", b"show stat\n", b"show info\n"):
        answer = case.run("socat", "-t", 5, "-", f"UNIX-CONNECT:{paths['stats']}", stdin=command)
        case.check(answer.count(b"\n") > 3, f"{command}: {answer}")
    case.idle(server, "haproxy")
    case.stop(server, status=None)
    for backend in backends:
        case.stop(backend)


CONFIGURATION = """
global
  nbthread 2
  maxconn 500
  stats socket {stats} mode 600 level admin
defaults
  timeout connect 5s
  timeout client 20s
  timeout server 20s
frontend web
  mode http
  bind abns@{me}
  bind unix@{front}
  default_backend web
backend web
  mode http
  balance roundrobin
{servers}
listen long
  mode tcp
  bind unix@{long}
  server web abns@{me}
"""
