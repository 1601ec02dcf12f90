"""API keys are read from the environment or a file of their own, and never shown.

The supervisor and ``doctor`` read them (``load_keys``). Workers and the accounts process get them from the
supervisor on their standard input (``hand_over``, ``receive_keys``): an environment could be read by others for as
long as the process lives. A process that holds keys writes no core dump (``process.protect_memory``).
"""

import os
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec

from arbshard.config import Config
from arbshard.errors import ConfigError, ProtocolError, UsageError
from arbshard.private_files import read_private
from arbshard.process import protect_memory
from arbshard.secret import Secret, encode_revealed, hide, read_hidden_line
from arbshard.venues.keys import Keys
from arbshard.venues.registry import HOME, TRADED, get_adapter

CREDENTIAL = "keys.toml"
"""What a service manager calls the file of keys that it hands to a service, in ``$CREDENTIALS_DIRECTORY``."""
_KEY_VARIABLE = re.compile(r"ARBSHARD_[A-Z0-9_]+_(KEY|SECRET|ED25519_KEY_FILE)")
_ED25519_PEM_MAX = 120
"""A private Ed25519 key in PEM is 118 characters; a longer text is of another kind."""
_HANDED_BYTES_MAX = 16_384
_HANDED_WITHIN_S = 10.0

Lookup = Callable[[str, str], str]
"""Returns the environment variable of the first name, or the second text. A mapping would show itself; a function
does not.
"""


def is_key_variable(name: str) -> bool:
    """Return whether a key may be read from the environment variable ``name``; no child gets such a variable."""
    return _KEY_VARIABLE.fullmatch(name) is not None


def load_keys(config: Config, lookup: Lookup = os.getenv) -> dict[str, Keys]:
    """Return the keys of all venues by name: from the environment, a file, or the simulated accounts.

    The file is ``live.keys_file``, or what a service manager hands over (``CREDENTIAL``). The last only for ``data =
    "sim"``, whose keys open nothing. From here on this process writes no core dump. Raises ``UsageError`` in one
    line for a key that is missing or incomplete, and for a file that others can read; the line never shows what was
    found.
    """
    protect_memory()
    file = config.live.keys_file or _credential(lookup)
    from_file = _read_file(file, config.venues.traded) if file else {}
    keys: dict[str, Keys] = {}
    for venue in config.venues.traded:
        found = (
            _from_environment(venue, lookup)
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


def hand_over(keys: Mapping[str, Keys]) -> Secret:
    """Return the line that ``receive_keys`` reads in a child."""
    return Secret(encode_revealed({venue: [one.key, one.secret] for venue, one in keys.items()}).decode())


def receive_keys(descriptor: int) -> dict[str, Keys]:
    """Receive what the supervisor sends at the start of a process. It writes no core dump from here on.

    Raises ``ProtocolError`` when nothing, or something else, comes.
    """
    protect_memory()
    line = read_hidden_line(descriptor, _HANDED_BYTES_MAX, _HANDED_WITHIN_S)
    try:
        found = hide(line.use(msgspec.json.decode))
    except msgspec.DecodeError:
        # The decoder's message might quote what it read.
        raise ProtocolError("the keys that were handed over cannot be read") from None
    keys: dict[str, Keys] = {}
    for venue, pair in found.items() if isinstance(found, dict) else ():
        match pair:
            case [Secret() as key, Secret() as secret]:
                keys[venue] = Keys(venue, key, secret)
    if HOME not in keys or len(keys) != len(TRADED):
        raise ProtocolError("the keys that were handed over are not complete")
    return keys


def _from_environment(venue: str, lookup: Lookup) -> Keys | None:
    prefix = f"ARBSHARD_{venue.upper()}"
    key, secret = Secret(lookup(f"{prefix}_KEY", "")), Secret(lookup(f"{prefix}_SECRET", ""))
    takes_file = _takes_ed25519(venue)
    pem_file = lookup(f"{prefix}_ED25519_KEY_FILE", "") if takes_file else ""
    if not (key or secret or pem_file):
        return None
    where = f"{prefix}_KEY and {prefix}_SECRET"
    return _keys(venue, key, secret, pem_file, where)


def _from_table(venue: str, table: object) -> Keys | None:
    if table is None:
        return None
    if not isinstance(table, dict):
        raise ConfigError("live.keys_file", f"{venue} must be a table")
    known = {"key", "secret"}
    if _takes_ed25519(venue):
        known.add("ed25519_key_file")
    if not all(name in known and isinstance(value, Secret) for name, value in table.items()):
        raise ConfigError("live.keys_file", f"[{venue}] may hold {', '.join(sorted(known))}, each a text")
    where = f"key and secret of [{venue}] in live.keys_file"
    nothing = Secret()
    pem_file: str = table.get("ed25519_key_file", nothing).use(str)
    return _keys(venue, table.get("key", nothing), table.get("secret", nothing), pem_file, where)


def _keys(venue: str, key: Secret, secret: Secret, pem_file: str, where: str) -> Keys:
    if secret and pem_file:
        raise UsageError(f"{venue}: a secret and an Ed25519 key file are one too many")
    if pem_file:
        secret = _read_pem(Path(pem_file).expanduser())
    if not key or not secret:
        raise UsageError(f"{venue}: {where} must both be set")
    if not key.isascii() or not secret.isascii():
        raise UsageError(f"{venue}: {where} must be plain ASCII")
    return Keys(venue, key, secret)


def _takes_ed25519(venue: str) -> bool:
    signing = get_adapter(venue).signing
    return signing is not None and signing.takes_ed25519


def _simulated(config: Config, venue: str) -> Keys | None:
    if config.data != "sim":
        return None
    return Keys(venue, *config.sim.accounts.key_of(venue))


def _credential(lookup: Lookup) -> str:
    """Return the file of keys that a service manager hands over; empty without one. Raises ``ConfigError``."""
    folder = lookup("CREDENTIALS_DIRECTORY", "")
    path = Path(folder) / CREDENTIAL
    try:
        return str(path) if folder and path.is_file() else ""
    except OSError as error:
        raise ConfigError("$CREDENTIALS_DIRECTORY", f"{path} cannot be read: {error.strerror}") from error


def _read_file(name: str, traded: Collection[str]) -> dict[str, object]:
    path = Path(name).expanduser()
    try:
        tree = hide(tomllib.loads(read_private(path, "live.keys_file")))
    except tomllib.TOMLDecodeError:
        # The parser's message may quote the line, and with it a secret.
        raise ConfigError("live.keys_file", f"{path} is not valid TOML") from None
    assert isinstance(tree, dict)
    if set(tree) - set(traded):
        raise ConfigError("live.keys_file", f"{path}: tables may be {', '.join(traded)}")
    return tree


def _read_pem(path: Path) -> Secret:
    text = Secret(read_private(path, "ed25519_key_file"))
    if "PRIVATE KEY" not in text or len(text) > _ED25519_PEM_MAX:
        raise UsageError(f"{path}: is not a private Ed25519 key in PEM")
    return text
