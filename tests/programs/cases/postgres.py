"""postgres by TCP: psql with large results, COPY and a cancelled query, and pgbench"""

import re
import shutil
import signal
import time
from pathlib import Path

NEEDS = ["/usr/lib/postgresql/*/bin/postgres", "/usr/lib/postgresql/*/bin/pgbench"]

SETTINGS = """
listen_addresses = '{addresses}'
unix_socket_directories = '{folders}'
fsync = off
shared_buffers = 16MB
max_connections = 40
autovacuum = off
dynamic_shared_memory_type = mmap
"""


def run(case):
    exercise(case, "tcp")


def exercise(case, family):
    case.run_as("postgres")
    tools = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0))
    port, data = case.port(), case.path("data")
    case.run(
        tools / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--no-instructions",
        role="witness", seconds=60,
    )
    with open(data / "postgresql.conf", "a") as configuration:
        places = {"addresses": "127.0.0.1", "folders": ""} if family == "tcp" else {"addresses": "", "folders": case.folder}
        configuration.write(SETTINGS.format(**places))
    where = {"tcp": ("127.0.0.1", port), "unix": (case.folder, case.path(f".s.PGSQL.{port}"))}
    host, ready = where[family]
    server = case.server(tools / "postgres", "-D", data, "-p", port, ready=ready)
    login = ["-h", host, "-p", port, "-U", "postgres"]

    def sql(text, **options):
        words = [tools / "psql", *login, "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres"]
        return case.run(*words, stdin=text.encode(), **options)

    case.until("the server answers", lambda: sql("select 1", status=None) == b"1\n")
    with case.ring("large results and COPY", 1_000_000):
        case.record("psql", re.sub(rb"PID \d+", b"PID n", sql(SCRIPT)))
        rows = sql("copy (select n, md5(n::text) from generate_series(1, 50000) n) to stdout")
        case.record("copy out", rows)
        sql("create table back (n int, sum text);\ncopy back from stdin;\n" + rows.decode() + "\\.\n")
        case.record("copy in", sql("select count(*), md5(string_agg(sum, '' order by n)) from back"))
    case.record("an error", case.run(tools / "psql", *login, "-c", "select 1/0", "postgres", status=1))
    cancel(case, tools, login)

    pgbench = [tools / "pgbench", *login]
    with case.ring("pgbench", 500_000):
        case.run(*pgbench, "-i", "-q", "-s", 1, "postgres", seconds=60)
        for options in (["-S", "-c", 4, "-j", 2, "-t", 1000], ["-c", 4, "-t", 100], ["-S", "-C", "-c", 2, "-t", 25]):
            output = case.run(*pgbench, "-n", *options, "postgres", seconds=60).decode()
            name = " ".join(str(word) for word in options)
            case.record(f"pgbench {name}", re.findall(r"transactions actually processed: (\S+)", output))
            case.check("failed transactions: 0 " in output, f"pgbench {name}: {output}")
    case.record("balance", sql("select (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches)"))
    case.idle(server, "postgres")
    case.stop(server, signal.SIGINT)
    shutil.rmtree(data)


def cancel(case, tools, login):
    """Control-C in psql: the request to cancel goes by a connection of its own."""
    psql = case.start(tools / "psql", *login, "-c", "select 'cancel me', pg_sleep(30)", "postgres")
    active = "select count(*) from pg_stat_activity where state = 'active' and query like 'select ''cancel me%'"
    ask = [tools / "psql", *login, "-A", "-t", "-c", active, "postgres"]
    case.until("the query runs", lambda: case.run(*ask) == b"1\n")
    started = time.monotonic()
    psql.popen.send_signal(signal.SIGINT)
    case.wait(psql, seconds=10, status=1)
    case.check(time.monotonic() - started < 5, "a cancelled query goes on")
    case.record("a cancelled query", psql.log())


SCRIPT = """
create table t as select n, repeat(md5(n::text), 10) as text from generate_series(1, 20000) n;
select * from t order by n;
select md5(string_agg(text, ',' order by n)) from t;
select length(repeat('x', 5000000)), repeat('y', 3000000);
begin; update t set text = 'changed' where n % 100 = 0; select count(*) from t where text = 'changed'; rollback;
select count(*) from t where text = 'changed';
listen news; notify news, 'hello'; select 'after';
"""
