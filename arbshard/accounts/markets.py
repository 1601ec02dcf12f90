"""The markets of a run by venue and symbol, kept up with the universe as pairs come. Used by ``main``.

What has gone stays known: the venues may still have something to say of its orders.
"""

from arbshard.errors import SharedMemoryError
from arbshard.log import get_logger
from arbshard.model.market import Market
from arbshard.model.universe import Universe
from arbshard.shm.universe import UniverseFile


class MarketTables:
    """Tables that are added to in place: whoever was given one sees what comes."""

    def __init__(self, source: UniverseFile) -> None:
        """Raises ``SharedMemoryError``."""
        self._source = source
        self._serial = -1
        self._tables: dict[str, dict[str, Market]] = {}
        self._take(source.load())

    def of(self, venue: str) -> dict[str, Market]:
        """Those of ``venue`` by symbol."""
        return self._tables.setdefault(venue, {})

    def follow(self) -> None:
        """Look whether pairs have come."""
        if self._source.serial <= self._serial:
            return
        try:
            self._take(self._source.load())
        except SharedMemoryError as error:
            get_logger().error("the universe cannot be read", error=str(error))  # and is tried again

    def _take(self, universe: Universe) -> None:
        self._serial = universe.serial
        for leg in universe.legs():
            self.of(leg.market.venue)[leg.market.symbol] = leg.market
