"""Reads a TOML file and checks it. An error always has the file, or the environment variable, and the key's path."""

import sys
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from arbshard.config.contradictions import find_contradiction
from arbshard.config.environment import EnvironmentSetting, settings_of
from arbshard.config.limits import LimitsConfig, zone_of
from arbshard.config.root import Config
from arbshard.config.section import explain
from arbshard.config.venues import AWAY, VenueConfig, VenuesConfig
from arbshard.errors import ConfigError

_INSTALLED = Path(sys.prefix, "share", "arbshard", "configs")
_AMOUNT_MAX = Decimal(10**15)
_REPLACED = {
    "run.doorbell": 'run.transport = "local" or "zmq"',
    "run.requests": 'run.transport = "local" or "zmq"',
    "sizing.order_notional_max": "sizing.entry_notional_max",
    "sizing.order_notional_min": "sizing.entry_notional_min",
    "live.balance_tolerance": "live.balance_tolerances by currency, as { KRW = 1 }, or leave it out when it was 0",
}
"""Keys of earlier versions, and what to write in their place."""
_RENAMED = {
    "sizing": {"order_notional_max": "entry_notional_max", "order_notional_min": "entry_notional_min"}
}
"""Keys by section that recordings of earlier versions have under another name, with the same meaning."""
_FEE_BPS_MAX = Decimal(10_000)
"""The whole notional: with this fee there would be nothing left to divide by."""


def packaged_configs() -> dict[str, Path]:
    """Return the configuration files that come with arbshard, by name."""
    project = Path(__file__).parents[2]
    found: dict[str, Path] = {}
    for folder in (project / "configs", _INSTALLED):
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.name.removesuffix(".toml"), path)
    return found


def find_config(given: Path) -> Path:
    """Return the file that a person means by ``given``: a path, or the name of one that comes with arbshard.

    ``paper-band`` and ``configs/paper-band.toml`` are found wherever arbshard is installed. Raises ``ConfigError``.
    """
    if given.exists():
        return given
    known = packaged_configs()
    name = given.name.removesuffix(".toml")
    is_name = given.parent == Path() or given.parts[:-1] == ("configs",)
    if is_name and name in known:
        return known[name]
    if given.parent == Path() and not given.suffix:
        raise ConfigError(str(given), f"is neither a file nor one of {', '.join(known)}")
    return given  # reading it says what is wrong


def load_config(
    path: Path | None, overrides: dict[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    """Read a TOML file, lay ``environ`` and then ``overrides`` over it, check everything; return it frozen.

    ``path`` is None for the defaults. ``environ``: environment variables, of which those that begin with
    ``ARBSHARD__`` set a key (``environment``). ``overrides`` is nested like the file, as ``{"run": {"shards": 2}}``.
    Raises ``ConfigError`` with the file or the variable, the path of the key and what would be right.
    """
    where = str(path) if path is not None else "configuration"
    tree = _merge(msgspec.to_builtins(Config()), read_toml(path, where) if path is not None else {})
    settings = settings_of(environ or {})
    if settings:
        _convert(tree, where)  # so that a mistake in the file is not reported as that of a variable
    for setting in settings:
        tree = _with_setting(tree, setting)
    if settings:
        where += f" with {', '.join(setting.variable for setting in settings)}"
    config = _check(_convert(_merge(tree, overrides or {}), where), where)
    problem = find_contradiction(config)
    if problem:
        raise ConfigError(where, problem)
    return config


def read_toml(path: Path, where: str) -> dict[str, Any]:
    """Return what the file says. Raises ``ConfigError`` about ``where``."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(where, f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(where, f"is not valid TOML: {error}") from error


def _with_setting(tree: dict[str, Any], setting: EnvironmentSetting) -> dict[str, Any]:
    """Return ``tree`` with what the environment variable sets, by the reading that fits the type of its key."""
    refusal: ConfigError | None = None
    for value in setting.readings():
        changed = _merge(tree, setting.tree(value))
        try:
            _convert(changed, setting.variable)
        except ConfigError as error:
            refusal = error
        else:
            return changed
    assert refusal is not None, "a text can always be read as itself"
    raise refusal


def _convert(tree: dict[str, Any], where: str) -> Config:
    """Return the configuration of ``tree`` as far as types can tell. Raises ``ConfigError``."""
    gathered = _with_other_venues(tree, where)
    try:
        return msgspec.convert(gathered, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(where, explain(error, Config, _REPLACED)) from error


def decode_recorded(raw: bytes | msgspec.Raw) -> Config:
    """Decode the configuration that a recording holds, which may be of an earlier version.

    Raises ``msgspec.MsgspecError``.
    """
    tree = msgspec.json.decode(raw, type=dict[str, Any])
    for section, names in _RENAMED.items():
        keys = tree.get(section)
        if isinstance(keys, dict):
            tree[section] = {names.get(key, key): value for key, value in keys.items()}
    return msgspec.convert(tree, Config, strict=False)


def change_limits(limits: LimitsConfig, changes: Mapping[str, str], where: str) -> LimitsConfig:
    """Return ``limits`` with ``changes`` (key → text), checked like the file. Raises ``ConfigError``."""
    tree = {"limits": {**msgspec.to_builtins(limits), **changes}}
    try:
        return _check(msgspec.convert(tree, Config, strict=False), where).limits
    except msgspec.ValidationError as error:
        raise ConfigError(where, explain(error, Config, _REPLACED)) from error


def _with_other_venues(tree: dict[str, Any], where: str) -> dict[str, Any]:
    """Return ``tree`` with the sections of venues that ccxt carries where ``VenuesConfig`` has them.

    Raises ``ConfigError``.
    """
    venues = tree["venues"]
    if not isinstance(venues, dict):
        return tree  # the conversion reports what is wrong
    kept: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, section in venues.items():
        # Without the adapter the conversion says that the key is unknown.
        is_other = isinstance(section, dict) and section.get("adapter") == "ccxt"
        if name in VenuesConfig.__struct_fields__ or not is_other:
            kept[name] = section
            continue
        try:
            others[name] = msgspec.to_builtins(msgspec.convert(section, VenueConfig, strict=False))
        except msgspec.ValidationError as error:
            raise ConfigError(where, explain(error, VenueConfig, under=f"venues.{name}")) from error
    if others and isinstance(kept["others"], dict):
        kept["others"] = {**kept["others"], **others}
    return {**tree, "venues": kept}


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _amounts(section: msgspec.Struct, prefix: str) -> Iterator[tuple[str, Decimal]]:
    for field in section.__struct_fields__:
        value = getattr(section, field)
        if isinstance(value, Decimal):
            yield prefix + field, value
        elif isinstance(value, msgspec.Struct):
            yield from _amounts(value, f"{prefix}{field}.")
        elif isinstance(section, VenuesConfig) and isinstance(value, dict):
            for name, venue in value.items():
                yield from _amounts(venue, f"{prefix}{name}.")
        elif isinstance(value, dict):
            for name, amount in value.items():
                if isinstance(amount, Decimal):
                    yield f"{prefix}{field}.{name}", amount


def _check(config: Config, where: str) -> Config:
    """Check what types alone cannot: exact amounts, and facts about several keys. Raises ``ConfigError``."""
    _check_amounts(config, where)
    try:
        zone_of(config.limits.time_zone)
    except ValueError as error:
        raise ConfigError(where, f"limits.time_zone: {error}") from error
    _check_venues(config, where)
    if config.live.statement_age_max_s <= 3 * config.live.reconcile_every_s:
        raise ConfigError(where, "live: statement_age_max_s must be more than three times reconcile_every_s")
    for currency in config.live.balance_tolerances:
        if currency != currency.upper():
            raise ConfigError(
                where, f"live.balance_tolerances: write the currency '{currency}' as {currency.upper()}"
            )
    if config.live.not_found_after_s <= max(config.live.order_timeout_s, config.live.recv_window_ms / 1000):
        raise ConfigError(
            where,
            "live: not_found_after_s must be above order_timeout_s and recv_window_ms: an order may still arrive",
        )
    return config


def _check_venues(config: Config, where: str) -> None:
    venues = config.venues
    if venues.away != AWAY and venues.away not in venues.others:
        able = ", ".join((AWAY, *venues.others))
        raise ConfigError(where, f"venues.away: '{venues.away}' is not one of {able}")
    for name, section in _native(venues):
        if section.adapter == "ccxt":
            raise ConfigError(where, f'venues.{name}.adapter: must be "folder", because the venue has one')
    for name, section in venues.others.items():
        if section.adapter != "ccxt":
            raise ConfigError(
                where, f'venues.{name}.adapter: must be "ccxt", because the venue has no folder'
            )
    if config.data == "sim" and venues.away != AWAY:
        raise ConfigError(where, f"venues.away: the embedded exchanges are simulated for {AWAY} only")
    if config.data == "public":
        for name in venues.traded:
            venue = venues.get(name)
            if venue.adapter == "folder" and not (venue.ws_url and venue.rest_url):
                raise ConfigError(where, f'venues.{name}: data = "public" needs ws_url and rest_url')


def _native(venues: VenuesConfig) -> Iterator[tuple[str, VenueConfig]]:
    for name in venues.__struct_fields__:
        section = getattr(venues, name)
        if isinstance(section, VenueConfig):
            yield name, section


def _check_amounts(config: Config, where: str) -> None:
    for path, amount in _amounts(config, ""):
        if not amount.is_finite() or amount < 0:
            raise ConfigError(where, f"{path}: must be a number that is not negative, not {amount}")
        if amount == 0 and path.startswith(("sizing.", "limits.")):
            raise ConfigError(where, f"{path}: must be above 0")
        most = _FEE_BPS_MAX if path.endswith("_fee_bps") else _AMOUNT_MAX
        if amount >= most:
            raise ConfigError(where, f"{path}: must be below {most}")
