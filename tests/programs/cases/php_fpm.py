"""php-fpm on a UNIX socket, behind nginx"""

import os
from pathlib import Path

from harness import http
from harness.case import sha

NEEDS = ["/usr/sbin/php-fpm*", "nginx", "curl", "ab"]
PAIRS = {"client"}  # nginx, which is asked by curl; both speak to php-fpm's end


def run(case):
    port, path, site = case.port(), case.path("php.sock"), case.path("site")
    site.mkdir()
    (site / "hello.php").write_text(PAGE)
    me = f"user = {case.me}\ngroup = {case.me}\n" if os.getuid() == 0 else ""
    configuration = case.write("fpm.conf", CONFIGURATION.format(folder=case.folder, path=path, me=me))
    program = max(Path("/usr/sbin").glob("php-fpm*"))
    root = ["-R"] if os.getuid() == 0 else []
    server = case.server(program, "-F", *root, "-y", configuration, ready=path)
    parameters = "\n".join(f"fastcgi_param {name} {value};" for name, value in {
        "SCRIPT_FILENAME": f"{site}/hello.php", "REQUEST_METHOD": "$request_method", "QUERY_STRING": "$query_string",
        "CONTENT_TYPE": "$content_type", "CONTENT_LENGTH": "$content_length",
    }.items())
    front = case.start("nginx", "-c", http.nginx_configuration(
        case, 1, f"client_max_body_size 20m; server {{ listen 127.0.0.1:{port}; location / {{ fastcgi_pass unix:{path};\n{parameters} }} }}"
    ), ready=port)
    at = f"http://127.0.0.1:{port}"
    with case.ring("answers and uploads", 1_000_000):
        for size in (0, 1, 65536, 5_000_000):
            case.record(f"{size} bytes from php", sha(case.run("curl", "-sS", "--fail", f"{at}/?bytes={size}")))
            given = case.suite.data(size)
            case.record(f"{size} bytes to php", case.run("curl", "-sS", "--fail", "-H", "Expect:", "--data-binary", f"@{given}", f"{at}/"))
        http.ab(case, f"{at}/?bytes=1000", 500, 8)
    case.idle(server, "php-fpm")
    case.stop(front, status=None)
    case.stop(server, status=None)


PAGE = """<?php
header("Content-Type: application/octet-stream");
if ($_SERVER["REQUEST_METHOD"] == "POST") echo md5(file_get_contents("php://input")), "\\n";
else for ($n = (int) $_GET["bytes"]; $n > 0; $n -= 8192) echo str_repeat("y", min($n, 8192));
"""

CONFIGURATION = """
[global]
error_log = {folder}/fpm.log
[www]
{me}
listen = {path}
pm = static
pm.max_children = 3
request_terminate_timeout = 20
"""
