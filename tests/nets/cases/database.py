"""postgres on one host, psql and pgbench on another"""

import glob
import os
import pwd
import shutil

from harness import Skip

ADDRESS = "10.1.0.1"


def run(case):
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not folders:
        raise Skip("not installed: postgresql")
    bin = folders[-1]
    as_user = []
    if os.geteuid() == 0:
        # It does not run as root. An arena is one user's: everybody is that one.
        user = next((name for name in ("postgres", "nobody") if name in (p.pw_name for p in pwd.getpwall())), None)
        if not user or not shutil.which("setpriv"):
            raise Skip("postgres does not run as root, and there is no other user or no setpriv")
        account = pwd.getpwnam(user)
        for path in (case.folder, case.shm):
            os.chown(path, account.pw_uid, account.pw_gid)
        for path in (case.folder.parent, case.shm.parent):
            path.chmod(0o711)
        as_user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]

    def run(host, *command, **options):
        return case.execute([*as_user, *case.on(host, *command)], options.get("status", 0), 60, None, {"HOME": str(case.folder)})

    data = case.folder / "data"
    run(f"db={ADDRESS}", f"{bin}/initdb", "-D", data, "-A", "trust", "-U", "me", "--no-sync")
    with open(data / "pg_hba.conf", "a") as file:
        file.write("host all all 0.0.0.0/0 trust\n")
    options = ["-c", "listen_addresses=*", "-c", f"unix_socket_directories={case.folder}", "-c", "fsync=off"]
    case.spawn([*as_user, *case.on(f"db={ADDRESS}", f"{bin}/postgres", "-D", data, *options)], "postgres")
    case.capture(as_user)
    case.until("it is ready", lambda: "accepting" in run("client", f"{bin}/pg_isready", "-h", ADDRESS, status=None))
    psql = [f"{bin}/psql", "-h", ADDRESS, "-U", "me", "-d", "postgres", "-Atc"]
    asks = "select inet_server_addr(), inet_server_port(), inet_client_addr() <> inet_server_addr()"
    case.same("who asks whom", run("client", *psql, asks).strip(), f"{ADDRESS}|5432|t")
    run("client", f"{bin}/pgbench", "-h", ADDRESS, "-U", "me", "-i", "-s", 1, "-q", "postgres")
    report = run("client", f"{bin}/pgbench", "-h", ADDRESS, "-U", "me", "-c", 4, "-j", 2, "-t", 200, "postgres")
    case.check("number of failed transactions: 0 (0.000%)" in report and "800/800" in report, report)
    case.same("what is left", run("client", *psql, "select count(*) from pgbench_history").strip(), "800")
