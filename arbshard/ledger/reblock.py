"""Recomputes which pairs could not be entered, from the events alone, for ``rebook`` to compare. The code is pure.

Blocks are what venues and ledger did not agree on, the pairs that were set apart, and the venues and markets that
refused orders.
"""

from collections.abc import Callable

from arbshard.ledger.events import (
    AccountOpened,
    DifferenceFound,
    DifferenceResolved,
    PairReleased,
    PairSetApart,
    ReconciliationEvent,
    StrayFound,
    StrayGone,
    VenueStateChanged,
)
from arbshard.model.intent import Intent


class Blocks:
    """Holds what blocks entries, as the events state it."""

    def __init__(self, differ: Callable[[str], None]) -> None:
        self._differ = differ
        self._differences: set[tuple[str, str]] = set()
        self._strays: dict[tuple[str, str], str] = {}
        self._apart: set[str] = set()
        self._refusing: set[tuple[str, str]] = set()

    def resume(
        self,
        differences: tuple[tuple[str, str], ...],
        strays: tuple[tuple[str, str, str], ...],
        apart: tuple[str, ...],
        refusing: tuple[tuple[str, str], ...],
    ) -> None:
        """Begin with what ``carry`` returned at the end of the period before."""
        self._differences = set(differences)
        self._strays = {(venue, client_id): pair for venue, client_id, pair in strays}
        self._apart = set(apart)
        self._refusing = set(refusing)

    def carry(self) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str, str], ...], tuple[str, ...]]:
        """Return (venue, currency) of differences, (venue, client id, pair) of strays, and pairs set apart; all
        sorted.
        """
        strays = ((*order, pair) for order, pair in self._strays.items())
        return tuple(sorted(self._differences)), tuple(sorted(strays)), tuple(sorted(self._apart))

    def add(self, seq: int, event: ReconciliationEvent) -> None:
        """Apply the next event."""
        match event:
            case AccountOpened():
                self._differences = {one for one in self._differences if one[0] != event.venue}
                self._strays = {one: pair for one, pair in self._strays.items() if one[0] != event.venue}
            case DifferenceFound():
                if event.stated == event.booked:
                    self._differ(f"event {seq}: {event.venue} {event.currency} differs by nothing")
                self._differences.add((event.venue, event.currency))
            case DifferenceResolved():
                if (event.venue, event.currency) not in self._differences:
                    self._differ(f"event {seq}: {event.venue} {event.currency} did not differ")
                self._differences.discard((event.venue, event.currency))
            case StrayFound():
                self._strays[event.venue, event.client_id] = event.pair
            case StrayGone():
                if self._strays.pop((event.venue, event.client_id), None) is None:
                    self._differ(f"event {seq}: {event.client_id} was not astray at {event.venue}")

    def bar(self, seq: int, event: PairSetApart | PairReleased | VenueStateChanged) -> None:
        """Apply an event by which a pair is set apart or released, or a venue or market refuses orders or accepts
        them again.
        """
        match event:
            case PairSetApart():
                self._apart.add(event.pair)
            case PairReleased():
                if event.pair not in self._apart:
                    self._differ(f"event {seq}: {event.pair} was released though it was not set apart")
                self._apart.discard(event.pair)
            case VenueStateChanged(state="refuses"):
                self._refusing.add((event.venue, event.symbol))
            case VenueStateChanged():
                self._refusing.discard((event.venue, event.symbol))

    @property
    def refusing(self) -> tuple[tuple[str, str], ...]:
        """Return the (venue, symbol) of each venue or market that refused orders, sorted; an empty symbol means the
        venue.
        """
        return tuple(sorted(self._refusing))

    def block_of(self, intent: Intent) -> str | None:
        """Return why the pair of ``intent`` may not be entered, as the end of a sentence; None when it may."""
        if intent.pair in self._apart:
            return f"{intent.pair} was set apart"
        for market in (intent.home.market, intent.away.market):
            for symbol in ("", market.symbol):
                if (market.venue, symbol) in self._refusing:
                    return f"{symbol or 'the venue'} refused orders at {market.venue}"
            for currency in (market.base, market.quote):
                if (market.venue, currency) in self._differences:
                    return f"{market.venue} {currency} was not reconciled"
        for (venue, client_id), pair in self._strays.items():
            if pair == intent.pair:
                return f"{client_id} was astray at {venue}"
        return None
