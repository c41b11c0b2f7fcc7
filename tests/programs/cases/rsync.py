"""rsync as a daemon: a tree pushed, changed, pushed again and pulled, alone and several at once"""

import os
import random

from harness.case import sha

NEEDS = ["rsync"]
PAIRS = {"server", "client"}  # sender, receiver and generator


def run(case):
    port, module = case.port(), case.path("module")
    module.mkdir()
    who = "uid = 0\ngid = 0\n" if os.getuid() == 0 else ""
    configuration = case.write(
        "rsyncd.conf",
        f"use chroot = no\nmunge symlinks = no\nlog file = {case.folder}/rsyncd.log\n{who}"
        f"[tree]\npath = {module}\nread only = no\n",
    )
    server = case.server(
        "rsync", "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={port}", f"--config={configuration}", ready=port
    )
    at = f"rsync://127.0.0.1:{port}/tree"
    tree = plant(case)
    case.record("modules", case.run("rsync", at.removesuffix("tree")))
    with case.ring("a tree pushed", 1_000_000):
        case.run("rsync", "-a", f"{tree}/", f"{at}/first/")
    case.same("the tree pushed", sums(module / "first"), sums(tree))

    change(tree)
    with case.ring("changes pushed", 10_000):
        stats = case.run("rsync", "-a", "--no-whole-file", "--delete", "--stats", f"{tree}/", f"{at}/first/").decode()
    case.record("changes pushed", [line for line in stats.splitlines() if line.startswith(("Number of", "Matched data"))])
    case.same("the changed tree", sums(module / "first"), sums(tree))

    with case.ring("trees pulled", 1_000_000):
        pulls = [case.start("rsync", "-a", f"{at}/first/", case.path(f"pulled-{n}")) for n in range(3)]
        for n, pull in enumerate(pulls):
            case.wait(pull)
            case.same(f"tree {n} pulled", sums(case.path(f"pulled-{n}")), sums(tree))
    case.run("rsync", "-a", f"{at}/absent", case.path("nothing"), status=23)
    case.idle(server, "rsync")
    case.stop(server, status=None)


def plant(case):
    tree, numbers = case.path("tree"), random.Random(1)
    for n in range(200):
        path = tree / f"folder-{n % 7}" / f"file-{n}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(numbers.randbytes(numbers.randint(0, 20_000)))
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (tree / "large").write_bytes(case.suite.data(20_000_000).read_bytes())
    os.utime(tree / "large", (1_000_000_000, 1_000_000_000))
    (tree / "link").symlink_to("large")
    return tree


def change(tree):
    (tree / "folder-0" / "file-0").unlink()
    (tree / "folder-1" / "file-1").write_bytes(b"other")
    with open(tree / "large", "r+b") as file:
        file.seek(3_000_000)
        file.write(b"changed" * 1000)


def sums(tree):
    return {str(path.relative_to(tree)): sha(path) for path in sorted(tree.rglob("*")) if path.is_file()}
