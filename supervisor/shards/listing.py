"""Reads the venues' listings again while the run goes on: what has changed for the pairs that are traded.

``compare`` is pure. ``ListingWatch`` belongs to ``manager``: it decides when to read, and puts what has changed in
force as a new universe. Risk asks for a reading by a counter on its page, when one may explain a refusal.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.data.listings import Listings, said_of
from arbshard.errors import ArbshardError
from arbshard.log import get_logger
from arbshard.model.market import Leg, MarketRules, Pair, TickBand
from arbshard.model.money import ZERO, plain
from arbshard.model.universe import NOT_LISTED, Universe
from arbshard.model.warning import CoinName, MarketWarning
from supervisor.preflight import ReadListings
from supervisor.shards.assignments import Assignments, ChangeFailed

_READ_S = 30.0
_PAUSE_NS = 2_000_000_000
_PAUSE_NS_MAX = 60_000_000_000
"""Longest pause in ns between readings that risk asks for: twice as long each time, until there was no need for so
long.
"""
_NEAR = (Decimal("0.98"), Decimal("1.02"))
"""Shares of the price at which a tick is compared: it is that of the present price, and the book is a little older
or newer.
"""

PriceOf = Callable[[Leg], Decimal | None]


class ListingNews(NamedTuple):
    """Says what a listing changes."""

    pairs: tuple[Pair, ...]
    """Pairs whose rules have changed."""
    fx: Leg
    stopped: tuple[tuple[str, str, str], ...]
    """(venue, symbol, why) of markets that are not listed as trading."""
    warnings: tuple[MarketWarning, ...]
    coin_names: tuple[CoinName, ...]
    lines: tuple[str, ...]
    """What has changed, for people."""


def compare(universe: Universe, listings: Listings, price_of: PriceOf) -> ListingNews:
    """Return what ``listings`` change for the pairs of ``universe``. ``price_of``: price in the newest book of a
    leg.
    """
    lines: list[str] = []
    stopped: dict[tuple[str, str], str] = {}

    def revised(leg: Leg) -> Leg:
        market = leg.market
        listed = listings.markets.get(market.venue, {}).get(market.symbol)
        if listed is None or not listed.tradable:
            why = NOT_LISTED if listed is None else listed.note or "it accepts no orders"
            stopped[market.venue, market.symbol] = why
            return leg
        tick = listings.ticks.get(market.venue, {}).get(market.symbol)
        rules = _with_tick(listed.rules, tick, price_of(leg))
        if rules is None or rules == leg.rules:
            return leg
        lines.append(f"{market}: {_changes(leg.rules, rules, price_of(leg))}")
        return replace(leg, rules=rules)

    fx = revised(universe.fx)
    pairs = [replace(pair, home=revised(pair.home), away=revised(pair.away)) for pair in universe.pairs]
    changed = tuple(new for old, new in zip(universe.pairs, pairs, strict=True) if new != old)
    before = {(venue, symbol): why for venue, symbol, why in universe.stopped}
    lines += [
        f"{':'.join(place)} has stopped trading ({stopped[place]}): nothing is entered there"
        for place in sorted(stopped.keys() - before.keys())
    ]
    lines += [
        f"{':'.join(place)} is listed as trading again" for place in sorted(before.keys() - stopped.keys())
    ]
    warnings, coin_names = said_of(universe.legs(), listings.markets)
    lines += _warning_lines(universe.warnings, warnings)
    stops = tuple((*place, why) for place, why in sorted(stopped.items()))
    return ListingNews(changed, fx, stops, warnings, coin_names, tuple(lines))


def _warning_lines(before: Sequence[MarketWarning], now: Sequence[MarketWarning]) -> Iterator[str]:
    """Yield which warnings have come and gone, for people."""
    for warning in now:
        if warning not in before:
            yield f"{warning.venue}:{warning.symbol}: the venue warns of it: {warning}"
    for warning in before:
        if warning not in now:
            yield f"{warning.venue}:{warning.symbol}: the venue no longer warns of it: {warning}"


def _with_tick(rules: MarketRules, tick: Decimal | None, price: Decimal | None) -> MarketRules | None:
    """Return the rules with the tick that the venue states for the present price; None if that cannot be compared."""
    if tick is None:
        return rules
    if price is None:
        return None
    if any(rules.tick_at(price * share) == tick for share in (Decimal(1), *_NEAR)):
        return rules
    return replace(rules, ticks=(TickBand(ZERO, tick),))


def _changes(before: MarketRules, after: MarketRules, price: Decimal | None) -> str:
    found = []
    if before.ticks != after.ticks:
        at = price if price is not None else ZERO
        found.append(("tick", before.tick_at(at), after.tick_at(at)))
    for name, was, now in (
        ("lot", before.lot, after.lot),
        ("smallest quantity", before.quantity_min, after.quantity_min),
        ("largest quantity", before.quantity_max, after.quantity_max),
        ("smallest order", before.notional_min, after.notional_min),
        ("largest order", before.notional_max, after.notional_max),
    ):
        if was != now:
            found.append((name, was, now))
    return ", ".join(f"{name} {plain(was)} is now {plain(now)}" for name, was, now in found)


class ListingWatch:
    """Asks for the listings again. Call ``step`` at each tick of the supervisor; ``close`` it in the same loop."""

    def __init__(
        self,
        config: Config,
        read: ReadListings,
        assignments: Assignments,
        price_of: PriceOf,
        clock: Clock,
        alert: Callable[[str], None],
    ) -> None:
        self._config = config
        self._read = read
        self._assignments = assignments
        self._price_of = price_of
        self._clock = clock
        self._alert = alert
        self._every_ns = int(config.venues.listing_every_s * 1e9)
        self._due_ns = 0
        self._asked_ns = 0
        self._pause_ns = _PAUSE_NS
        self._wanted = 0
        self._has_wish = False
        self._is_for_risk = False
        """Whether risk has asked for the reading under way: it waits for the reading's time, whatever is in it."""
        self._reading: asyncio.Task[Listings] | None = None
        self._began_ms = 0
        self._failures = 0

    def step(self, now_ns: int, wanted: int) -> None:
        """Begin a reading that is due, or use one that has come. ``wanted``: the counter on risk's page."""
        if not self._every_ns:
            return
        if self._reading is not None:
            if self._reading.done() and self._assignments.can_revise:
                reading, self._reading = self._reading, None
                self._use(reading)
            return
        if not self._due_ns:  # the listing that was read at the start is new
            self._due_ns, self._wanted = now_ns + self._every_ns, wanted
        if wanted != self._wanted:
            self._wanted, self._has_wish = wanted, True
        is_wish_due = self._has_wish and now_ns - self._asked_ns >= self._pause_ns
        if not is_wish_due and now_ns < self._due_ns:
            return
        if is_wish_due:
            rested = now_ns - self._asked_ns >= _PAUSE_NS_MAX
            self._pause_ns = _PAUSE_NS if rested else min(2 * self._pause_ns, _PAUSE_NS_MAX)
            self._asked_ns = now_ns
        self._is_for_risk, self._has_wish = self._has_wish, False
        self._due_ns = now_ns + self._every_ns
        self._began_ms = self._clock.wall_ms()
        self._reading = asyncio.get_running_loop().create_task(
            self._read(self._config, _symbols(self._assignments.universe), _READ_S)
        )

    def close(self) -> None:
        """Cancel a reading that is under way."""
        if self._reading is not None:
            self._reading.cancel()

    def _use(self, reading: asyncio.Task[Listings]) -> None:
        if reading.cancelled():
            return
        error = reading.exception()
        if error is not None:
            self._failures += 1
            self._has_wish |= self._is_for_risk
            if not isinstance(error, ArbshardError):
                get_logger().error("reading the listings ended in a defect", exc_info=error)
            if self._failures == 1:
                self._alert(f"the listings cannot be read again, the rules stay as they are: {error}")
            return
        self._failures = 0
        before = self._assignments.universe
        news = compare(before, reading.result(), self._price_of)
        is_changed = bool(news.pairs) or (news.fx, news.stopped, news.warnings, news.coin_names) != (
            before.fx,
            before.stopped,
            before.warnings,
            before.coin_names,
        )
        if not is_changed and not self._is_for_risk:
            return
        try:
            self._assignments.publish(
                before.with_listing(
                    news.pairs, news.fx, news.stopped, self._began_ms, news.warnings, news.coin_names
                )
            )
        except ChangeFailed as failed:
            self._alert(f"the venues' new listing cannot be put in force: {failed}")
            return
        for line in news.lines:
            self._alert(line)


def _symbols(universe: Universe) -> Mapping[str, list[str]]:
    """Return the symbols of the run by venue."""
    found: dict[str, dict[str, None]] = {}
    legs: Iterable[Leg] = universe.legs()
    for leg in legs:
        found.setdefault(leg.market.venue, {})[leg.market.symbol] = None
    return {venue: list(symbols) for venue, symbols in found.items()}
