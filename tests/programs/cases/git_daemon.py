"""git daemon: clones, a fetch and a push by git://"""

from harness.case import sha

NEEDS = ["git"]
SETTINGS = [
    word for setting in ("user.name=A", "user.email=a@b", "init.defaultBranch=main", "protocol.version=2", "gc.auto=0",
                         "maintenance.auto=false", "core.fsync=none", "safe.directory=*")
    for word in ("-c", setting)
]


def run(case):
    port, shared, work = case.port(), case.path("shared"), case.path("work")
    git = ["git", *SETTINGS]
    case.run(*git, "init", "-q", work, role="witness")
    for n in range(100):
        (work / f"file-{n}").write_bytes(case.suite.data(1_000_003).read_bytes()[n * 5000 : (n + 3) * 5000])
    (work / "large").write_bytes(case.suite.data(5_000_000).read_bytes())
    commit(case, git, work, "first")
    case.run(*git, "clone", "-q", "--bare", work, shared / "one.git", role="witness")
    server = case.server(
        "git", *SETTINGS, "daemon", f"--base-path={shared}", "--export-all", "--enable=receive-pack", "--reuseaddr",
        "--listen=127.0.0.1", f"--port={port}", ready=port,
    )
    at = f"git://127.0.0.1:{port}/one.git"
    with case.ring("clones", 1_000_000):
        clones = [case.start(*git, "clone", "-q", at, case.path(f"clone-{n}")) for n in range(3)]
        for n, clone in enumerate(clones):
            case.wait(clone)
            case.same(f"clone {n}", sums(case.path(f"clone-{n}")), sums(work))
    (work / "more").write_bytes(case.suite.data(1_000_003).read_bytes())
    commit(case, git, work, "second")
    with case.ring("a push and a fetch", 10_000):
        case.run(*git, "-C", work, "push", "-q", at, "main")
        case.run(*git, "-C", case.path("clone-0"), "pull", "-q", "--ff-only")
    case.same("what was pulled", sums(case.path("clone-0")), sums(work))
    case.record("references", len(case.run("git", "ls-remote", at).splitlines()))
    case.run(*git, "ls-remote", at.replace("one", "absent"), status=128)
    case.idle(server, "git daemon")
    case.stop(server, status=None)


def commit(case, git, work, message):
    case.run(*git, "-C", work, "add", ".", role="witness")
    case.run(*git, "-C", work, "commit", "-q", "-m", message, role="witness")


def sums(folder):
    return {path.name: sha(path) for path in folder.iterdir() if path.is_file()}
