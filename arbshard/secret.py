"""Hides texts that must not be shown: API keys, their secrets, tokens, and whatever contains them.

A ``Secret`` hides its text from ``repr``, from formatting and from pickling. The text leaves it only inside an
expression (``use``, ``digest``, ``encode_revealed``), so that no frame outside of this file keeps it in a local
variable: a debugger, a crash report or a traceback with local variables then has nothing to show. The functions of
this file hold the text for an instant; they are short and call nothing that can fail on the text.
"""

import hmac
import os
import select
import stat
import tempfile
from collections.abc import Callable, Mapping
from typing import BinaryIO, NoReturn, TypeVar

import msgspec

from arbshard.errors import ProtocolError

HIDDEN = "********"
_READ_BYTES = 65_536

Result = TypeVar("Result")


class Secret:
    """Holds a text without the white space around it. It is false when it is empty."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text.strip()

    @classmethod
    def join(cls, *parts: "str | Secret") -> "Secret":
        """Return one secret made of several texts, of which some are secrets."""
        return cls("".join(map(_revealed, parts)))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __len__(self) -> int:
        return len(self._text)

    def __contains__(self, part: str) -> bool:
        return part in self._text

    def isascii(self) -> bool:
        """Return whether the text is plain ASCII."""
        return self._text.isascii()

    def matches(self, text: str) -> bool:
        """Return whether ``text`` is the same, in a time that does not depend on it."""
        return hmac.compare_digest(self._text.encode(), text.encode())

    def use(self, function: Callable[[str], Result]) -> Result:
        """Return ``function`` of the text. Pass a bound method or a builtin, because a lambda keeps the text in a
        local.
        """
        return function(self._text)

    def use_encoded(self, function: Callable[[bytes], Result]) -> Result:
        """Return ``function`` of the text in UTF-8."""
        return function(self._text.encode())

    def digest(self, message: "str | Secret", algorithm: str) -> bytes:
        """Return the HMAC of ``message`` with this secret as its key."""
        return hmac.digest(self._text.encode(), _revealed(message).encode(), algorithm)

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not to be pickled or copied")


def _revealed(part: object) -> str:
    if isinstance(part, Secret):
        return part._text  # noqa: SLF001 - this is the only way out
    if isinstance(part, str):
        return part
    raise TypeError(f"a {type(part).__name__} is not a text")


def encode_revealed(value: object) -> bytes:
    """Return ``value`` as JSON in which every ``Secret`` is in clear text. Never keep the result in a variable."""
    return msgspec.json.encode(value, enc_hook=_revealed)


def reveal_values(secrets: Mapping[str, Secret]) -> dict[str, str]:
    """Return the texts of ``secrets`` by their names, for a library's call. Never keep the result in a variable."""
    return {name: _revealed(secret) for name, secret in secrets.items()}


def hide(value: object) -> object:
    """Return the same value with every text as a ``Secret``; names in tables stay as they are."""
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, dict):
        return {str(name): hide(one) for name, one in value.items()}
    if isinstance(value, list):
        return [hide(one) for one in value]
    return value


def hidden_file(secret: Secret) -> BinaryIO:
    """Return a file without a name that holds ``secret`` and a line feed, for a child's standard input. Close it."""
    if hasattr(os, "memfd_create"):
        file: BinaryIO = os.fdopen(os.memfd_create("arbshard", os.MFD_CLOEXEC), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    secret.use_encoded(file.write)
    file.write(b"\n")
    file.seek(0)
    return file


def read_hidden_line(descriptor: int, bytes_max: int, timeout_s: float) -> Secret:
    """Read the line that a parent passes on ``descriptor``. A regular file is then replaced by ``/dev/null``.

    Raises ``ProtocolError`` when no whole line of at most ``bytes_max`` comes in time.
    """
    received = bytearray()
    while not received.endswith(b"\n"):
        if not select.select([descriptor], [], [], timeout_s)[0]:
            raise ProtocolError("nothing was handed over on the standard input in time")
        some = os.read(descriptor, _READ_BYTES)
        received += some
        if not some or len(received) > bytes_max:
            raise ProtocolError("no whole line was handed over on the standard input")
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    return Secret(received.decode(errors="replace"))
