"""Reads a TOML file, checks it once. Every error names the file and the key's path."""

import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from arbshard.config.limits import LimitsConfig, zone_of
from arbshard.config.root import Config
from arbshard.config.section import explain
from arbshard.config.venues import AWAY, VenueConfig, VenuesConfig
from arbshard.errors import ConfigError

_AMOUNT_MAX = Decimal(10**15)
_REPLACED = {
    "run.doorbell": 'run.transport = "local" or "zmq"',
    "run.requests": 'run.transport = "local" or "zmq"',
    "live.balance_tolerance": "live.balance_tolerances by currency, as { KRW = 1 }, or leave it out when it was 0",
}
"""Keys of earlier versions, and what to write in their place."""
_FEE_BPS_MAX = Decimal(10_000)
"""The whole notional: at this fee nothing would be left to divide by."""


def load_config(path: Path | None, overrides: dict[str, Any] | None = None) -> Config:
    """Read a TOML file, apply ``overrides`` and check everything; return the frozen configuration.

    ``path`` is None for the defaults. ``overrides`` is nested like the file, as ``{"run": {"shards": 2}}``. Raises
    ``ConfigError`` with the file, the path of the key and what would be right.
    """
    where = str(path) if path is not None else "configuration"
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(where, f"cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(where, f"is not valid TOML: {error}") from error
    defaults: dict[str, Any] = msgspec.to_builtins(Config())
    merged = _merge(_merge(defaults, tree), overrides or {})
    _gather_other_venues(merged, where)
    try:
        return _check(msgspec.convert(merged, Config, strict=False), where)
    except msgspec.ValidationError as error:
        raise ConfigError(where, explain(error, Config, _REPLACED)) from error


def change_limits(limits: LimitsConfig, changes: Mapping[str, str], where: str) -> LimitsConfig:
    """``limits`` with ``changes`` (key → text), checked like the file. Raises ``ConfigError``."""
    tree = {"limits": {**msgspec.to_builtins(limits), **changes}}
    try:
        return _check(msgspec.convert(tree, Config, strict=False), where).limits
    except msgspec.ValidationError as error:
        raise ConfigError(where, explain(error, Config, _REPLACED)) from error


def _gather_other_venues(tree: dict[str, Any], where: str) -> None:
    """Move the sections of venues that ccxt carries to where ``VenuesConfig`` has them. Raises ``ConfigError``."""
    venues = tree["venues"]
    if not isinstance(venues, dict):
        return  # the conversion says what is wrong
    for name, section in list(venues.items()):
        if name in VenuesConfig.__struct_fields__ or not isinstance(section, dict):
            continue
        if section.get("adapter") != "ccxt":
            continue  # the conversion says that the key is unknown
        del venues[name]
        try:
            venues["others"][name] = msgspec.to_builtins(msgspec.convert(section, VenueConfig, strict=False))
        except msgspec.ValidationError as error:
            raise ConfigError(where, f"venues.{name}: {error}") from error


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
    """What types alone cannot say: exact amounts, and facts that span several keys."""
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
    if config.sizing.order_notional_min > config.sizing.order_notional_max:
        raise ConfigError(where, "sizing: order_notional_min is above order_notional_max")
    if config.strategy.min_edge_bps > config.strategy.entry_bps:
        raise ConfigError(where, "strategy: min_edge_bps is above entry_bps")
    if config.strategy.no_reversion_exits > config.strategy.no_reversion_window:
        raise ConfigError(where, "strategy: no_reversion_exits is above no_reversion_window")
    if config.limits.edge_bps_min > config.strategy.min_edge_bps:
        raise ConfigError(
            where,
            "limits: edge_bps_min is above strategy.min_edge_bps, so risk would refuse what the strategy enters",
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
