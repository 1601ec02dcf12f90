"""Holds what was found out about accounts and venues before trading. ``probing`` makes it, ``checks`` judges it."""

from decimal import Decimal

import msgspec

from arbshard.model.market import Pair
from arbshard.model.warning import MarketWarning, WalletWarning
from arbshard.venues.base.rules import Rates, ReportedLimit, Rights


class ProbeResult(msgspec.Struct, frozen=True):
    """Says whether something that was tried succeeded, and if not, why, in the other side's own text."""

    ok: bool
    why: str = ""
    may_pass: bool = False
    """Whether it failed because the other side could not be reached, or cannot answer now."""


class ReportedTick(msgspec.Struct, frozen=True):
    """Compares the tick of a market at a price, as the venue reports it and as we have it."""

    symbol: str
    price: Decimal
    reported: Decimal
    ours: Decimal


class VenueFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the facts of one venue. What could not be asked is None or empty, with the reason in ``why`` or
    ``missing``.
    """

    venue: str
    rest_url: str
    rest: ProbeResult
    """Whether its REST address answers."""
    public_stream: ProbeResult
    private_stream: ProbeResult
    ahead_ms: int | None = None
    """How far its clock is ahead of ours, in milliseconds."""
    ahead_off_ms: int = 0
    """Largest error of ``ahead_ms``, in milliseconds."""
    account: ProbeResult = ProbeResult(ok=False, why="not asked")
    """Whether it accepts the key and reports the balances."""
    free: dict[str, Decimal] = {}
    """Balances that orders may use."""
    rights: Rights = Rights()
    test_order: ProbeResult = ProbeResult(ok=False, why="not asked")
    """Whether it accepts a small order, rounded by our rules, that is checked and not executed."""
    rates: Rates | None = None
    limits: tuple[ReportedLimit, ...] = ()
    ticks: tuple[ReportedTick, ...] = ()
    warnings: tuple[MarketWarning | WalletWarning, ...] = ()
    """Its warnings about the markets and coins to be traded."""
    missing: tuple[str, ...] = ()
    """What it would not report, and why."""


class DoctorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the facts of both venues, the pairs to be traded, and what a base is worth."""

    venues: tuple[VenueFacts, ...]
    pairs: tuple[Pair, ...]
    prices: dict[str, Decimal]
    """Home quote per base, by base, where the book could be read."""
    fx: Decimal | None
    """Home quote per away quote; None when the book could not be read."""
