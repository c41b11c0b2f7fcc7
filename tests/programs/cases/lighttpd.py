"""lighttpd with curl, ab and siege, and a script by CGI"""

from harness import http
from harness.case import sha

NEEDS = ["lighttpd", "curl", "ab", "siege"]
SIZES = [0, 1, 1024, 65536, 1_000_003, 20_000_000]


def run(case):
    port = case.port()
    site = case.path("site")
    site.mkdir()
    for size in SIZES:
        (site / str(size)).write_bytes(case.suite.data(size).read_bytes())
    (site / "sum.cgi").write_text("printf 'Content-Type: text/plain\\r\\n\\r\\n'\nsha256sum\n")
    configuration = case.write("lighttpd.conf", CONFIGURATION.format(folder=case.folder, site=site, port=port))
    server = case.server("lighttpd", "-D", "-f", configuration, ready=port)
    at = f"http://127.0.0.1:{port}"
    with case.ring("files", 1_000_000):
        for size in SIZES:
            http.fetch(case, f"{at}/{size}", case.suite.data(size))
    given = case.suite.data(1_000_003)
    case.record("a script", case.run("curl", "-sS", "--data-binary", f"@{given}", f"{at}/sum.cgi"))
    outputs = [word for n in range(30) for word in ("-o", case.path(f"parallel-{n}"), f"{at}/1000003?{n}")]
    with case.ring("thirty at a time", 1_000_000):
        case.run("curl", "-sS", "-Z", "--parallel-max", 30, *outputs)
    sums = {sha(case.path(f"parallel-{n}")) for n in range(30)}
    case.same("thirty at a time", sums, {sha(given)})
    with case.ring("ab", 1_000_000):
        http.ab(case, f"{at}/1024", 3000, 30, "-k")
        http.ab(case, f"{at}/1024", 500, 10)
    # Without a folder to keep its settings in, it complains, and goes on.
    siege = case.run("siege", "-q", "-j", "-b", "-c", 10, "-r", 50, f"{at}/65536", status=None).decode()
    case.check('"failed_transactions":' in siege.replace("\t", "").replace(" ", ""), f"siege: {siege}")
    case.record("siege", [line.strip() for line in siege.splitlines() if '"transactions"' in line or '"failed' in line])
    case.idle(server, "lighttpd")
    case.stop(server, status=None)


CONFIGURATION = """
server.document-root = "{site}"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{folder}/lighttpd.log"
server.upload-dirs = ( "{folder}" )
server.max-keep-alive-requests = 100000
server.modules = ( "mod_cgi" )
cgi.assign = ( ".cgi" => "/bin/sh" )
"""
