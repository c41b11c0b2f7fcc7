"""what programs call the hosts of a net, by the C library or with a resolver of their own, and what they see of its interfaces"""

import ast
import shutil
import time

NEEDS = ["dig", "getent", "hostname", "curl"]
PYTHON = "/usr/bin/python3"
HOSTS = {"web": "10.222.0.1", "db": "10.222.0.2", "mail.example": "10.222.7.9"}


class Net:
    """What is asked on the hosts of the case's net."""

    def __init__(self, case):
        self.case, self.same, self.check = case, case.same, case.check

    def on(self, host, *argv, status=0):
        """What a program says on a host."""
        return self.case.run(host, *argv, status=status).strip()

    def python(self, host, expression):
        """The value of an expression, or the exception that it ends in."""
        code = f"import socket, os\ntry: print(repr({expression}))\nexcept OSError as e: print(repr((type(e).__name__, e.errno)))"
        return ast.literal_eval(self.on(host, PYTHON, "-c", code))


def addresses(net, host, node, *more):
    """What getaddrinfo gives for TCP."""
    value = net.python(host, f"[a[4][0] for a in socket.getaddrinfo({node!r}, 80, type=socket.SOCK_STREAM{''.join(more)})]")
    return list(value)


def run(case):
    net = Net(case)
    # A net lives while somebody uses it.
    for host, address in HOSTS.items():
        case.start(f"{host}={address}", "sleep", "1000")
    case.until("the hosts are there", lambda: [one for one in case.json("net", "ls") if one["hosts"] == len(HOSTS)])
    case.capture()
    v6 = {host: addresses(net, "web", host, ", family=socket.AF_INET6")[0] for host in HOSTS}
    net.same("prefix of IPv6", {address[:5] for address in v6.values()}, {"fd6c:"})

    forward(net, v6)
    backward(net, v6)
    outside(net)
    own(net, v6)
    questions(net, v6)
    outside_allowed(case)
    by_name(net)


def forward(net, v6):
    for name in ("db", "DB", "db.", "db.names", "Db.NAMES."):
        net.same(f"getaddrinfo {name}", addresses(net, "web", name), [HOSTS["db"], v6["db"]])
        net.same(f"gethostbyname {name}", net.python("web", f"socket.gethostbyname({name!r})"), HOSTS["db"])
    net.same("a name with a dot", addresses(net, "db", "mail.example.names"), [HOSTS["mail.example"], v6["mail.example"]])
    net.same("own name", addresses(net, "db", "db"), [HOSTS["db"], v6["db"]])
    net.same("localhost", addresses(net, "db", "localhost"), ["::1", "127.0.0.1"])
    mapped = ", family=socket.AF_INET6, flags=socket.AI_V4MAPPED | socket.AI_ALL"
    net.same("mapped", addresses(net, "web", "db", mapped), ["::ffff:" + HOSTS["db"], v6["db"]])
    canonical = net.python("web", "[a[3] for a in socket.getaddrinfo('DB.names', 'http', type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME)]")
    net.same("canonical name", canonical, ["db", ""])
    net.same("no such service", net.python("web", "socket.getaddrinfo('db', 'nosuch')"), ("gaierror", -8))
    net.same("all kinds", net.python("web", "len(socket.getaddrinfo('db', 80))"), 6)
    net.same("getent hosts", net.on("web", "getent", "hosts", "db", "localhost").split(), [v6["db"], "db", "::1", "localhost"])
    net.same("getent ahostsv4", net.on("web", "getent", "ahostsv4", "db").split()[0], HOSTS["db"])


def backward(net, v6):
    for address in (HOSTS["db"], v6["db"]):
        net.same(f"getnameinfo {address}", net.python("web", f"socket.getnameinfo(({address!r}, 80), 0)"), ("db", "http"))
        net.same(f"gethostbyaddr {address}", net.python("web", f"socket.gethostbyaddr({address!r})"), ("db", [], [address]))
    net.same("nobody's address", net.python("web", "socket.getnameinfo(('10.222.9.9', 7), socket.NI_NUMERICSERV)"), ("10.222.9.9", "7"))
    needed = net.python("web", "socket.getnameinfo(('10.222.9.9', 7), socket.NI_NAMEREQD)")
    net.same("nobody's address, a name needed", needed, ("gaierror", -2))
    net.same("nobody's gethostbyaddr", net.python("web", "socket.gethostbyaddr('10.222.9.9')"), ("herror", 1))


def outside(net):
    """Who is not of the net is not asked about: the answer comes at once."""
    before = time.monotonic()
    for name in ("nosuch", "www.example.com", "db.other", "-"):
        net.same(f"getaddrinfo {name}", net.python("web", f"socket.getaddrinfo({name!r}, 80)"), ("gaierror", -2))
    net.same("gethostbyname of nobody", net.python("web", "socket.gethostbyname_ex('www.example.com')")[0], "gaierror")
    net.same("getent of nobody", net.on("web", "getent", "hosts", "www.example.com", status=2), "")
    net.check(time.monotonic() - before < 5, "names of the outside were waited for")


def own(net, v6):
    for host in HOSTS:
        net.same("hostname", net.on(host, "hostname"), host)
        net.same("uname -n", net.on(host, "uname", "-n"), host)
    net.same("hostname -I", net.on("db", "hostname", "-I").split(), [HOSTS["db"], v6["db"]])
    net.same("getfqdn", net.python("db", "socket.getfqdn()"), "db")
    net.same("interfaces", net.python("db", "socket.if_nameindex()"), [(1, "lo"), (2, "eth0")])
    requests = "[__import__('fcntl').ioctl(socket.socket(), r, b'eth0' + bytes(36))[20:24] for r in (0x8915, 0x891b, 0x8919)]"
    expected = [socket_bytes(HOSTS["db"]), b"\xff\xff\0\0", socket_bytes("10.222.255.255")]
    net.same("requests about eth0", net.python("db", requests), expected)


def socket_bytes(address):
    return bytes(int(part) for part in address.split("."))


def questions(net, v6):
    """Programs with resolvers of their own, which ask a server."""
    def dig(*argv):
        return sorted(net.on("web", "dig", "+short", "+tries=1", "+time=3", *argv).split())

    for server in ["@127.0.0.53", "@127.0.0.11", None]:
        at = [server] if server else []
        net.same(f"dig {server}", dig(*at, "db"), [HOSTS["db"]])
    resolver = net.python("auto", "socket.gethostbyname('auto')").rsplit(".", 2)[0] + ".255.53"
    net.same("dig at the net's own server", dig(f"@{resolver}", "db"), [HOSTS["db"]])
    net.same("dig AAAA", dig("DB.names", "AAAA"), [v6["db"]])
    net.same("dig ANY", dig("+notcp", "db", "ANY"), sorted([HOSTS["db"], v6["db"]]))
    net.same("dig -x", [dig("-x", HOSTS["db"]), dig("-x", v6["mail.example"])], [["db."], ["mail.example."]])
    for name, options, status in (
        ("db", [], "NOERROR"), ("db", ["MX"], "NOERROR"), ("nosuch.example", [], "NXDOMAIN"), ("example", [], "NOERROR"),
        ("db", ["+ednsopt=10:0011223344556677"], "NOERROR"), ("db", ["+edns=7", "+noednsneg"], "BADVERS"), ("db", ["-c", "CH"], "REFUSED"),
    ):
        said = net.on("web", "dig", "+tries=1", "+time=3", name, *options)
        net.check(f"status: {status}," in said, f"dig {name} {options}: {said}")
    refused = net.on("web", "dig", "+tcp", "+tries=1", "+time=3", "db", status=9)
    net.check("connection refused" in refused, f"dig +tcp: {refused}")
    if shutil.which("node"):
        script = "const d = require('dns').promises; d.resolve4('db').then(a => console.log(a.join())).then(() => d.resolve4('nosuch.x')).catch(e => console.log(e.code))"
        net.same("node", net.on("web", "node", "-e", script).split(), [HOSTS["db"], "ENOTFOUND"])


def outside_allowed(case):
    """The net's own server leaves to others what it does not know."""
    def run(*argv):
        return case.landline("run", "--net", "names-allowed", "--host", "web", "--outside", "allow", "--", *argv).strip()

    case.start("db=10.223.0.2", "sleep", "1000", net="names-allowed")
    case.until("it is there", lambda: "10.223.0.2" in case.landline("net", "show", "names-allowed", status=None))
    case.same("a host, outside allowed", run("getent", "ahostsv4", "db").split()[0], "10.223.0.2")
    server = run(PYTHON, "-c", "import socket; print(socket.gethostbyname('web'))").rsplit(".", 2)[0] + ".255.53"
    case.same("dig, outside allowed", run("dig", f"@{server}", "+short", "db"), "10.223.0.2")
    said = run("dig", f"@{server}", "+tries=1", "nosuch.example")
    case.check("status: REFUSED," in said, f"dig, outside allowed: {said}")


def by_name(net):
    """A server found by its name, on a port that needs no privilege here."""
    net.case.start("db", PYTHON, "-m", "http.server", "80")
    net.case.listens("db", 80)
    code = net.on("web", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{remote_ip}", "http://db.names/")
    net.same("curl by name", code, f"200 {HOSTS['db']}")
