"""Libraries that an installation may lack, because only an extra brings them."""

from importlib.util import find_spec

from arbshard.errors import UsageError


def how_to_install(library: str) -> str:
    """The command that brings a missing library, as the end of a sentence."""
    return f"pip install {library}"


def require_libraries(what: str, *libraries: str) -> None:
    """Raise ``UsageError`` if one of ``libraries`` is missing, without which ``what`` cannot be done."""
    for library in libraries:
        if find_spec(library) is None:
            raise UsageError(f"{what} needs {library}, which is not installed: {how_to_install(library)}")
