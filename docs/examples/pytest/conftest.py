"""A private net for each test: hosts, any port, faults; gone when the test is over."""

import itertools
import os
import subprocess
import time

import pytest

LANDLINE = os.environ.get("LANDLINE_CMD", "landline")
NUMBER = itertools.count()


class Net:
    def __init__(self):
        # Nobody else has this name: tests in parallel never meet.
        self.name = f"pytest-{os.getpid()}-{next(NUMBER)}"
        self.programs = []

    def command(self, host, *command):
        return [LANDLINE, "run", "--net", self.name, "--host", host, "--", *map(str, command)]

    def start(self, host, *command):
        """Starts a program on a host of the net."""
        self.programs.append(subprocess.Popen(self.command(host, *command)))

    def run(self, host, *command):
        """Runs a program on a host to its end; returns what it printed."""
        return subprocess.run(self.command(host, *command), check=True, capture_output=True, text=True, timeout=30).stdout

    def wait_for(self, host, port):
        """Waits until somebody listens on a port of a host."""
        connect = f"import socket; socket.create_connection(('127.0.0.1', {port}))"
        for _ in range(500):
            if subprocess.run(self.command(host, "python3", "-c", connect), capture_output=True).returncode == 0:
                return
            time.sleep(0.01)
        raise TimeoutError(f"nobody listens on port {port} of {host}")

    def close(self):
        for program in self.programs:
            program.terminate()
        for program in self.programs:
            program.wait()
        subprocess.run([LANDLINE, "net", "rm", self.name], capture_output=True)


@pytest.fixture
def net():
    net = Net()
    yield net
    net.close()
