"""ssh-agent with ssh-add and ssh-keygen, gpg-agent with gpg: keys, signatures, what was encrypted"""

import shutil

NEEDS = ["ssh-agent", "ssh-add", "ssh-keygen", "gpg", "gpg-agent", "gpg-connect-agent"]
RING = False  # an agent answers one question at a time, on connections that are over before the ring is worth while


def run(case):
    ssh(case)
    gpg(case)


def ssh(case):
    # The installed one belongs to a group of its own, for which the loader drops what is preloaded.
    program, path, key = case.path("ssh-agent"), case.path("agent.sock"), case.path("key")
    shutil.copyfile(case.tool("ssh-agent"), program)
    program.chmod(0o755)
    agent = case.server(program, "-D", "-a", path, ready=path)
    case.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", key, role="witness")
    client = ["env", f"SSH_AUTH_SOCK={path}"]
    case.record("no keys", case.run(*client, "ssh-add", "-l", status=1))
    with case.ring("ssh-agent", 0):  # a question and an answer, over before both ends are there
        case.run(*client, "ssh-add", "-q", key)
        key.unlink()
        public = case.path("key.pub").read_bytes()
        case.same("the key", case.run(*client, "ssh-add", "-L"), public)
        message = case.suite.data(65536)
        signature = case.run(*client, "ssh-keygen", "-q", "-Y", "sign", "-n", "test", "-f", case.path("key.pub"), stdin=message)
    allowed, signed = case.write("allowed", b"me " + public), case.write("signed", signature)
    case.record("signature", case.run(
        "ssh-keygen", "-Y", "check-novalidate", "-n", "test", "-f", allowed, "-s", signed, stdin=message, role="witness"
    ).split()[:2])
    clients = [case.start(*client, "ssh-add", "-L") for _ in range(10)]
    case.same("ten at a time", {case.wait(client) for client in clients}, {public})
    case.run(*client, "ssh-add", "-q", "-D")
    case.record("no keys any more", case.run(*client, "ssh-add", "-l", status=1))
    case.idle(agent, "ssh-agent")
    case.stop(agent, status=None)


def gpg(case):
    home = case.path("g")
    home.mkdir(0o700)
    case.run("gpg-agent", "--homedir", home, "--daemon", role="server")  # what serves is its child
    socket = home / "S.gpg-agent"
    case.until("gpg-agent is there", socket.exists)
    gpg = ["gpg", "--homedir", home, "--batch", "--no-autostart", "--quiet", "--trust-model", "always"]
    message = case.suite.data(1_000_003)
    with case.ring("gpg-agent", 1000):
        case.run(
            *gpg, "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", "me@test", "future-default",
            "default", "never",
        )
        signed, secret = case.path("signed.gpg"), case.path("secret.gpg")
        case.run(*gpg, "--output", signed, "--sign", message)
        case.same("what was signed", case.run(*gpg, "--decrypt", signed), message.read_bytes())
        case.run(*gpg, "--output", secret, "--recipient", "me@test", "--encrypt", message)
        case.same("what was encrypted", case.run(*gpg, "--decrypt", secret), message.read_bytes())
    case.record("keys", case.run(*gpg, "--list-secret-keys", "--with-colons").count(b"sec:"))
    ask = ["gpg-connect-agent", "--homedir", home, "--no-autostart"]
    case.record("a version", len(case.run(*ask, "GETINFO version", "/bye").split()))
    case.run(*ask, "KILLAGENT", "/bye")
    case.until("gpg-agent has left", lambda: not socket.exists())
