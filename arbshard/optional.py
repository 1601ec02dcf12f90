"""Handles libraries that an installation may lack because only an extra installs them, and one that is left out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import cast

from arbshard.errors import UsageError

_PACKAGES = {"nats": "nats-py"}
"""What libraries are called on PyPI, where that is another name than that of the module."""


def how_to_install(library: str) -> str:
    """Return the command that installs a missing library, as the end of a sentence."""
    return f"pip install {_PACKAGES.get(library, library)}"


def require_libraries(what: str, *libraries: str) -> None:
    """Raise ``UsageError`` if one of ``libraries`` is missing, without which ``what`` cannot be done."""
    for library in libraries:
        if find_spec(library) is None:
            raise UsageError(f"{what} needs {library}, which is not installed: {how_to_install(library)}")


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
