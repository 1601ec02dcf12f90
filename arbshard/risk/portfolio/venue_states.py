"""Holds whether venues and markets accept orders, and where the venues' accounts were short. It survives restarts.
Pure.

It is a part of ``state.PortfolioState``. ``risk.venue_facts`` decides on the events.
"""

from collections.abc import Container, Iterable, Mapping

import msgspec

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import OrderReported, VenueStateChanged
from arbshard.model.market import Market, Pair
from arbshard.model.order import Order, OrderFault
from arbshard.risk.portfolio.holdings import Account, Part

VenueSymbol = tuple[str, str]
"""(venue, symbol) of a market; with an empty symbol the venue as a whole."""
_SHORTAGES_KEPT = 200


def place_of(market: Market) -> VenueSymbol:
    """Return the key of a market."""
    return market.venue, market.symbol


class VenueRefusal(msgspec.Struct, frozen=True):
    """States that a venue, or one of its markets, accepts no orders of ours."""

    venue: str
    symbol: str
    """The market; empty: the venue as a whole."""
    why: str
    since_ms: int
    fault: OrderFault
    in_a_row: int = 1
    """How often it began to refuse since it last accepted an order: the pause before the next try grows with it."""

    @property
    def place(self) -> VenueSymbol:
        """Return the key of what refuses."""
        return self.venue, self.symbol

    @property
    def where(self) -> str:
        """Return the market or venue, for people."""
        return f"{self.venue} {self.symbol}" if self.symbol else self.venue


class FundsShortage(msgspec.Struct, frozen=True):
    """Counts orders that a venue refused because its account had too little of a currency."""

    count: int
    since_ms: int
    last_ms: int
    detail: str
    """What the venue answered last."""


class VenueStates(Part):
    """Holds what is known of each venue and each market. What is in no table is unknown."""

    takes: dict[VenueSymbol, int] = msgspec.field(default_factory=dict)
    """Since when each accepts orders (wall ms), known from the orders that it accepted in this run."""
    refuses: dict[VenueSymbol, VenueRefusal] = msgspec.field(default_factory=dict)
    in_a_row: dict[VenueSymbol, int] = msgspec.field(default_factory=dict)
    """How often each began to refuse since it last accepted an order."""
    short: dict[Account, FundsShortage] = msgspec.field(default_factory=dict)
    """Shortages by (venue, currency), until the venue accepts an order that spends this currency."""

    def refusal(self, pair: Pair) -> VenueRefusal | None:
        """Return why one of the pair's venues or markets accepts no orders; None if nothing is known against them."""
        for market in (pair.home.market, pair.away.market):
            found = self.refuses.get((market.venue, "")) or self.refuses.get(place_of(market))
            if found is not None:
                return found
        return None

    def apply(self, event: VenueStateChanged) -> None:
        """Apply an event. Raises ``LedgerDamaged`` when it contradicts the state."""
        place = event.venue, event.symbol
        put, drop = self._journal.set_item, self._journal.drop
        known = self.refuses.get(place)
        if event.state != "refuses":
            if known is None:
                raise LedgerDamaged(f"{event.venue} {event.symbol} did not refuse orders")
            drop(self.refuses, place)
            return
        if not event.fault:
            raise LedgerDamaged(f"{event.venue} {event.symbol} refuses orders for no fault")
        begins = known is None
        in_a_row = self.in_a_row.get(place, 0) + int(begins)
        since_ms = event.at_ms if known is None else known.since_ms
        put(self.in_a_row, place, in_a_row)
        refusal = VenueRefusal(event.venue, event.symbol, event.why, since_ms, event.fault, in_a_row)
        put(self.refuses, place, refusal)
        if place in self.takes:
            drop(self.takes, place)

    def begin_run(self) -> None:
        """Begin a new run: whether the places that accepted orders in the last one still do is unknown."""
        self._journal.keep_fields(self)
        self.takes = {}

    def record(self, event: OrderReported, order: Order) -> None:
        """Apply a report: an order that was accepted, or one that was refused because the account had too little."""
        market = order.market
        account = market.venue, market.quote if order.side == "buy" else market.base
        put, drop = self._journal.set_item, self._journal.drop
        if event.fault == "funds":
            known = self.short.get(account)
            count, since_ms = (known.count, known.since_ms) if known is not None else (0, event.at_ms)
            put(self.short, account, FundsShortage(count + 1, since_ms, event.at_ms, event.detail))
            if len(self.short) > _SHORTAGES_KEPT:
                self._journal.drop_oldest(self.short)
        elif is_taken(event):
            for place in ((market.venue, ""), place_of(market)):
                if place not in self.takes:
                    put(self.takes, place, event.at_ms)
                if place in self.in_a_row:
                    drop(self.in_a_row, place)
            if account in self.short:
                drop(self.short, account)


def unclosable(
    pairs: Mapping[str, Pair],
    open_bases: Iterable[str],
    busy: Container[str],
    venues: VenueStates,
    lost_feeds: Container[str],
) -> dict[str, str]:
    """Return why open pairs of the run cannot be closed on both venues now, by base, as the end of a sentence.

    ``busy``: pairs with an intent under way. ``lost_feeds``: venues from which no books come.
    """
    found: dict[str, str] = {}
    for base in sorted(open_bases):
        pair = pairs.get(base)
        if pair is None:
            continue
        lost = [leg.market.venue for leg in (pair.home, pair.away) if leg.market.venue in lost_feeds]
        refusal = venues.refusal(pair)
        if lost:
            why = f"{' and '.join(lost)} {'is' if len(lost) == 1 else 'are'} down"
        elif refusal is not None:
            why = f"{refusal.where} takes no orders ({refusal.why})"
        else:
            continue
        found[base] = f"{why}; {'an intent is under way' if base in busy else 'hedged'}"
    return found


def is_taken(event: OrderReported) -> bool:
    """Return whether the venue has accepted the order, filled or not."""
    return event.fault == "" and event.state in {"ACCEPTED", "PARTIAL", "FILLED", "CANCELED", "EXPIRED"}
