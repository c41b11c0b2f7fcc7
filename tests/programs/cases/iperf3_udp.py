"""iperf3 by UDP: at a rate, several streams, in reverse, the largest datagrams, and as fast as it goes"""

import json

NEEDS = ["iperf3"]
RUNS = {
    "at a rate": ["-b", "50M", "-l", 1400],
    "four streams": ["-b", "10M", "-l", 1000, "-P", 4],
    "in reverse": ["-b", "50M", "-l", 1400, "-R"],
    "large": ["-b", "100M", "-l", 65507],
    "as fast as it goes": ["-b", 0, "-l", 1400],
}


def run(case):
    port = case.port()
    server = case.server("iperf3", "-s", "-p", port, "-B", "127.0.0.1", ready=port)
    for name, options in RUNS.items():
        # As fast as it goes, the receiver's buffer overflows wherever the bytes go.
        with case.ring(name, 1_000_000):
            output = case.run("iperf3", "-u", "-c", "127.0.0.1", "-p", port, "-t", 1, "-J", *options, step=f"iperf3 -u {name}")
        report = json.loads(output)
        case.check("error" not in report, f"{name}: {report.get('error')}")
        total = report["end"]["sum"]
        case.record(f"{name}: streams", len(report["end"]["streams"]))
        case.check(total["packets"] > 100, f"{name}: {total}")
        case.check(total["lost_percent"] < (100 if options[1] == 0 else 5), f"{name}: {total}")
    case.idle(server, "iperf3")
    case.stop(server, status=None)
