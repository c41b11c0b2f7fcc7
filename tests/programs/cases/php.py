"""php -S: the server for development, with two workers, and a client by PHP's streams"""

from harness import http
from harness.case import sha

NEEDS = ["php", "curl", "ab"]
SIZES = [0, 1, 65536, 5_000_000]


def run(case):
    port = case.port()
    site = case.path("site")
    site.mkdir()
    for size in SIZES:
        (site / f"{size}.bin").write_bytes(case.suite.data(size).read_bytes())
    (site / "hello.php").write_text('<?php echo "hello ", $_GET["n"] ?? "nobody", " ", strlen(file_get_contents("php://input"));')
    client = case.write("client.php", CLIENT)
    server = case.server(
        "env", "PHP_CLI_SERVER_WORKERS=2", "php", "-q", "-S", f"127.0.0.1:{port}", "-t", site, ready=port
    )
    at = f"http://127.0.0.1:{port}"
    with case.ring("files", 1_000_000):
        for size in SIZES:
            got = case.run("curl", "-sS", "--fail", f"{at}/{size}.bin")
            case.same(f"{size} bytes", sha(got), sha(case.suite.data(size)))
    with case.ring("php to php", 1_000_000):
        case.record("php to php", case.run("php", client, at))
    http.ab(case, f"{at}/hello.php?n=ab", 300, 5)
    case.idle(server, "php")
    case.stop(server, status=None)


CLIENT = """<?php
$at = $argv[1];
for ($n = 0; $n < 20; $n++) {
    $context = stream_context_create(["http" => ["method" => "POST", "content" => str_repeat("x", $n * 10000), "timeout" => 15]]);
    echo file_get_contents("$at/hello.php?n=$n", false, $context), "\\n";
}
$stream = fopen("$at/5000000.bin", "r");
$sum = hash_init("sha256");
while (!feof($stream)) hash_update($sum, fread($stream, 8192));
echo hash_final($sum), "\\n";
"""
