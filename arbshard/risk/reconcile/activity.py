"""Computes what orders may have moved between the moment a venue read a balance and now. Pure; ``reconciler`` owns
it.

A statement is of the instant at which the venue read the balances, the ledger's figure is the present one. Two
things are between them:

- what is booked since: a statement that was read before may or may not show it;
- what orders that have not ended may have done and no process has reported yet: at most what is held for them (and,
  for a buy, the part of a fee that is above the configured one), and what that buys or brings.

Both are bounded, so a currency under way is compared with an interval, and nothing else needs to wait. What is known
here is lost with the process: statements from before a session are not compared.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from arbshard.model.market import Pair
from arbshard.model.money import ZERO
from arbshard.model.order import Fill
from arbshard.risk.portfolio.holdings import Account, Balances, Trade
from arbshard.venues.registry import ADAPTERS

FEE_COINS: frozenset[Account] = frozenset(
    (name, coin) for name, adapter in ADAPTERS.items() for coin in adapter.rules.fee_coins
)
"""Coins in which a venue may charge its fee whatever is traded."""

SALE_MAX = Decimal("1.5")
"""A sale brings at most so many times what its limit asks for. A buy cannot cost more than its limit."""

FEE_MAX = Decimal("0.01")
"""Share of a buy's notional that a venue's fee takes at most. What is held for a buy contains the configured fee; an
account that has lost its volume tier or its discount pays more, and its statement may show that before its fill is
known.
"""

_BOOKED_MAX = 10_000
"""Number of booked changes that are remembered for each venue; a statement that is older than all of them is not
compared.
"""

_DOUBLE = Decimal("1e-15")
"""Share to which a product of a price, a quantity and a fee that were doubles is right: each is right to 2**-53."""


class Span(NamedTuple):
    """States by how much the venue's balance may be above the ledger's (below 0: under it) though both are right."""

    low: Decimal = ZERO
    high: Decimal = ZERO
    is_vague: bool = False
    """Whether nothing bounds ``low``: orders under way may pay their fees in this currency."""

    @property
    def width(self) -> Decimal:
        """Return how much is uncertain; 0 when the two amounts must be equal."""
        return self.high - self.low

    def nearest(self, difference: Decimal) -> Decimal:
        """Return the value of this span that explains most of ``difference``."""
        return min(max(difference, self.low), self.high)


EXACT = Span()


class _Booked(NamedTuple):
    at_ns: int
    account: Account
    low: Decimal
    high: Decimal


class _Fills:
    """Holds what was booked of one account since venue and ledger agreed on it last."""

    __slots__ = ("count", "turnover")

    def __init__(self) -> None:
        self.count = 0
        self.turnover = ZERO


class Activity:
    """Knows which accounts orders have moved lately, and how often."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self.traded: frozenset[Account] = frozenset()
        self.set_pairs(pairs)
        self._ended_ns: dict[Account, int] = {}
        self._began_ns = 0
        self._booked: dict[str, deque[_Booked]] = {}
        """Changes of each venue, oldest first."""
        self._forgotten_ns: dict[str, int] = {}
        """Monotonic time in ns of the newest booking that is forgotten, by venue."""
        self._fills: dict[Account, _Fills] = {}
        """Fills of the accounts that have agreed in this session."""

    def set_pairs(self, pairs: Iterable[Pair]) -> None:
        """Use these pairs as the traded ones from now on."""
        legs = [leg.market for pair in pairs for leg in (pair.home, pair.away)]
        self.traded = frozenset(
            (market.venue, currency) for market in legs for currency in (market.base, market.quote)
        )

    def begin(self, now_ns: int) -> None:
        """Begin a session: what ended before it is forgotten."""
        self._began_ns = now_ns

    def ended(self, trade: Trade, now_ns: int) -> None:
        """Note that the intent of ``trade`` is concluded."""
        for order in (trade.intent.home, trade.intent.away):
            for currency in (order.market.base, order.market.quote):
                self._ended_ns[order.market.venue, currency] = now_ns

    def booked(self, fills: Iterable[Fill], now_ns: int) -> None:
        """Remember that ``fills`` were booked just now."""
        for fill in fills:
            table = self._booked.setdefault(fill.market.venue, deque())
            changes: dict[str, Decimal] = {}
            for currency, change in fill.changes():
                changes[currency] = changes.get(currency, ZERO) + change
            for currency, change in changes.items():
                account = fill.market.venue, currency
                table.append(_Booked(now_ns, account, min(-change, ZERO), max(-change, ZERO)))
                known = self._fills.get(account)
                if known is not None:
                    known.count += 1
                    known.turnover += abs(change)
            while len(table) > _BOOKED_MAX:
                self._forgotten_ns[fill.market.venue] = table.popleft().at_ns

    def agreed(self, account: Account) -> None:
        """Note that venue and ledger agree on ``account`` while nothing is under way that moves it."""
        self._fills[account] = _Fills()

    def forget_agreements(self) -> None:
        """Forget on what venues and ledger agree, because what was booked last is not stored."""
        self._fills.clear()

    def rounding(self, account: Account, unit: Decimal, fills_max: int) -> Decimal:
        """Return how far an account may have drifted since both agreed last, because a venue rounds each fill.

        That is one ``unit`` for each fill, for at most ``fills_max`` of them; an account that has not agreed in this
        session counts as if it had so many.
        """
        known = self._fills.get(account)
        if known is None:
            return unit * fills_max
        return unit * min(known.count, fills_max) + known.turnover * _DOUBLE

    def is_too_old(self, venue: str, at_ns: int) -> bool:
        """Return whether it is unknown what was under way at ``venue`` at ``at_ns``, as before this session."""
        return at_ns <= max(self._began_ns, self._forgotten_ns.get(venue, 0))

    def has_ended_since(self, account: Account, at_ns: int) -> bool:
        """Return whether an intent that trades ``account`` was concluded at ``at_ns`` or later."""
        return self._ended_ns.get(account, 0) >= at_ns

    def forget_before(self, venue: str, at_ns: int) -> None:
        """Drop what ended before ``at_ns``: no older statement of ``venue`` will be compared any more."""
        table = self._booked.get(venue)
        while table and table[0].at_ns < at_ns:
            table.popleft()

    def spans(
        self, venue: str, at_ns: int, trades: Iterable[Trade], balances: Balances
    ) -> Mapping[str, Span]:
        """Return what may have moved the currencies of ``venue`` since ``at_ns``; those without a span did not move.

        ``trades``: all open ones.
        """
        found: dict[str, Span] = {}
        for one in self._booked.get(venue, ()):
            if one.at_ns >= at_ns:
                _widen(found, one.account[1], one.low, one.high)
        is_under_way = False
        for trade in trades:
            is_under_way |= _add_orders(found, trade, venue)
        if is_under_way:
            for (where, currency), balance in balances.items():
                if where == venue and self._may_pay_fees((venue, currency)):
                    span = found.get(currency, EXACT)
                    found[currency] = Span(span.low - balance.total, span.high, is_vague=True)
        return found

    def _may_pay_fees(self, account: Account) -> bool:
        return account in FEE_COINS or account not in self.traded


def _add_orders(found: dict[str, Span], trade: Trade, venue: str) -> bool:
    """Add what the orders of ``trade`` may do at ``venue``. Return whether any of them has not ended."""
    is_under_way = False
    for result in trade.orders:
        market = result.order.market
        if market.venue != venue or result.is_final:
            continue
        is_under_way = True
        order = result.order
        left = max(ZERO, order.quantity - sum((fill.quantity for fill in result.fills), ZERO))
        hold = trade.hold(order.client_id)
        spent = hold.amount if hold is not None else ZERO
        if order.side == "buy":
            # A hold contains the configured fee already. It is counted twice here, which only widens the span.
            _widen(found, market.quote, -spent - left * order.limit * FEE_MAX, ZERO)
            _widen(found, market.base, ZERO, left)
        else:
            _widen(found, market.base, -spent, ZERO)
            _widen(found, market.quote, ZERO, left * order.limit * SALE_MAX)
    return is_under_way


def _widen(found: dict[str, Span], currency: str, low: Decimal, high: Decimal) -> None:
    span = found.get(currency, EXACT)
    found[currency] = span._replace(low=span.low + low, high=span.high + high)
