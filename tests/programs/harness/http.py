"""What the HTTP tests share: a small backend, a fetch with its checksum, and the load generators."""

import os
import re

from .case import sha


def backend(case, port, name, sizes, role="client"):
    """An HTTP/1.1 server that serves files of these sizes, says its name at /name, and ends well on SIGTERM."""
    site = case.path(f"site-{name}")
    site.mkdir()
    for size in sizes:
        (site / str(size)).write_bytes(case.suite.data(size).read_bytes())
    (site / "name").write_text(f"{name}\n")
    return case.server(*case.helper("http_backend.py"), port, site, role=role, ready=port)


def fetch(case, url, expected, **options):
    got = case.path("fetched")
    case.run("curl", "-sS", "--fail", "-o", got, url, step=f"curl {url}", **options)
    case.same(url.rpartition("/")[2] + " bytes by curl", sha(got) if got.exists() else sha(b""), sha(expected))
    got.unlink(missing_ok=True)


def wrk(case, url, connections, seconds):
    output = case.run("wrk", "-t2", f"-c{connections}", f"-d{seconds}s", url).decode()
    served = re.search(r"(\d+) requests in", output)
    case.check(served and int(served[1]) > 0, f"wrk {url}: no request was answered")
    case.check("Socket errors" not in output and "Non-2xx" not in output, f"wrk {url}: {output}")


def ab(case, url, requests, concurrency, *options):
    output = case.run("ab", "-q", "-n", requests, "-c", concurrency, *options, url).decode()
    facts = {name: output.partition(name)[2].split()[0] for name in ("Complete requests:", "Failed requests:") if name in output}
    facts["Non-2xx"] = "Non-2xx" in output
    facts["HTML transferred"] = re.search(r"HTML transferred:\s+(\d+)", output)[1]
    case.record(f"ab {' '.join(options)}", facts)
    case.same(f"ab {' '.join(options)} failures", facts.get("Failed requests:"), "0")


def nginx_configuration(case, workers, servers):
    """A configuration whose files all lie in the case's folder."""
    paths = " ".join(
        f"{name}_temp_path {case.folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.getuid() == 0 else ""
    return case.write(
        "nginx.conf",
        f"{user} daemon off; worker_processes {workers}; pid {case.folder}/nginx.pid;\n"
        f"error_log {case.folder}/nginx-error.log warn;\n"
        f"events {{ worker_connections 1024; }}\n"
        f"http {{ access_log off; sendfile on; keepalive_requests 1000000; {paths}\n{servers}\n}}\n",
    )
