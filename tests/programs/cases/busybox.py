"""busybox: httpd with wget, and nc with a program"""

from harness.case import Skip, sha

NEEDS = ["busybox"]


def run(case):
    if b"not a dynamic executable" in case.run("sh", "-c", 'ldd "$0" 2>&1', case.tool("busybox"), role="witness", status=None):
        raise Skip("this busybox is static, and cannot be preloaded")
    httpd(case)
    nc(case)


def httpd(case):
    port, site, large = case.port(), case.path("site"), case.suite.data(20_000_000)
    site.mkdir()
    (site / "large").write_bytes(large.read_bytes())
    (site / "small").write_text("small\n")
    server = case.server("busybox", "httpd", "-f", "-p", f"127.0.0.1:{port}", "-h", site, ready=port)
    at = f"http://127.0.0.1:{port}"
    with case.ring("httpd", 1_000_000):
        case.same("wget", sha(case.run("busybox", "wget", "-q", "-O", "-", f"{at}/large")), sha(large))
        clients = [case.start("busybox", "wget", "-q", "-O", "-", f"{at}/{name}") for name in ("small", "large") * 4]
        case.record("eight at a time", [sha(case.wait(client)) for client in clients])
    case.stop(server, status=None)


def nc(case):
    """A program on the connection, which nc becomes by exec."""
    port, given = case.port(), case.suite.data(1_000_003)
    server = case.server("busybox", "nc", "-l", "-p", port, "-e", "cat", ready=port)
    with case.ring("nc", 100_000):
        got = case.run("sh", "-c", '{ cat "$1"; sleep 0.3; } | busybox nc 127.0.0.1 "$0" | head -c 1000003', port, given)
        case.wait(server, status=None)
    case.same("what cat gave back", sha(got), sha(given))
