"""two copies of one pytest suite at once, again and again, the cargo example too: they never disturb one another"""

import os
import shutil
import subprocess
from pathlib import Path

from harness import Failure, Skip

EXAMPLES = Path(__file__).resolve().parents[3] / "docs/examples"
TIMES = int(os.environ.get("NETS_SUITES", "3"))
PYTHON = "/usr/bin/python3"


def run(case):
    if subprocess.run([PYTHON, "-m", "pytest", "--version"], capture_output=True).returncode != 0:
        raise Skip("not installed: python3-pytest")
    env = case.environment | {"LANDLINE_CMD": case.command, "PYTHONDONTWRITEBYTECODE": "1"}
    del env["LANDLINE_DIR"]  # all copies in one folder, as on a machine
    before = set(os.listdir("/dev/shm"))
    suite = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / "pytest")]
    for round in range(TIMES):
        copies = [
            subprocess.Popen(suite, env=env, cwd=case.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(2)
        ]
        for copy in copies:
            output = copy.communicate(timeout=120)[0].decode(errors="replace")
            if copy.returncode != 0 or "3 passed" not in output:
                raise Failure(f"round {round}: status {copy.returncode}\n{output[-3000:]}")
    left = {name for name in set(os.listdir("/dev/shm")) - before if "@pytest-" in name}
    case.same("nets left", left, set())
    if not shutil.which("cargo"):
        raise Skip("not installed: cargo (pytest passed)")
    env |= {"PATH": f"{Path(case.command).parent}:{env['PATH']}", "CARGO_TARGET_DIR": str(case.folder / "target"), "CARGO_NET_OFFLINE": "true"}
    case.execute(["cargo", "test", "-q", "--manifest-path", EXAMPLES / "cargo-test/Cargo.toml", "--config", EXAMPLES / "cargo-test/.cargo/config.toml"], 0, 120, None, env)
