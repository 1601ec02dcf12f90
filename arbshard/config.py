"""Configuration: a TOML file, checked once and frozen. Every error names the file and the key's path.

Every setting has its default here, so an empty file is a valid one: the embedded exchanges, on paper.
"""

import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from arbshard.errors import ConfigError

_AMOUNT_MAX = Decimal(10**15)
_FEE_BPS_MAX = Decimal(10_000)
"""The whole notional: at this fee nothing would be left to divide by."""

_FIXED_ZONES: dict[str, tzinfo] = {"UTC": UTC, "Asia/Seoul": timezone(timedelta(hours=9), "KST")}
"""Without summer time: the default must not depend on whether the machine has a zone database."""

Regime = Literal["calm", "mixed", "high-win", "low-win", "trending", "crash"]
Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[float, Meta(gt=0, lt=1e12)]
NotNegative = Annotated[float, Meta(ge=0, lt=1e12)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1, le=100_000)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}\Z")]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file; an unknown key in it is an error."""


class SimConfig(_Section, frozen=True):
    """The simulated exchanges."""

    seed: Seed = 7
    regime: Regime = "mixed"
    coins: Annotated[int, Meta(ge=1, le=1000)] = 30
    updates_per_s: Annotated[float, Meta(gt=0, le=100)] = 10.0
    """Book updates of each market per second."""
    depth: Annotated[int, Meta(ge=5, le=30)] = 30
    """Levels kept on each side of a book."""
    host: str = "127.0.0.1"
    upbit_port: Port = 0
    """0 takes a free one."""
    binance_port: Port = 0


class VenueConfig(_Section, frozen=True, kw_only=True):
    """One exchange: where it is and what it costs."""

    ws_url: str = ""
    """Empty with ``data = "sim"``: the simulated exchange's own address."""
    rest_url: str = ""
    symbols_per_connection: Annotated[int, Meta(ge=1, le=500)] = 100
    depth: Annotated[int, Meta(ge=1, le=30)] = 15
    """Levels to subscribe to; rounded up to what the venue offers."""
    buy_fee_bps: Decimal
    sell_fee_bps: Decimal


def _upbit() -> VenueConfig:
    return VenueConfig(buy_fee_bps=Decimal(5), sell_fee_bps=Decimal(5))


def _binance() -> VenueConfig:
    return VenueConfig(buy_fee_bps=Decimal(10), sell_fee_bps=Decimal(10), depth=20)


class VenuesConfig(_Section, frozen=True):
    """The exchanges traded on."""

    upbit: VenueConfig = msgspec.field(default_factory=_upbit)
    binance: VenueConfig = msgspec.field(default_factory=_binance)

    def get(self, venue: str) -> VenueConfig:
        """The section of ``venue``."""
        return {"upbit": self.upbit, "binance": self.binance}[venue]


class DataConfig(_Section, frozen=True):
    """When a book may be traded on. Older, skewed or silent books are refused, and the refusal counted."""

    max_book_age_ms: Positive = 1500.0
    max_leg_skew_ms: Positive = 1000.0
    """Largest difference of receive times between the two books of a pair."""
    max_fx_age_ms: Positive = 5000.0


class StrategyConfig(_Section, frozen=True):
    """When to enter and when to leave. All in basis points of the notional bought, net of fees and FX."""

    entry_bps: Annotated[float, Meta(ge=-100, le=10_000)] = 30.0
    """Enter when the whole quantity nets at least this. A round trip pays fees and FX twice: an entry that
    nets less than an exit costs (22 to 25 here) cannot win when the gap merely closes."""
    min_edge_bps: Annotated[float, Meta(ge=-100, le=10_000)] = 20.0
    """Take depth while the marginal unit still nets this."""
    max_edge_bps: Positive = 500.0
    """Refuse an edge above this: too good to be true."""
    round_trip_bps: Annotated[float, Meta(ge=-1000, le=10_000)] = 5.0
    """Enter only if entry and exit together would net this once the gap has closed, at the spreads of now: a coin
    whose tick is wide costs more to leave than its gap brings."""
    entry_z: NotNegative = 0.0
    """Enter only if the gap stands at least this many deviations off its own mean, on the side of the entry; 0
    switches the rule off."""
    take_profit_bps: Annotated[float, Meta(ge=-1000, le=10_000)] = 5.0
    """Leave when the whole round trip, closed now, nets at least this."""
    close_on_spread_reversal: bool = True
    reversal_bps: NotNegative = 3.0
    """How far the gap (mid to mid, no fees) must stand on the other side to count as reversed."""
    stop_loss_bps: Positive = 100.0
    """Leave when the whole round trip, closed now, loses at least this. Leaving right after entering costs about
    45 here (fees and FX twice, spreads), which is part of it."""
    stop_room_bps: NotNegative = 40.0
    """Enter only if the books may still move this far against the position before the stop loss is reached."""
    max_hold_s: Positive = 20.0
    cooldown_ms: NotNegative = 500.0
    """Pause of a pair after each trade or refusal."""


class SeriesConfig(_Section, frozen=True):
    """The time series kept of each pair's gap (mid to mid)."""

    window: Annotated[int, Meta(ge=30, le=100_000)] = 300
    """Samples kept."""
    sample_ms: Annotated[float, Meta(ge=10, le=3_600_000)] = 1000.0


class SizingConfig(_Section, frozen=True):
    """How much to trade at once, in the reporting currency (KRW)."""

    order_notional_max: Decimal = Decimal(1_000_000)
    order_notional_min: Decimal = Decimal(20_000)
    """Below this an entry is not worth two orders; must leave room for both venues' minimum."""


class LimitsConfig(_Section, frozen=True):
    """What risk refuses to go beyond, in the reporting currency (KRW). For entries: exits and hedges always pass."""

    symbol_notional_max: Decimal = Decimal(3_000_000)
    """Entry notional of a symbol's open positions."""
    symbol_positions_max: Count = 1
    symbol_trades_max: Count = 2
    """Intents of a symbol under way. A pair has one at a time in any case (PAIR_BUSY)."""
    symbol_daily_loss_max: Decimal = Decimal(5_000_000)
    order_notional_max: Decimal = Decimal(3_000_000)
    """One entry. Workers size theirs by ``sizing.order_notional_max``; this is risk's own word."""
    loss_streak_max: Count = 20
    """Losses of a symbol in a row after which it pauses, and again after as many more."""
    loss_streak_pause_s: NotNegative = 60.0
    edge_bps_max: Positive = 600.0
    """An entry that promises more is too good to be true. A second look beside ``strategy.max_edge_bps``: at the
    limit prices and before fees."""

    portfolio_notional_max: Decimal = Decimal(100_000_000)
    """Gross exposure: entry notional of all open positions and of entries under way."""
    venue_notional_max: Decimal = Decimal(100_000_000)
    """Of it, what was bought on one venue, and what was sold on one venue."""
    portfolio_positions_max: Count = 200
    open_intents_max: Count = 100
    daily_loss_max: Decimal = Decimal(5_000_000)
    """Realised loss of a trading day; no more entries until the next one."""
    drawdown_max: Decimal = Decimal(5_000_000)
    """From the highest realised result of the trading day."""
    orders_per_s_max: Annotated[float, Meta(ge=1, le=100_000)] = 500.0
    """Orders of all kinds per second; as many at once after a pause. Only entries wait for it."""
    concentration_max: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Share of one symbol in the gross exposure, once that is above ``concentration_floor``."""
    concentration_floor: Decimal = Decimal(20_000_000)
    correlated_notional_max: Decimal = Decimal(50_000_000)
    """Exposure of a symbol and of all whose gaps move with it, where correlations are known."""
    correlation_min: Share = 0.8
    """From here on two symbols count as moving together."""

    tighten_at: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Share of ``drawdown_max`` from which order and exposure limits are tightened; loosened again at half of it."""
    tighten_volatility: Annotated[float, Meta(gt=1, le=100)] = 2.0
    """A symbol's limits are tightened when its results scatter this many times as wide as they used to."""
    tighten_factor: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """What tightened limits are multiplied with; 1 turns tightening off."""
    tighten_lapse_s: Positive = 900.0
    """A tightened symbol is given its limits back after this; its next result may tighten them again."""

    halt_daily_loss: Decimal = Decimal(10_000_000)
    """Kill switch: realised loss of a trading day."""
    halt_drawdown: Decimal = Decimal(10_000_000)
    """Kill switch: from the highest realised result of the trading day."""
    halt_rejects_per_min: Count = 300
    """Kill switch: orders that a venue rejected within a minute."""
    halt_hedges_per_min: Count = 5000
    """Kill switch: hedges and unwinds within a minute."""
    halt_unknown_per_min: Count = 30
    """Kill switch: orders of which nothing could be learned in time, within a minute."""
    halt_stale_feeds_s: Positive = 30.0
    """Kill switch: no venue has sent anything for so long."""

    day_starts: Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z")] = "09:00"
    """When a trading day begins, by the clocks of ``time_zone``."""
    time_zone: str = "Asia/Seoul"


class ExecutionConfig(_Section, frozen=True):
    """How the two legs are brought home."""

    approval_expiry_ms: Positive = 150.0
    """An entry approved later than this after it was decided is not sent any more."""
    exit_slippage_bps: NotNegative = 15.0
    """How far behind the book's walk an exit's limit prices may stand."""
    max_hedge_slippage_bps: NotNegative = 40.0
    """How far behind the best price a hedge or unwind may go; doubled on each further try."""
    hedge_tries: Annotated[int, Meta(ge=1, le=20)] = 3
    """Tries on the lagging leg, then as many taking the leading leg back, then again from the start."""
    retry_ms: Positive = 200.0


class PaperConfig(_Section, frozen=True):
    """The paper venue: how far it is from too good to be true."""

    seed: Seed = 1
    latency_ms: Positive = 40.0
    """Median time from sending an order to its arrival in the book; log-normally distributed."""
    latency_sigma: Annotated[float, Meta(ge=0, le=5)] = 0.5
    """Sigma of the logarithm of the latency."""
    reject_share: Share = 0.002
    """Share of orders the venue refuses."""
    depth_share: Annotated[float, Meta(gt=0, le=1)] = 0.7
    """Share of each level's displayed size that is still there when our order arrives."""
    quote_home: Decimal = Decimal(100_000_000)
    """Opening balance of the home quote (KRW)."""
    quote_away: Decimal = Decimal(70_000)
    """Opening balance of the away quote (USDT)."""
    inventory_notional: Decimal = Decimal(4_000_000)
    """Coins of each pair held on each venue at the start, worth this much in the reporting currency."""


class RunConfig(_Section, frozen=True):
    """The processes."""

    shards: Annotated[int, Meta(ge=1, le=64)] = 4
    symbols: tuple[str, ...] = ()
    """Pairs to trade, by base or either market's name; empty for all that both venues list."""
    max_pairs: Annotated[int, Meta(ge=1, le=1000)] = 1000
    doorbell: Literal["pipe", "zmq"] = "pipe"
    stop_timeout_s: Positive = 20.0
    """How long a graceful stop may take to close positions."""
    restart_tries: Annotated[int, Meta(ge=0, le=100)] = 5
    """Restarts of one child within ``restart_window_s`` before it is given up."""
    restart_window_s: Positive = 60.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Config(_Section, frozen=True):
    """The whole file."""

    name: Name = "sim"
    """Separates instances: each name has its own run directory, state directory and ledger."""
    mode: Literal["paper"] = "paper"
    data: Literal["sim", "public"] = "sim"
    """``sim``: the embedded simulated exchanges. ``public``: real public feeds (orders stay on paper)."""
    reporting: Literal["KRW"] = "KRW"
    state_dir: str = ""
    """Where ledger and logs are kept; empty for ``$XDG_STATE_HOME/arbshard``."""
    run: RunConfig = msgspec.field(default_factory=RunConfig)
    venues: VenuesConfig = msgspec.field(default_factory=VenuesConfig)
    data_quality: DataConfig = msgspec.field(default_factory=DataConfig)
    strategy: StrategyConfig = msgspec.field(default_factory=StrategyConfig)
    series: SeriesConfig = msgspec.field(default_factory=SeriesConfig)
    sizing: SizingConfig = msgspec.field(default_factory=SizingConfig)
    limits: LimitsConfig = msgspec.field(default_factory=LimitsConfig)
    execution: ExecutionConfig = msgspec.field(default_factory=ExecutionConfig)
    paper: PaperConfig = msgspec.field(default_factory=PaperConfig)
    sim: SimConfig = msgspec.field(default_factory=SimConfig)


def load_config(path: Path | None, overrides: dict[str, Any] | None = None) -> Config:
    """Read ``path`` (None for the defaults), lay ``overrides`` (nested like the file) over it and check all.

    Raises ``ConfigError`` with the file, the key's path and what would be right.
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
    try:
        return _check(msgspec.convert(merged, Config, strict=False), where)
    except msgspec.ValidationError as error:
        raise ConfigError(where, _explain(str(error))) from error


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _explain(message: str) -> str:
    """Turn msgspec's «… - at `$.run.shards`» round: the path first, as it stands in the file."""
    problem, _, path = message.partition(" - at `$")
    key = path.rstrip("`").lstrip(".")
    if problem.startswith("Object contains unknown field"):
        unknown = problem.split("`")[1]
        known = ", ".join(_keys_of(key))
        return f"unknown key '{f'{key}.' if key else ''}{unknown}'; known here: {known}"
    if problem.startswith("Invalid enum value"):
        problem = f"{problem}; one of {', '.join(get_args(_field(key).type))}"
    return f"{key}: {problem}" if key else problem


def _keys_of(path: str) -> tuple[str, ...]:
    section: type[msgspec.Struct] = _field(path).type if path else Config
    return tuple(field.name for field in msgspec.structs.fields(section))


def _field(path: str) -> msgspec.structs.FieldInfo:
    """The field that a dotted path of the file leads to."""
    section: type[msgspec.Struct] = Config
    *tables, last = path.split(".")
    for table in tables:
        section = _named(section, table).type
    return _named(section, last)


def _named(section: type[msgspec.Struct], name: str) -> msgspec.structs.FieldInfo:
    return next(field for field in msgspec.structs.fields(section) if field.name == name)


def _amounts(section: msgspec.Struct, prefix: str) -> Iterator[tuple[str, Decimal]]:
    for field in section.__struct_fields__:
        value = getattr(section, field)
        if isinstance(value, Decimal):
            yield prefix + field, value
        elif isinstance(value, msgspec.Struct):
            yield from _amounts(value, f"{prefix}{field}.")


def change_limits(limits: LimitsConfig, changes: Mapping[str, str], where: str) -> LimitsConfig:
    """``limits`` with ``changes`` (key → text), checked like the file. Raises ``ConfigError``."""
    tree = {"limits": {**msgspec.to_builtins(limits), **changes}}
    try:
        return _check(msgspec.convert(tree, Config, strict=False), where).limits
    except msgspec.ValidationError as error:
        raise ConfigError(where, _explain(str(error))) from error


def _check(config: Config, where: str) -> Config:
    """What types alone cannot say: exact amounts, and facts that span several keys."""
    _check_amounts(config, where)
    try:
        zone_of(config.limits.time_zone)
    except ValueError as error:
        raise ConfigError(where, f"limits.time_zone: {error}") from error
    if config.data == "public":
        for name in ("upbit", "binance"):
            venue = config.venues.get(name)
            if not venue.ws_url or not venue.rest_url:
                raise ConfigError(where, f'venues.{name}: data = "public" needs ws_url and rest_url')
    if config.sizing.order_notional_min > config.sizing.order_notional_max:
        raise ConfigError(where, "sizing: order_notional_min is above order_notional_max")
    if config.strategy.min_edge_bps > config.strategy.entry_bps:
        raise ConfigError(where, "strategy: min_edge_bps is above entry_bps")
    return config


def _check_amounts(config: Config, where: str) -> None:
    for path, amount in _amounts(config, ""):
        if not amount.is_finite() or amount < 0:
            raise ConfigError(where, f"{path}: must be a number that is not negative, not {amount}")
        if amount == 0 and path.startswith(("sizing.", "limits.")):
            raise ConfigError(where, f"{path}: must be above 0")
        most = _FEE_BPS_MAX if path.endswith("_fee_bps") else _AMOUNT_MAX
        if amount >= most:
            raise ConfigError(where, f"{path}: must be below {most}")


def zone_of(name: str) -> tzinfo:
    """The time zone called ``name``, as in ``Europe/Berlin``. Raises ``ValueError`` when it is not known here."""
    fixed = _FIXED_ZONES.get(name)
    if fixed is not None:
        return fixed
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, ZoneInfoNotFoundError) as error:
        raise ValueError(f"'{name}' is no time zone known on this machine") from error
