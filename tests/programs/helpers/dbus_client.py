"""dbus_client.py ADDRESS FILE: asks everything of dbus_service.py and prints the answers."""

import hashlib
import os
import random
import socket
import sys

import dbus
import dbus.bus
import dbus.mainloop.glib
from gi.repository import GLib

dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.bus.BusConnection(sys.argv[1])
service = dbus.Interface(bus.get_object("test.Service", "/test"), "test.Service")
for size in (0, 1, 1000, 500_000):
    data = random.Random(size).randbytes(size)
    assert bytes(service.Echo(dbus.ByteArray(data), byte_arrays=True)) == data, f"{size} bytes came back changed"
for n in range(300):
    assert bytes(service.Echo(dbus.ByteArray(b"%d" % n), byte_arrays=True)) == b"%d" % n

with open(sys.argv[2], "rb") as file:
    theirs = service.Sum(dbus.types.UnixFd(file))
    file.seek(0)  # the place in the file is common to both
    print("a file passed:", theirs == hashlib.sha256(file.read()).hexdigest())
reading, writing = os.pipe()
os.write(writing, b"through a pipe")
os.close(writing)
print("a pipe passed:", service.Sum(dbus.types.UnixFd(reading)))

with socket.socket(fileno=service.Pair().take()) as pair:
    answers = []
    for n in range(100):
        pair.sendall(b"message %d" % n)
        answers.append(pair.recv(100))
    print("a socket handed out:", pair.family.name, hashlib.sha256(b"".join(answers)).hexdigest(), answers[-1])

numbers, loop = [], GLib.MainLoop()


def counted(number):
    numbers.append(int(number))
    if len(numbers) == 500:
        loop.quit()


service.connect_to_signal("Counted", counted)
GLib.timeout_add_seconds(15, loop.quit)
service.Count(500)
loop.run()
print("signals:", numbers == list(range(500)))
service.Leave()
