"""mosh by UDP, with the type of service beside each datagram: a shell that is typed to, and prints much, until it leaves"""

import re

from harness import processes

NEEDS = ["mosh-server", "mosh-client", "script"]


def run(case):
    port = case.port()
    typed = case.path("typed")
    shell = case.write("shell", SHELL.format(typed=typed))
    server = case.start(
        "mosh-server", "new", "-v", "-i", "127.0.0.1", "-p", port, "--", "sh", shell, role="server", step="mosh-server"
    )
    case.wait(server)  # what serves is its child
    key = re.search(rb"MOSH CONNECT \d+ (\S+)", server.log())[1].decode()
    case.until("the server is there", lambda: processes.bound_udp(port))
    # What is typed comes in pieces, the last when the first was answered; a terminal is what mosh asks for.
    talk = 'for n in 1 2 3 4 5; do echo "line $n"; sleep 0.1; done; echo end; exec sleep 1.5'
    with case.ring("a session", 1000):
        client = case.start(
            "sh", "-c", f'({talk}) | TERM=xterm MOSH_KEY={key} script -qec "stty rows 24 cols 80; exec mosh-client 127.0.0.1 {port}" /dev/null', seconds=30
        )
        case.until("what was typed arrives", lambda: typed.exists() and b"end\n" in typed.read_bytes())
        case.wait(client, seconds=30)
    case.record("typed", typed.read_bytes())
    # Only what changed is drawn: a word where there was nothing is drawn as a whole.
    case.check(b"the-very-end" in client.log(), f"the screen: {client.log()[-2000:]}")
    case.until("the server has left", lambda: not processes.bound_udp(port))


SHELL = """
while read line; do
    echo "$line" >> {typed}.new
    [ "$line" = end ] && break
done
mv {typed}.new {typed}
seq -f 'printed %.0f' 2000
printf '\\033[12;40Hthe-very-end'
sleep 0.5
"""
