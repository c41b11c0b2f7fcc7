"""nginx shares the requests among three http.server hosts, all on port 80, found by name"""

NEEDS = ["nginx", "curl", "ab"]
BACKENDS = ["alpha", "beta", "gamma"]


def run(case):
    for name in BACKENDS:
        folder = case.folder / name
        folder.mkdir()
        (folder / "who").write_text(name)
        case.start(name, "/usr/bin/python3", "-m", "http.server", 80, cwd=folder)
        case.listens(name, 80)
    case.capture()
    (case.folder / "nginx.conf").write_text(
        "daemon off; user root; worker_processes 2; error_log stderr; pid nginx.pid;\n"
        "events { worker_connections 256; }\n"
        "http { access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;\n"
        f"upstream all {{ {' '.join(f'server {name};' for name in BACKENDS)} }}\n"
        "server { listen 80; location / { proxy_pass http://all; } } }\n"
    )
    case.start("front", "nginx", "-p", case.folder, "-c", "nginx.conf")
    case.listens("front", 80)
    seen = [case.run("client", "curl", "-sS", "http://front/who") for _ in range(12)]
    case.same("each has its share", {name: seen.count(name) for name in BACKENDS}, dict.fromkeys(BACKENDS, 4))
    report = case.run("client", "ab", "-q", "-l", "-n", 2000, "-c", 20, "http://front/who")
    case.check("Failed requests:        0" in report and "Complete requests:      2000" in report, report)
