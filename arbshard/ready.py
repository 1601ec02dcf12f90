"""Lets a process wait, with everything imported, until its supervisor says what it is to be.

The supervisor writes one line of numbers to its stdin; when it closes that instead, or dies, the process ends.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

from arbshard.errors import ProtocolError

STDIN, _STDOUT = 0, 1
_LINE_MAX = 64
_BEAT_S = 0.25


def numbers_in(line: bytes, *names: str) -> tuple[int, ...]:
    """Read the supervisor's line. Raises ``ProtocolError`` unless it has one number for each of ``names``."""
    words = line.split()
    if len(words) != len(names) or not all(word.isdigit() for word in words):
        raise ProtocolError(f"{line!r} is not {' and '.join(names)}")
    return tuple(map(int, words))


async def wait_for_numbers(is_orphan: Callable[[], bool], *names: str) -> tuple[int, ...] | None:
    """Report that the process is ready, and wait for the supervisor's line; None when the supervisor is gone.

    Raises ``ProtocolError`` for an invalid line.
    """
    loop = asyncio.get_running_loop()
    line: asyncio.Future[bytes] = loop.create_future()
    received = bytearray()

    def read() -> None:
        some = os.read(STDIN, _LINE_MAX)
        received.extend(some)
        if (not some or received.endswith(b"\n") or len(received) > _LINE_MAX) and not line.done():
            line.set_result(bytes(received))

    loop.add_reader(STDIN, read)
    with suppress(
        BrokenPipeError
    ):  # the line is written already, or the supervisor is gone and the input ends
        os.write(_STDOUT, b"+")
    try:
        while not line.done():
            await asyncio.wait((line,), timeout=_BEAT_S)
            if is_orphan() and not line.done():
                return None
    finally:
        loop.remove_reader(STDIN)
    text = line.result()
    if not text:
        return None
    numbers = numbers_in(text, *names)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (STDIN, _STDOUT):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    return numbers
