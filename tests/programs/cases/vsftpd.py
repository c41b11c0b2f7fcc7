"""vsftpd with curl and lftp: files both ways, with passive and active data connections"""

from harness.case import sha

NEEDS = ["vsftpd", "curl", "lftp"]
SIZES = [0, 1, 65536, 1_000_003, 20_000_000]


def run(case):
    port, site = case.port(), case.path("site")
    (site / "in").mkdir(parents=True)
    for size in SIZES:
        (site / str(size)).write_bytes(case.suite.data(size).read_bytes())
    configuration = case.write("vsftpd.conf", CONFIGURATION.format(port=port, site=site, folder=case.folder, me=case.me))
    server = case.server("vsftpd", configuration, ready=port)
    at = f"ftp://127.0.0.1:{port}"
    for what, how in (("passive", ["--ftp-pasv"]), ("active", ["--ftp-port", "127.0.0.1"])):
        with case.ring(f"{what} transfers", 1_000_000):
            for size in SIZES:
                got = case.run("curl", "-sS", *how, f"{at}/{size}", seconds=10)
                case.same(f"{what}: {size} bytes", sha(got), sha(case.suite.data(size)))
            put = case.suite.data(20_000_000)
            case.run("curl", "-sS", *how, "-T", put, f"{at}/in/{what}")
            case.same(f"{what}: a file sent", sha(site / "in" / what), sha(put))
    case.record("a listing", case.run("curl", "-sS", "-l", f"{at}/"))
    case.record("absent", case.run("curl", "-sS", f"{at}/absent", status=78))
    case.run(
        "lftp", "-c", f"set net:max-retries 1; set ftp:ssl-allow no; open {at}; mirror -x in/ --parallel=3 {site} {case.path('mirror')}; "
        f"put -O {site}/in {case.suite.data(65536)}", seconds=20,
    )
    sums = {path.name: sha(path) for path in case.path("mirror").iterdir() if path.is_file()}
    case.same("another file sent", sha(site / "in" / "65536.bin"), sha(case.suite.data(65536)))
    case.same("the mirror", sums, {str(size): sha(case.suite.data(size)) for size in SIZES})
    case.idle(server, "vsftpd")
    case.stop(server, status=None)


CONFIGURATION = """
listen=YES
listen_address=127.0.0.1
listen_port={port}
background=NO
run_as_launching_user=YES
seccomp_sandbox=NO
anonymous_enable=YES
no_anon_password=YES
ftp_username={me}
anon_root={site}
write_enable=YES
anon_upload_enable=YES
anon_umask=022
port_enable=YES
connect_from_port_20=NO
xferlog_enable=NO
secure_chroot_dir={folder}
"""
