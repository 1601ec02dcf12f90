"""What venues and ledger did not agree on, a second time: from the events alone, for ``rebook`` to compare. Pure."""

from collections.abc import Callable

from arbshard.ledger.events import (
    AccountOpened,
    DifferenceFound,
    DifferenceResolved,
    ReconciliationEvent,
    StrayFound,
    StrayGone,
)
from arbshard.model.intent import Intent


class Blocks:
    """What venues and ledger do not agree on, as the events have it."""

    def __init__(self, differ: Callable[[str], None]) -> None:
        self._differ = differ
        self._differences: set[tuple[str, str]] = set()
        self._strays: dict[tuple[str, str], str] = {}

    def resume(
        self, differences: tuple[tuple[str, str], ...], strays: tuple[tuple[str, str, str], ...]
    ) -> None:
        """Begin with what ``carry`` gave at the end of the period before."""
        self._differences = set(differences)
        self._strays = {(venue, client_id): pair for venue, client_id, pair in strays}

    def carry(self) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str, str], ...]]:
        """(venue, currency) of differences, and (venue, client id, pair) of strays, both sorted."""
        strays = ((*order, pair) for order, pair in self._strays.items())
        return tuple(sorted(self._differences)), tuple(sorted(strays))

    def add(self, seq: int, event: ReconciliationEvent) -> None:
        """The next event."""
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

    def block_of(self, intent: Intent) -> str | None:
        """Why nothing of its pair may be entered, as the end of a sentence."""
        for market in (intent.home.market, intent.away.market):
            for currency in (market.base, market.quote):
                if (market.venue, currency) in self._differences:
                    return f"{market.venue} {currency} was not reconciled"
        for (venue, client_id), pair in self._strays.items():
            if pair == intent.pair:
                return f"{client_id} was astray at {venue}"
        return None
