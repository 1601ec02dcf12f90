"""Chooses ports for servers that tests start, end and start again."""

import random
import socket

_FIRST, _END = 10_000, 32_000
"""Below the ports that the system gives to connections (32768 and above). A server that is started again would
sometimes find its port taken by one of these, above all by one of its own peers that tries to connect to it.
"""
_random = random.SystemRandom()
_given: set[int] = set()


def free_ports(count: int = 1) -> int:
    """Return the first of ``count`` ports in a row that are free and were not returned before."""
    for _ in range(1000):
        first = _random.randrange(_FIRST, _END - count)
        ports = range(first, first + count)
        if _given.isdisjoint(ports) and all(_is_free(port) for port in ports):
            _given.update(ports)
            return first
    raise AssertionError("no ports are free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
