"""When each market last truly got a frame, and whether a connection that brought one is still up. Pure."""

from arbshard.config import DataConfig
from arbshard.model.market import Leg
from arbshard.model.universe import Universe

_GRACE_NS = 1_000_000
"""What happens at the same instant may be seen in either order."""


class Freshness:
    """Told by the connections; asked at every decision and fill."""

    def __init__(self, quality: DataConfig, universe: Universe) -> None:
        self._book_ns_max = int(quality.max_book_age_ms * 1e6)
        self._fx_ns_max = int(quality.max_fx_age_ms * 1e6)
        self._fx = universe.fx
        self.legs: dict[str, Leg] = {leg.market.symbol: leg for leg in universe.legs()}
        self.received_ns: dict[str, int] = dict.fromkeys(self.legs, 0)
        self._carriers: dict[str, dict[int, None]] = {symbol: {} for symbol in self.legs}
        """Open connections that have brought a frame of a market."""
        self._lost_ns: dict[str, int] = dict.fromkeys(self.legs, 0)

    def received(self, symbol: str, connection: int, now_ns: int) -> None:
        """A frame of ``symbol`` came."""
        if symbol in self.received_ns:
            self.received_ns[symbol] = now_ns
            self._carriers[symbol][connection] = None

    def lost(self, connection: int, now_ns: int) -> None:
        """A connection is over, and its client knows."""
        for symbol, carriers in self._carriers.items():
            if connection in carriers:
                del carriers[connection]
                if not carriers:
                    self._lost_ns[symbol] = now_ns

    def is_live(self, symbol: str) -> bool:
        """Whether a connection is up that brings it."""
        return bool(self._carriers[symbol])

    def objection(self, leg: Leg, now_ns: int) -> str | None:
        """Why a book may not be traded on."""
        return self._objection(leg.market.symbol, now_ns, self._book_ns_max)

    def fx_objection(self, now_ns: int) -> str | None:
        """Why the FX rate may not be used."""
        return self._objection(self._fx.market.symbol, now_ns, self._fx_ns_max)

    def _objection(self, symbol: str, now_ns: int, age_ns_max: int) -> str | None:
        age_ns = now_ns - self.received_ns[symbol]
        if age_ns > age_ns_max + _GRACE_NS:
            return f"the last frame of {symbol} came {age_ns / 1e6:.0f} ms ago"
        if not self._carriers[symbol] and now_ns - self._lost_ns[symbol] > _GRACE_NS:
            return f"the connection of {symbol} is down for {(now_ns - self._lost_ns[symbol]) / 1e6:.0f} ms"
        return None
