"""What was under way at a venue when it said what we own: whether its word can be compared with the ledger. Pure.

Memory of the process; owned by ``reconciler``. A venue's balance is of the instant it was read, the ledger's of now:
they can be compared when no order that could move the currency was open then, is open now, or ended in between. An
intent is concluded only when all its orders are final and their fills booked, so it is enough to look at intents.
"""

from collections.abc import Callable, Iterable

from arbshard.model.market import Pair
from arbshard.risk.portfolio.holdings import Account, Trade
from arbshard.venues.registry import ADAPTERS

FEE_COINS: frozenset[Account] = frozenset(
    (name, coin) for name, adapter in ADAPTERS.items() for coin in adapter.rules.fee_coins
)
"""Coins in which a venue may take its fee whatever is traded."""


class Activity:
    """Which accounts orders have moved lately."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._traded: frozenset[Account] = frozenset()
        self.set_pairs(pairs)
        self._ended_ns: dict[Account, int] = {}
        self._venue_ended_ns: dict[str, int] = {}
        self._began_ns = 0

    def set_pairs(self, pairs: Iterable[Pair]) -> None:
        """These are traded now."""
        legs = [leg.market for pair in pairs for leg in (pair.home, pair.away)]
        self._traded = frozenset(
            (market.venue, currency) for market in legs for currency in (market.base, market.quote)
        )

    def begin(self, now_ns: int) -> None:
        """A session begins; what ended before it is not remembered."""
        self._began_ns = now_ns

    def ended(self, trade: Trade, now_ns: int) -> None:
        """The intent of ``trade`` is concluded."""
        for order in (trade.intent.home, trade.intent.away):
            market = order.market
            self._venue_ended_ns[market.venue] = now_ns
            for currency in (market.base, market.quote):
                self._ended_ns[market.venue, currency] = now_ns

    def is_before_session(self, at_ns: int) -> bool:
        """Whether ``at_ns`` lies before this session, so that what was under way then is not known."""
        return at_ns <= self._began_ns

    def has_ended_since(self, account: Account, at_ns: int) -> bool:
        """Whether an intent that trades ``account`` was concluded at ``at_ns`` or later."""
        return self._ended_ns.get(account, 0) >= at_ns

    def quiet(self, venue: str, at_ns: int, trades: Iterable[Trade]) -> Callable[[str], bool]:
        """Tells of a currency whether nothing has moved it between ``at_ns`` and now. ``trades``: all open ones."""
        markets = [order.market for trade in trades for order in (trade.intent.home, trade.intent.away)]
        busy = {currency for one in markets if one.venue == venue for currency in (one.base, one.quote)}
        is_idle = not busy and self._venue_ended_ns.get(venue, 0) < at_ns

        def is_quiet(currency: str) -> bool:
            account = venue, currency
            if account in FEE_COINS or account not in self._traded:  # any order may pay its fee in it
                return is_idle
            return currency not in busy and not self.has_ended_since(account, at_ns)

        return is_quiet
