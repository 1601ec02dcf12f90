"""Makes what the desk shows of an instance out of its status: sentences, amounts and rows. Pure.

Each struct here is one section of the page. A section is sent to browsers only when it has changed, so what changes
often and what does not are in different sections.
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Literal

import msgspec

from arbshard.alerts.store import AlertRecord
from arbshard.config import Config
from arbshard.config.limits import LimitsConfig
from arbshard.model.funnel import EdgeFunnel
from arbshard.model.money import plain
from arbshard.model.notes import RECORDING
from arbshard.model.risk_note import (
    DifferenceNote,
    PortfolioTally,
    PositionNote,
    RiskNote,
    StrayNote,
    TradeNote,
)
from arbshard.status.limits import limit_uses
from arbshard.status.model import ShardStatus, Status, VenueStatus

DeskMode = Literal["SIMULATED", "PAPER", "DRY RUN", "LIVE", "RECORDING", ""]
Tone = Literal["good", "warn", "bad", ""]

_BARS = {
    "portfolio_notional_max": "Exposure",
    "portfolio_positions_max": "Open positions",
    "drawdown_max": "Drawdown",
    "daily_loss_max": "Loss today",
    "weekly_loss_max": "Loss this week",
    "naked_notional_max": "Naked exposure",
    "fx_exposure_max": "FX exposure",
}
"""The limits that are drawn as bars."""
_SCALED = frozenset({"portfolio_notional_max", "fx_exposure_max"})
"""The keys among them that a rule tightens."""
_NEAR = 0.8
"""From this share on a limit is near."""
_CURRENCIES_SHOWN = 60
_STEPS = (
    ("wanted", "netted enough at the touch"),
    ("sized", "were deep enough for an order"),
    ("decided", "met no rule against them"),
    ("approved", "were approved by risk"),
)


class HeadView(msgspec.Struct, frozen=True):
    """How an instance is, before everything else."""

    name: str
    sentence: str
    """Its health in one sentence."""
    tone: Tone
    mode: DeskMode
    """What an order costs: nothing (``SIMULATED``, ``PAPER``, ``DRY RUN``) or money (``LIVE``)."""
    orders: str
    """What becomes of orders, in words."""
    state: str
    halted: str
    problems: tuple[tuple[Tone, str], ...]
    """The halt first, and last what ends with the orders under way."""
    as_of: str
    currency: str


class LimitBar(msgspec.Struct, frozen=True):
    """How much of a limit is used. Amounts in reporting currency, or a count."""

    key: str
    label: str
    used: str
    limit: str
    share: float
    """The used share of the limit; above 1 when it is exceeded."""
    tone: Tone


class MoneyView(msgspec.Struct, frozen=True):
    """Results, equity and what limits them. Amounts are decimal text in the reporting currency."""

    run: PortfolioTally
    run_trade: str
    """The part of the run's result that prices have brought, before fees."""
    ledger: PortfolioTally
    ledger_trade: str
    equity: str
    realised: str
    unrealised: str
    high_water: str
    drawdown: str
    today: str
    """What equity has gained in the trading day; negative for a loss."""
    week: str
    naked: str
    account_value: str
    unpriced: tuple[str, ...]
    bars: tuple[LimitBar, ...]
    fx: str
    """The FX rate in one sentence."""
    fx_doubt: str


class VenueBalances(msgspec.Struct, frozen=True):
    """What is owned on one venue."""

    venue: str
    currencies: int
    rows: tuple[tuple[str, str, str], ...]
    """(currency, total, held for orders): money, coins that run out soon, then the first others by name."""
    runs_out: tuple[str, ...]


class FunnelStage(msgspec.Struct, frozen=True):
    """Holds how many evaluations came to one stage."""

    key: str
    label: str
    run: int
    """Since the workers began."""
    minute: int
    """Within the last minute."""
    mean_bps: float | None
    """Mean net edge of all of the run."""


class FunnelView(msgspec.Struct, frozen=True):
    """Holds how far edges came, and which rules stopped them."""

    stages: tuple[FunnelStage, ...]
    pairs: int
    free: int
    """Pairs that may be entered in both directions."""
    barred: tuple[tuple[str, int], ...]
    refused: tuple[tuple[str, int], ...]
    """By risk, the most frequent reason first."""


class WorkView(msgspec.Struct, frozen=True):
    """What is open and under way."""

    trades: tuple[TradeNote, ...]
    positions: tuple[PositionNote, ...]
    closed: tuple[PositionNote, ...]
    closing: dict[str, str]
    unknown: tuple[StrayNote, ...]
    strays: tuple[StrayNote, ...]
    differences: tuple[DifferenceNote, ...]


class EventsView(msgspec.Struct, frozen=True):
    """Holds what happened, the newest first, and what venues warn of."""

    kept: tuple[AlertRecord, ...]
    """Alerts that hold, and the newest of those that are over, as ``arbshard alerts`` lists them."""
    alerts: tuple[str, ...]
    """What the supervisor said lately."""
    warnings: tuple[str, ...]
    errors: int
    restarts: int


class FactsView(msgspec.Struct, frozen=True):
    """Holds figures of the processes."""

    up_s: float
    memory_mb: float
    messages: int
    p50_us: float
    p99_us: float
    approval_us: float
    commit_us: float
    risk_state: str
    ledger: str
    serial: int


class PlacesView(msgspec.Struct, frozen=True):
    """Holds venues and shards."""

    venues: tuple[VenueStatus, ...]
    shards: tuple[ShardStatus, ...]


NOTHING = HeadView(
    name="", sentence="", tone="warn", mode="", orders="", state="not running", halted="", problems=(), as_of="",
    currency="",
)  # fmt: skip


def absent(name: str, why: str = "") -> HeadView:
    """Return the head of an instance that shows nothing. ``why``: what else is known of it."""
    sentence = f"{name} is not running{f': {why}' if why else ''}"
    return msgspec.structs.replace(NOTHING, name=name, sentence=sentence)


def head_of(status: Status) -> HeadView:
    """Return the head of an instance that runs."""
    urgency = {status.halted: 0, **dict.fromkeys(status.passing, 2)}
    problems = sorted(status.problems, key=lambda line: urgency.get(line, 1))
    mode, orders = _mode(status)
    sentence, tone = _health(status)
    return HeadView(
        name=status.name,
        sentence=sentence,
        tone=tone,
        mode=mode,
        orders=orders,
        state=status.state,
        halted=status.halted,
        problems=tuple(("warn" if line in status.passing else "bad", line) for line in problems),
        as_of=status.as_of,
        currency=status.portfolio.currency,
    )


def _mode(status: Status) -> tuple[DeskMode, str]:
    where = "simulated exchanges" if status.data == "sim" else "real exchanges"
    if status.order_mode == RECORDING:
        return "RECORDING", "it records and sends no orders"
    if status.data == "sim":
        kind = {"live": "orders are sent to", "dry run": "no order is sent to"}.get(
            status.order_mode, "paper orders on"
        )
        return "SIMULATED", f"{kind} {where}"
    if status.order_mode == "live":
        return "LIVE", f"orders are sent to {where}"
    if status.order_mode == "dry run":
        return "DRY RUN", f"no order is sent to {where}"
    return "PAPER", "paper orders on real prices"


def _name(status: Status) -> str:
    """Return the name of the instance; of a cluster, with this host and the leader."""
    cluster = status.cluster
    if cluster is None:
        return status.name
    led = "which leads" if cluster.leader == cluster.host else f"led by host {cluster.leader}"
    return f"{status.name} (host {cluster.host}, {led if cluster.leader else 'no leader is known'})"


def _health(status: Status) -> tuple[str, Tone]:
    """Return the health in one sentence. The tone is that of the exit code of ``arbshard status``."""
    name, problems = _name(status), [one for one in status.problems if one not in status.passing]
    if status.state in ("ended", "dead"):
        return f"{name} has ended: {problems[0] if problems else 'nothing runs any more'}", "bad"
    if status.halted:
        others = len(problems) - 1
        more = f", and {_count(others, 'other problem')}" if others > 0 else ""
        return f"{name} is HALTED: it enters nothing{more}", "bad"
    if status.exit_code:
        what = "starts" if status.state == "starting" else "stops" if status.state == "draining" else ""
        if what:
            return f"{name} {what}", "warn"
        only_passing = not problems
        return (
            f"{name} runs with {_count(len(status.problems), 'problem')}"
            + (", which orders under way will end" if only_passing else ""),
            "warn" if only_passing else "bad",
        )
    if status.order_mode == RECORDING:
        return f"{name} records", "good"
    entries = status.risk.entries
    if entries.pairs and not entries.free:
        reason, count = _ranked(entries.barred)[0]
        return (
            f"{name} runs, and no pair may be entered now: {reason} bars {count} of {entries.pairs}",
            "good",
        )
    return f"{name} runs well: {entries.free} of {_count(entries.pairs, 'pair')} may be entered", "good"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def money_of(status: Status, note: RiskNote, config: Config) -> MoneyView:
    """Return results, equity and limits."""
    equity, fx = status.equity, status.fx
    rate = f"{fx.rate:,.2f} per {fx.quote}" if fx.rate else "no rate yet"
    premium = f"; coins imply {fx.premium_bps:+.0f} bps" if fx.premium_bps is not None else ""
    usual = f" (usually {fx.level_bps:+.0f})" if premium and fx.level_bps is not None else ""
    return MoneyView(
        run=status.portfolio,
        run_trade=status.portfolio.trade,
        ledger=status.lifetime,
        ledger_trade=status.lifetime.trade,
        equity=equity.equity,
        realised=equity.realised,
        unrealised=equity.unrealised,
        high_water=equity.high_water,
        drawdown=equity.drawdown,
        today=_negated(equity.day_loss),
        week=_negated(equity.week_loss),
        naked=equity.naked,
        account_value=equity.account_value,
        unpriced=equity.unpriced,
        bars=tuple(_bars(note, config.limits)),
        fx=f"{rate}{premium}{usual}",
        fx_doubt=fx.doubt,
    )


def _bars(note: RiskNote, limits: LimitsConfig) -> Iterator[LimitBar]:
    uses = limit_uses(note, limits)
    tight = note.tightened.get("")
    factor = Decimal(tight.factor) if tight is not None else Decimal(1)
    for key, label in _BARS.items():
        used, limit = uses[key]
        if key in _SCALED:
            limit *= factor
        share = float(used / limit) if limit else float(used > 0)
        tone: Tone = "bad" if share >= 1 else "warn" if share >= _NEAR else "good"
        yield LimitBar(key, label, plain(used), plain(limit), round(share, 4), tone)


def _negated(amount: str) -> str:
    return plain(0 - Decimal(amount))


def balances_of(status: Status, note: RiskNote) -> tuple[VenueBalances, ...]:
    """Return what is owned on each venue."""
    money = {"KRW": 0, "USDT": 1, status.fx.quote: 1}
    found = []
    for venue, balances in status.balances.items():
        runs_out = tuple(one.currency for one in note.runs_out if one.venue == venue)
        order = sorted(balances, key=lambda name: (money.get(name, 2), name not in runs_out, name))
        rows = tuple((name, balances[name].total, balances[name].held) for name in order[:_CURRENCIES_SHOWN])
        found.append(VenueBalances(venue, len(balances), rows, runs_out))
    return tuple(found)


def total_of(funnels: Iterable[EdgeFunnel]) -> EdgeFunnel:
    """Return the sum of the funnels of all pairs."""
    rows = [msgspec.structs.astuple(one) for one in funnels]
    return EdgeFunnel(*map(sum, zip(*rows, strict=True)))


def funnel_of(status: Status, now: EdgeFunnel, before: EdgeFunnel) -> FunnelView:
    """Return how far edges came: by ``now``, and since ``before``, which was counted a minute ago."""
    stages = tuple(
        FunnelStage(
            key,
            label,
            run=getattr(now, key),
            minute=max(0, getattr(now, key) - getattr(before, key)),
            mean_bps=round(getattr(now, f"{key}_bps") / getattr(now, key), 1) if getattr(now, key) else None,
        )
        for key, label in _STEPS
    )
    entries = status.risk.entries
    return FunnelView(
        stages, entries.pairs, entries.free, _ranked(entries.barred), _ranked(status.risk.refusals)
    )


def _ranked(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def work_of(status: Status, note: RiskNote) -> WorkView:
    """Return what is open and under way."""
    return WorkView(
        trades=note.trades,
        positions=tuple(sorted(status.positions, key=lambda one: one.opened_ms)),
        closed=note.closed,
        closing=note.closing,
        unknown=status.unknown,
        strays=status.strays,
        differences=status.differences,
    )


def events_of(status: Status, kept: Iterable[AlertRecord]) -> EventsView:
    """Return what happened."""
    return EventsView(
        tuple(kept), tuple(reversed(status.alerts)), status.warnings, status.errors, status.restarts
    )


def facts_of(status: Status) -> FactsView:
    """Return figures of the processes."""
    ledger = status.ledger
    return FactsView(
        up_s=round(status.uptime_s),
        memory_mb=round(status.memory_mb),
        messages=status.messages,
        p50_us=status.latency_us.p50,
        p99_us=status.latency_us.p99,
        approval_us=status.approval_us.p50,
        commit_us=status.risk.commit_us.p50,
        risk_state=status.risk.state,
        ledger=ledger.path if ledger is not None else "",
        serial=ledger.last_seq if ledger is not None else 0,
    )


def places_of(status: Status) -> PlacesView:
    """Return venues and shards."""
    return PlacesView(status.venues, status.shards)
