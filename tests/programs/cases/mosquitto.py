"""mosquitto: a broker with subscribers and publishers, small messages and large ones"""

from harness.case import sha

NEEDS = ["mosquitto", "mosquitto_pub", "mosquitto_sub"]
PAIRS = {"client"}  # the library wakes its own thread
MESSAGES = 3000


def run(case):
    port = case.port()
    configuration = case.write("mosquitto.conf", f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser {case.me}\n")
    broker = case.server("mosquitto", "-c", configuration, ready=port)
    at = ["-h", "127.0.0.1", "-p", port]

    def subscribe(topic, count, qos):
        before = broker.err.read_bytes().count(b"New client connected") + broker.out.read_bytes().count(b"New client connected")
        subscriber = case.start("mosquitto_sub", *at, "-t", topic, "-q", qos, "-C", count, "-N" if topic == "large" else "-v", "-R")
        case.until("somebody subscribes", lambda: broker.log().count(b"New client connected") > before)
        # What is retained comes once the subscription stands; here the broker has answered a round trip after it.
        case.run("mosquitto_pub", *at, "-t", "other", "-m", "x")
        return subscriber

    lines = b"".join(b"message %d %s\n" % (n, b"x" * (n % 300)) for n in range(MESSAGES))
    for qos in (0, 1):
        with case.ring(f"messages, qos {qos}", 100_000):
            subscribers = [subscribe("small/#", MESSAGES, qos) for _ in range(3)]
            case.run("mosquitto_pub", *at, "-t", "small/one", "-q", qos, "-l", stdin=lines)
            case.record(f"messages, qos {qos}", [sha(case.wait(subscriber)) for subscriber in subscribers])
    large = case.suite.data(5_000_000)
    with case.ring("a large message", 5_000_000):
        subscriber = subscribe("large", 1, 1)
        case.run("mosquitto_pub", *at, "-t", "large", "-q", 1, "-f", large)
        case.same("a large message", sha(case.wait(subscriber)), sha(large))
    case.idle(broker, "mosquitto")
    case.stop(broker)
