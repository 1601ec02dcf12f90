"""API keys: read from the environment or a file of their own, and never shown.

Called by every process that signs requests, at its start. ``Keys`` hides what it holds from ``repr`` and cannot be
encoded or copied by accident; only ``clients`` and the private streams ask it to ``reveal``.
"""

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from arbshard.config import Config
from arbshard.errors import ConfigError, UsageError

VENUES = ("upbit", "binance")
_HIDDEN = "********"
_ED25519_PEM_MAX = 120
"""A private Ed25519 key in PEM is 118 characters; what is longer is of another kind."""


class Keys:
    """The key of one account: what to sign with."""

    __slots__ = ("_key", "_secret", "venue")

    def __init__(self, venue: str, key: str, secret: str) -> None:
        self.venue = venue
        self._key = key
        self._secret = secret

    def reveal(self) -> tuple[str, str]:
        """(key, secret). The secret may be the PEM of an Ed25519 key. For the one call that signs with it."""
        return self._key, self._secret

    @property
    def is_ed25519(self) -> bool:
        """Whether the secret is a private key in PEM instead of a shared secret."""
        return "PRIVATE KEY" in self._secret

    def __repr__(self) -> str:
        return f"Keys({self.venue!r}, {_HIDDEN})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not to be pickled or copied")


def load_keys(config: Config, environ: Mapping[str, str] = os.environ) -> dict[str, Keys]:
    """The keys of all venues, by name: from ``environ``, else ``live.keys_file``, else the simulated accounts'.

    The last only for ``data = "sim"``, whose keys open nothing. Raises ``UsageError`` in one line for a key that is
    missing or incomplete, and for a file that others can read; the line never shows what was found.
    """
    from_file = _read_file(config.live.keys_file) if config.live.keys_file else {}
    keys: dict[str, Keys] = {}
    for venue in VENUES:
        found = (
            _from_environment(venue, environ)
            or _from_table(venue, from_file.get(venue))
            or _simulated(config, venue)
        )
        if found is None:
            name = f"ARBSHARD_{venue.upper()}"
            raise UsageError(
                f"no API key for {venue}: set {name}_KEY and {name}_SECRET, or name a file in live.keys_file"
            )
        keys[venue] = found
    return keys


def _from_environment(venue: str, environ: Mapping[str, str]) -> Keys | None:
    prefix = f"ARBSHARD_{venue.upper()}"
    key, secret = environ.get(f"{prefix}_KEY", ""), environ.get(f"{prefix}_SECRET", "")
    pem = environ.get(f"{prefix}_ED25519_KEY_FILE", "") if venue == "binance" else ""
    if not (key or secret or pem):
        return None
    where = f"{prefix}_KEY and {prefix}_SECRET"
    return _keys(venue, key, secret, pem, where)


def _from_table(venue: str, table: object) -> Keys | None:
    if table is None:
        return None
    if not isinstance(table, dict):
        raise ConfigError("live.keys_file", f"{venue} must be a table")
    known = {"key", "secret", "ed25519_key_file"} if venue == "binance" else {"key", "secret"}
    values = {str(name): value for name, value in table.items()}
    for name, value in values.items():
        if name not in known or not isinstance(value, str):
            raise ConfigError("live.keys_file", f"[{venue}] may hold {', '.join(sorted(known))}, each a text")
    where = f"key and secret of [{venue}] in live.keys_file"
    return _keys(
        venue, values.get("key", ""), values.get("secret", ""), values.get("ed25519_key_file", ""), where
    )


def _keys(venue: str, key: str, secret: str, pem_file: str, where: str) -> Keys:
    if secret and pem_file:
        raise UsageError(f"{venue}: a secret and an Ed25519 key file are one too many")
    if pem_file:
        secret = _read_pem(Path(pem_file).expanduser())
    if not key.strip() or not secret.strip():
        raise UsageError(f"{venue}: {where} must both be set")
    if not key.strip().isascii() or not secret.strip().isascii():
        raise UsageError(f"{venue}: {where} must be plain ASCII")
    return Keys(venue, key.strip(), secret.strip())


def _simulated(config: Config, venue: str) -> Keys | None:
    if config.data != "sim":
        return None
    accounts = config.sim.accounts
    if venue == "upbit":
        return Keys(venue, accounts.upbit_key, accounts.upbit_secret)
    return Keys(venue, accounts.binance_key, accounts.binance_secret)


def _read_file(name: str) -> dict[str, object]:
    path = Path(name).expanduser()
    try:
        tree: dict[str, object] = tomllib.loads(_read_private(path, "live.keys_file"))
    except tomllib.TOMLDecodeError:
        # The parser's words may quote the line, and with it a secret.
        raise ConfigError("live.keys_file", f"{path} is not valid TOML") from None
    unknown = sorted(set(tree) - set(VENUES))
    if unknown:
        raise ConfigError("live.keys_file", f"{path}: tables may be {', '.join(VENUES)}")
    return tree


def _read_pem(path: Path) -> str:
    text = _read_private(path, "ed25519_key_file").strip()
    if "PRIVATE KEY" not in text or len(text) > _ED25519_PEM_MAX:
        raise UsageError(f"{path}: is no private Ed25519 key in PEM")
    return text


def _read_private(path: Path, where: str) -> str:
    """The text of a file that nobody else can read. Raises ``ConfigError``."""
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(
                    where, f"{path} is open to others (mode {mode & 0o777:o}): chmod 600 {path}"
                )
            return file.read()
    except OSError as error:
        raise ConfigError(where, f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(where, f"{path} is not text") from None
