"""bash: redirections to /dev/tcp, against servers that socat and netcat start"""

from harness.case import sha

NEEDS = ["bash", "socat", "nc"]


def run(case):
    port, given = case.port(), case.suite.data(1_000_003)
    # A server that is a shell too, with the connection as its standard input and output.
    server = case.server(
        "socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr", f"EXEC:bash {case.write('serve.sh', SERVE)},nofork",
        ready=port,
    )
    talk = case.write("talk.sh", TALK)
    with case.ring("lines and a file", 10_000):
        case.record("lines and a file", case.run("bash", talk, port, given))
    clients = [case.start("bash", talk, port, given) for _ in range(4)]
    case.record("four at a time", [case.wait(client) for client in clients])
    case.idle(server, "socat")
    case.stop(server, status=None)

    port = case.port()
    server = case.server("nc", "-d", "-l", "127.0.0.1", port, ready=port)
    case.run("bash", "-c", 'cat "$1" > "/dev/tcp/127.0.0.1/$0"', port, given)
    case.same("a file by > /dev/tcp", sha(case.wait(server)), sha(given))


# `read` takes byte by byte what is no file, and leaves the rest of the input to the commands that follow.
SERVE = """
while read -r word rest; do
    case $word in
    sum) head -c "$rest" | sha256sum ;;
    end) exit ;;
    count) seq "$rest" ;;
    *) printf '%s\\n' "$word $rest" ;;
    esac
done
"""

TALK = """
exec 3<> "/dev/tcp/127.0.0.1/$1"
for n in {1..50}; do
    echo "hello $n" >&3
    IFS= read -r -t 15 answer <&3 || exit 1
    echo "$answer"
done
echo "count 1000" >&3
for n in {1..1000}; do read -r -u 3 answer; done
echo "$answer"
echo "sum $(stat -c %s "$2")" >&3
cat "$2" >&3
echo "end" >&3
cat <&3
"""
