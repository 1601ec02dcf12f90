"""Keeps the markets of a run by venue and symbol, and adds those of new pairs. ``main`` uses it.

A market that was removed stays known, because the venues may still report its orders.
"""

from arbshard.errors import SharedMemoryError
from arbshard.log import get_logger
from arbshard.model.market import Market
from arbshard.model.universe import Universe
from arbshard.shm.universe import UniverseFile


class MarketTables:
    """Holds tables that are extended in place: their users see new markets."""

    def __init__(self, source: UniverseFile) -> None:
        """Read the universe. Raises ``SharedMemoryError``."""
        self._source = source
        self._serial = -1
        self._tables: dict[str, dict[str, Market]] = {}
        self._take(source.load())

    def of(self, venue: str) -> dict[str, Market]:
        """Return the markets of ``venue`` by symbol."""
        return self._tables.setdefault(venue, {})

    def follow(self) -> None:
        """Add the markets of pairs that have come."""
        if self._source.serial <= self._serial:
            return
        try:
            self._take(self._source.load())
        except SharedMemoryError as error:
            get_logger().error("the universe cannot be read", error=str(error))  # the next call tries again

    def _take(self, universe: Universe) -> None:
        self._serial = universe.serial
        for leg in universe.legs():
            self.of(leg.market.venue)[leg.market.symbol] = leg.market
