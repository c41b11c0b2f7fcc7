"""dbus_service.py ADDRESS: a service on the bus that answers, signals, and takes and hands out descriptors."""

import hashlib
import os
import socket
import sys

import dbus
import dbus.bus
import dbus.mainloop.glib
import dbus.service
from gi.repository import GLib

NAME = "test.Service"


class Service(dbus.service.Object):
    @dbus.service.method(NAME, in_signature="ay", out_signature="ay")
    def Echo(self, data):
        return data

    @dbus.service.method(NAME, in_signature="h", out_signature="s")
    def Sum(self, descriptor):
        with os.fdopen(descriptor.take(), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    @dbus.service.method(NAME, in_signature="", out_signature="h")
    def Pair(self):
        ours, theirs = socket.socketpair()
        GLib.io_add_watch(ours, GLib.IO_IN, self.answer)
        with theirs:
            return dbus.types.UnixFd(theirs)

    @staticmethod
    def answer(ours, _):
        data = ours.recv(65536)
        ours.sendall(data.swapcase())
        return bool(data)

    @dbus.service.signal(NAME, signature="u")
    def Counted(self, number):
        pass

    @dbus.service.method(NAME, in_signature="u", out_signature="")
    def Count(self, count):
        for number in range(count):
            self.Counted(number)

    @dbus.service.method(NAME)
    def Leave(self):
        GLib.idle_add(loop.quit)


dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.bus.BusConnection(sys.argv[1])
name = dbus.service.BusName(NAME, bus)
service = Service(bus, "/test")
loop = GLib.MainLoop()
loop.run()
