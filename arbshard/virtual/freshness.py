"""Tracks when each market last received a frame, and whether a connection that carried one is still open. Pure.

A book that does not change sends no frame. Exits and fills may use it for ``quiet_confirm_s`` after its last frame
while a connection that carries it shows signs of life; the virtual exchanges have no REST that could confirm it.
"""

from arbshard.config import DataConfig
from arbshard.model.market import Leg
from arbshard.model.universe import Universe

_GRACE_NS = 1_000_000
"""Tolerance in ns: events of the same instant may be seen in either order."""


class Freshness:
    """Knows which books are fresh. Connections report to it, and every decision and fill queries it."""

    def __init__(self, quality: DataConfig, universe: Universe) -> None:
        self._book_ns_max = int(quality.max_book_age_ms * 1e6)
        self._fx_ns_max = int(quality.max_fx_age_ms * 1e6)
        self._quiet_ns_max = int(quality.quiet_confirm_s * 1e9)
        self._fx = universe.fx
        self.legs: dict[str, Leg] = {leg.market.symbol: leg for leg in universe.legs()}
        self.received_ns: dict[str, int] = dict.fromkeys(self.legs, 0)
        self._carriers: dict[str, dict[int, None]] = {symbol: {} for symbol in self.legs}
        """Open connections that have carried a frame of a market, by its symbol."""
        self._heard_ns: dict[int, int] = {}
        """When each open connection last carried anything (monotonic), by its number."""
        self._lost_ns: dict[str, int] = dict.fromkeys(self.legs, 0)

    def received(self, symbol: str, connection: int, now_ns: int) -> None:
        """Note that a connection has carried a frame of ``symbol``."""
        self._heard_ns[connection] = now_ns
        if symbol in self.received_ns:
            self.received_ns[symbol] = now_ns
            self._carriers[symbol][connection] = None

    def answered(self, connection: int, now_ns: int) -> None:
        """Note that a connection has carried the response to a ping."""
        self._heard_ns[connection] = now_ns

    def lost(self, connection: int, now_ns: int) -> None:
        """Note that a connection has ended and that its client knows it."""
        self._heard_ns.pop(connection, None)
        for symbol, carriers in self._carriers.items():
            if connection in carriers:
                del carriers[connection]
                if not carriers:
                    self._lost_ns[symbol] = now_ns

    def is_live(self, symbol: str) -> bool:
        """Return whether an open connection carries the market."""
        return bool(self._carriers[symbol])

    def objection(self, leg: Leg, now_ns: int, *, is_entry: bool) -> str | None:
        """Return why a book may not be traded on; None if it may."""
        return self._objection(leg.market.symbol, now_ns, self._book_ns_max, is_entry)

    def fx_objection(self, now_ns: int, *, is_entry: bool) -> str | None:
        """Return why the FX rate may not be used; None if it may."""
        return self._objection(self._fx.market.symbol, now_ns, self._fx_ns_max, is_entry)

    def _objection(self, symbol: str, now_ns: int, age_ns_max: int, is_entry: bool) -> str | None:
        age_ns = now_ns - self.received_ns[symbol]
        is_quiet = not is_entry and self._is_confirmed(symbol, now_ns, age_ns, age_ns_max)
        if age_ns > age_ns_max + _GRACE_NS and not is_quiet:
            return f"the last frame of {symbol} came {age_ns / 1e6:.0f} ms ago"
        if not self._carriers[symbol] and now_ns - self._lost_ns[symbol] > _GRACE_NS:
            return f"the connection of {symbol} is down for {(now_ns - self._lost_ns[symbol]) / 1e6:.0f} ms"
        return None

    def _is_confirmed(self, symbol: str, now_ns: int, age_ns: int, age_ns_max: int) -> bool:
        """Return whether a quiet book is still valid, by what its connections have brought of other markets."""
        heard_ns = max((self._heard_ns.get(one, 0) for one in self._carriers[symbol]), default=0)
        return age_ns <= self._quiet_ns_max + _GRACE_NS and now_ns - heard_ns <= age_ns_max + _GRACE_NS
