"""TLS: redis-server with redis-benchmark, and openssl s_server with s_client and curl"""

import signal

from harness.case import sha

NEEDS = ["openssl", "redis-server", "redis-cli", "redis-benchmark", "curl"]


def run(case):
    key, certificate = case.path("key.pem"), case.path("certificate.pem")
    case.run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 2,
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate,
        role="witness",
    )
    if b"ssl" in case.run("ldd", case.tool("redis-server"), role="witness"):
        redis(case, key, certificate)
    openssl(case, key, certificate)


def redis(case, key, certificate):
    port = case.port()
    server = case.server(
        "redis-server", "--port", 0, "--tls-port", port, "--bind", "127.0.0.1", "--save", "", "--dir", case.folder,
        "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no",
        ready=port,
    )
    login = ["-h", "127.0.0.1", "-p", port, "--tls", "--cacert", certificate]
    value = case.suite.data(5_000_000)
    with case.ring("redis: a value", 5_000_000):
        case.record("redis: set", case.run("redis-cli", *login, "-x", "SET", "value", stdin=value))
        case.same("redis: value", sha(case.run("redis-cli", *login, "--raw", "GET", "value")[:-1]), sha(value))
    with case.ring("redis: benchmark", 1_000_000):
        for options in (["-c", 20, "-n", 5000], ["-c", 5, "-n", 5000, "-P", 16, "-d", 1000]):
            output = case.run("redis-benchmark", *login, "-t", "set,get", "--csv", *options).decode()
            case.check("Error" not in output and output.count("\n") == 3, f"redis-benchmark {options}: {output}")
    case.idle(server, "redis-server")
    case.stop(server)


def openssl(case, key, certificate):
    port, file = case.port(), case.suite.data(5_000_000)
    (case.folder / "file").write_bytes(file.read_bytes())
    server = case.server(
        "openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-key", key, "-cert", certificate, "-WWW", "-quiet", ready=port
    )
    with case.ring("curl", 1_000_000):
        for _ in range(3):
            got = case.run("curl", "-sS", "--cacert", certificate, f"https://localhost:{port}/file", "--resolve", f"localhost:{port}:127.0.0.1")
            case.same("a file by https", sha(got), sha(file))
    ask = b"GET /file HTTP/1.0\r\n\r\n"
    got = case.run(
        "openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", certificate, "-verify_return_error", "-quiet", stdin=ask
    )
    case.same("a file by s_client", sha(got.partition(b"\r\n\r\n")[2]), sha(file))
    case.stop(server, signal.SIGTERM, status=None)
