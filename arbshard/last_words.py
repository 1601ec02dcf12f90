"""Writes the last message of a process on stderr, whatever its end. The ``main`` of each process uses it.

The reader of the pipe may be dead, the terminal closed, the disk full. None of it may change how a process ends.
"""

import os
import sys
from typing import TypeVar

Code = TypeVar("Code", bound=int)


def write_stderr_line(line: str) -> None:
    """Write one line to stderr, where the supervisor (or a person) reads it. Raises nothing."""
    problem: Exception | None = None
    try:
        print(line, file=sys.stderr)
    except (OSError, ValueError) as error:  # a stream that is closed is a ``ValueError``
        problem = error
    settle_streams()
    if problem is not None:
        _warn("stderr cannot be written", error=str(problem), line=line)


def end_with(code: Code, last_words: str) -> Code:
    """Print the last message; return ``code``."""
    write_stderr_line(last_words)
    return code


def settle_streams() -> None:
    """Write what waits in stdout and stderr, and discard what cannot be written.

    Otherwise the interpreter would try again at its end, and then exit with code 120.
    """
    problems = []
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            problems.append(str(error))
            problems += _discard(descriptor)
    for problem in problems:  # not earlier, because the log may go to one of the streams
        _warn("a stream cannot be written", error=problem)


def _discard(descriptor: int) -> list[str]:
    """Redirect ``descriptor`` to the null device; return the errors."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    except OSError as error:
        return [str(error)]
    return []


def _warn(what: str, **facts: str) -> None:
    from arbshard.log import get_logger  # commands that keep no log do not import it

    get_logger().warning(what, **facts)
