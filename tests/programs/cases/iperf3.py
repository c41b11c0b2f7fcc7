"""iperf3: one stream, four, in reverse, and both ways at once"""

import json

NEEDS = ["iperf3"]


def run(case):
    port = case.port()
    server = case.server("iperf3", "-s", "-p", port, "-B", "127.0.0.1", ready=port)
    for options in ([], ["-P", 4], ["-R"], ["--bidir"]):
        name = " ".join(str(word) for word in options) or "one stream"
        with case.ring(name, 10_000_000):
            output = case.run("iperf3", "-c", "127.0.0.1", "-p", port, "-t", 1, "-J", *options, step=f"iperf3 {name}")
        check(case, name, json.loads(output))
    case.idle(server, "iperf3")
    case.stop(server, status=None)


def check(case, name, report):
    case.check("error" not in report, f"{name}: {report.get('error')}")
    case.record(f"{name}: streams", len(report["end"]["streams"]))
    directions = [""] + (["_bidir_reverse"] if "sum_sent_bidir_reverse" in report["end"] else [])
    case.record(f"{name}: directions", len(directions))
    for direction in directions:
        sent = report["end"][f"sum_sent{direction}"]["bytes"]
        received = report["end"][f"sum_received{direction}"]["bytes"]
        case.check(
            0 < received <= sent and received >= 0.9 * sent - 20_000_000,
            f"{name}{direction}: {sent} bytes sent, {received} received",
        )
