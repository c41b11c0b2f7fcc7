"""postgres by its UNIX socket: the same as by TCP"""

from . import postgres

NEEDS = postgres.NEEDS
PAIRS = {"server"}


def run(case):
    postgres.exercise(case, "unix")
