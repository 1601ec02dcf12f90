"""Handles libraries that an installation may lack because only an extra installs them, and one that is left out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import cast

from arbshard.errors import UsageError

_PACKAGES = {"nats": "nats-py", "telegram": "python-telegram-bot"}
"""What libraries are called on PyPI, where that is another name than that of the module."""


def how_to_install(*libraries: str) -> str:
    """Return the command that installs missing libraries, as the end of a sentence."""
    return f"pip install {' '.join(_PACKAGES.get(library, library) for library in libraries)}"


def require_libraries(what: str, *libraries: str) -> None:
    """Raise ``UsageError`` if any of ``libraries`` is missing, without which ``what`` cannot be done."""
    missing = [library for library in libraries if find_spec(library) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(
            f"{what} needs {' and '.join(missing)}, which {verb} not installed: {how_to_install(*missing)}"
        )


@contextmanager
def hidden(library: str) -> Iterator[None]:
    """Let imports of ``library`` fail inside the block, as if it were not installed. What is loaded already stays."""
    if library in sys.modules:
        yield
        return
    modules = cast("dict[str, object]", sys.modules)
    modules[library] = None  # the import system reads this as "there is none"
    try:
        yield
    finally:
        del modules[library]
