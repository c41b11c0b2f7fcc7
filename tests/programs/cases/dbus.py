"""dbus-daemon with dbus-send, and a service and a client that pass descriptors to each other"""

NEEDS = ["dbus-daemon", "dbus-send", "/usr/lib/python3/dist-packages/dbus", "/usr/lib/python3/dist-packages/gi"]
PAIRS = {"client"}  # the socket that the service hands out


def run(case):
    path, file = case.path("bus.sock"), case.suite.data(1_000_003)
    configuration = case.write("bus.conf", CONFIGURATION.format(path=path))
    server = case.server("dbus-daemon", "--nofork", f"--config-file={configuration}", ready=path)
    address = f"unix:path={path}"

    def send(*words, **options):
        return case.run("dbus-send", f"--bus={address}", "--print-reply=literal", *words, **options)

    bus = ["--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"]
    case.record("who is there", b"org.freedesktop.DBus" in send(*bus, "org.freedesktop.DBus.ListNames"))
    case.record("an id", len(send(*bus, "org.freedesktop.DBus.GetId").strip()))
    case.record("nobody", send("--dest=test.Nobody", "/", "test.Nobody.Ask", status=1))
    service = case.start(*case.helper("dbus_service.py"), address)
    owner = [*bus, "org.freedesktop.DBus.NameHasOwner", "string:test.Service"]
    case.until("the service is there", lambda: b"true" in send(*owner))
    with case.ring("the client", 1_000_000):
        case.record("client", case.run(*case.helper("dbus_client.py"), address, file))
    case.wait(service)
    case.record("who it is", send(*bus, "org.freedesktop.DBus.GetConnectionUnixUser", "string:org.freedesktop.DBus"))
    case.idle(server, "dbus-daemon")
    case.stop(server, status=None)


CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
