"""What was found out about accounts and venues before trading. Made by ``probing``, judged by ``checks``."""

from decimal import Decimal

import msgspec

from arbshard.model.market import Pair
from arbshard.model.warning import MarketWarning, WalletWarning
from arbshard.venues.base.rules import Rates, Rights, ToldLimit


class ProbeResult(msgspec.Struct, frozen=True):
    """Something tried: whether it went well, else the other side's own words."""

    ok: bool
    why: str = ""


class ToldTick(msgspec.Struct, frozen=True):
    """The tick of a market at a price, as the venue tells it and as we have it."""

    symbol: str
    price: Decimal
    told: Decimal
    ours: Decimal


class VenueFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One venue. What could not be asked is None or empty, and ``why`` of what was tried says it."""

    venue: str
    rest_url: str
    rest: ProbeResult
    """Its REST address answers."""
    public_stream: ProbeResult
    private_stream: ProbeResult
    ahead_ms: int | None = None
    """How far its clock is ahead of ours."""
    ahead_off_ms: int = 0
    """How far that may be off."""
    account: ProbeResult = ProbeResult(ok=False, why="not asked")
    """It accepts the key and tells the balances."""
    free: dict[str, Decimal] = {}
    """Balances that orders may use."""
    rights: Rights = Rights()
    test_order: ProbeResult = ProbeResult(ok=False, why="not asked")
    """It takes a small order, rounded by our rules, that is checked and not carried out."""
    rates: Rates | None = None
    limits: tuple[ToldLimit, ...] = ()
    ticks: tuple[ToldTick, ...] = ()
    warnings: tuple[MarketWarning | WalletWarning, ...] = ()
    """What it warns of for the markets and coins to be traded."""
    missing: tuple[str, ...] = ()
    """What it would not tell, and why."""


class DoctorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Both venues, the pairs to be traded, and what a base is worth."""

    venues: tuple[VenueFacts, ...]
    pairs: tuple[Pair, ...]
    prices: dict[str, Decimal]
    """Home quote per base, by base; of those whose book could be read."""
    fx: Decimal | None
    """Home quote per away quote."""
