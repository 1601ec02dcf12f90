"""Makes TLS contexts for streams, REST calls and signed calls. No other code makes them.

Reading certificates takes milliseconds to tens of milliseconds, so a context is made once for each ``ca_file`` and
kept for the life of the process.
"""

import ssl
from functools import cache
from pathlib import Path
from typing import NamedTuple

from arbshard.config import VenueConfig
from arbshard.errors import ConfigError
from arbshard.log import get_logger


class _Identity(NamedTuple):
    """Is equal as long as a file is neither replaced nor written."""

    device: int
    inode: int
    size: int
    modified_ns: int


class Trust:
    """Holds the authorities that may certify a venue: those of the system, or those in a file."""

    def __init__(self, ca_file: str = "", key: str = "ca_file") -> None:
        """Read the authorities of ``ca_file``; without one, those of the system are read when they are needed first.

        ``key`` is the setting that holds ``ca_file``. Raises ``ConfigError`` when the file is missing or holds no
        certificate.
        """
        self._ca_file = ca_file
        self._key = key
        self._seen = _identity_of(ca_file) if ca_file else None
        if ca_file and self._seen is None:
            raise ConfigError(key, f"{ca_file} is not a file that can be read")
        self._context: ssl.SSLContext | None = None
        if ca_file:
            self._context = self._read()

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection.

        A file that has been replaced is read again. A file that is missing or has become unusable changes nothing:
        what was read before stays trusted, and a warning reports it.
        """
        if self._context is None:
            self._context = self._read()
        if not self._ca_file:
            return self._context
        identity = _identity_of(self._ca_file)
        if identity == self._seen:
            return self._context
        self._seen = identity  # each state of the file is read once, with one line in the log
        try:
            self._context = ssl.create_default_context(cafile=self._ca_file)
            get_logger().info("authorities read again", setting=self._key, file=self._ca_file)
        except (OSError, ValueError) as error:
            why = _unusable(self._ca_file, error)
            get_logger().warning("the authorities read before stay trusted", setting=self._key, why=why)
        return self._context

    def _read(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._ca_file or None)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ConfigError(self._key, _unusable(self._ca_file, error)) from error


@cache
def system_trust() -> Trust:
    """Return the system's authorities."""
    return Trust()


_trusts: dict[str, Trust] = {}


def trust_of(venue: str, settings: VenueConfig) -> Trust:
    """Return the authorities that may certify ``venue``. Raises ``ConfigError`` that names
    ``venues.<venue>.ca_file``.
    """
    if not settings.ca_file:
        return system_trust()
    known = _trusts.get(settings.ca_file)
    if known is None:
        known = _trusts[settings.ca_file] = Trust(settings.ca_file, f"venues.{venue}.ca_file")
    return known


def _identity_of(ca_file: str) -> _Identity | None:
    """Return the identity of the file; None for a file that cannot be examined."""
    try:
        found = Path(ca_file).stat()
    except (OSError, ValueError):
        return None
    return _Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _unusable(ca_file: str, error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{ca_file} holds no certificate in PEM form"
    reason = error.strerror if isinstance(error, OSError) else None
    return f"{ca_file} cannot be read: {reason or error}"
