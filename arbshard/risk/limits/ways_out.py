"""``WaysOut`` computes what leaving needs on each venue, which entries cannot spend. Pure; ``guard`` asks it.

To leave a position its long base is sold where it was bought, and its short base is bought back where it was sold.
So the coins are held on the one venue, and on the other money for the coins at the present price, with the fee and
with ``limits.way_out_margin_bps`` of room for the price to move. An entry under way holds the same for what it is
meant to become; until its sale has been made, what the sale will bring counts as there. What orders under way have
set aside already is not held twice.

Amounts are derived from the portfolio and not stored. The sums by account are kept. A pair is calculated again when
something of it was booked, and by turns when risk has seen other prices of it.
"""

from collections.abc import Mapping
from decimal import Decimal

from arbshard.ledger.events import (
    Event,
    IntentApproved,
    IntentConcluded,
    LimitsChanged,
    OrderExtended,
    OrderReported,
    PositionChanged,
    PositionClosed,
    PositionOpened,
)
from arbshard.model.book import PairView
from arbshard.model.intent import Intent
from arbshard.model.market import Direction, Leg, Pair
from arbshard.model.money import BPS, ONE, ZERO, exact
from arbshard.risk.limits.effective import EffectiveLimits
from arbshard.risk.portfolio.holdings import Account, Trade
from arbshard.risk.portfolio.state import PortfolioState

_REFRESHED_AT_ONCE = 20
"""Number of pairs that are calculated again at each tick: some 20 µs each, and risk must answer meanwhile."""

Needs = tuple[tuple[Account, Decimal], ...]


class WaysOut:
    """Holds what the ways out of all pairs need, by account."""

    def __init__(self, pairs: Mapping[str, Pair], state: PortfolioState, limits: EffectiveLimits) -> None:
        self._pairs = pairs
        self._state = state
        self._limits = limits
        self._views: Mapping[str, PairView] = {}
        self._needs: dict[str, Needs] = {}
        self._priced: dict[str, PairView | None] = {}
        """The books by which the needs of each pair were calculated."""
        self._sums: dict[Account, Decimal] = {}
        self._changed: set[str] = set()
        self._turn: list[str] = []
        self._checked: tuple[Intent, Needs] | None = None
        """The entry that was calculated last, which is the next to be approved if it is approved."""
        self.recalculate()

    def set_views(self, views: Mapping[str, PairView]) -> None:
        """Use these books, by base, from now on."""
        self._views = views
        self._priced.clear()

    def recalculate(self) -> None:
        """Calculate everything again, after a change of the pairs or of the whole portfolio."""
        self._changed.update(self._needs, self._state.per_symbol_positions, self._state.busy)
        self._checked = None

    def add(self, event: Event) -> None:
        """Update the needs after an event was applied to the portfolio."""
        match event:
            case IntentApproved():
                self._approved(event.intent)
            case OrderExtended() | OrderReported() | IntentConcluded():
                self._changed.add(event.pair)
            case PositionOpened() | PositionChanged() | PositionClosed():
                self._changed.add(event.position.pair)
            case LimitsChanged():
                self.recalculate()
            case _:
                pass  # changes nothing that is open

    def refresh(self) -> None:
        """Calculate those of the next pairs again of which there are other books."""
        if not self._turn:
            self._turn = list(self._needs)
        views, priced = self._views, self._priced
        for base in self._turn[:_REFRESHED_AT_ONCE]:
            if base not in priced or priced[base] is not views.get(base):
                self._changed.add(base)
        del self._turn[:_REFRESHED_AT_ONCE]
        self._calculate()

    def needed(self) -> Mapping[Account, Decimal]:
        """Return what the ways out of all pairs need, by account."""
        if self._changed:
            self._calculate()
        return self._sums

    def holders(self, account: Account) -> tuple[str, ...]:
        """Return the pairs whose ways out need something of a balance, the largest needs first."""
        found = [
            (-amount, base)
            for base, needs in self._needs.items()
            for of, amount in needs
            if of == account and amount
        ]
        return tuple(base for _, base in sorted(found))

    def of_entry(self, intent: Intent, pair: Pair) -> Needs:
        """Return what the way out of an entry needs from its approval on, beside what the entry itself brings."""
        if self._checked is None or self._checked[0] is not intent:
            sold = pair.away if intent.direction == "buy_home" else pair.home
            order = intent.away if intent.direction == "buy_home" else intent.home
            money = self._cost(pair, sold, order.quantity, order.limit) - _proceeds(
                sold, order.quantity, order.limit
            )
            account = sold.market.venue, sold.market.quote
            self._checked = intent, ((account, money),) if money > 0 else ()
        return self._checked[1]

    def _approved(self, intent: Intent) -> None:
        is_checked = self._checked is not None and self._checked[0] is intent
        if (
            intent.kind == "exit"
            or not is_checked
            or intent.pair in self._changed
            or intent.pair in self._needs
        ):
            self._changed.add(intent.pair)
            return
        assert self._checked is not None, intent.intent_id
        self._priced.pop(intent.pair, None)
        self._set(intent.pair, self._checked[1])

    def _calculate(self) -> None:
        while self._changed:
            base = self._changed.pop()
            for account, amount in self._needs.pop(base, ()):
                self._sums[account] -= amount
            self._priced[base] = self._views.get(base)
            self._set(base, self._of_pair(base))

    def _set(self, base: str, needs: Needs) -> None:
        if needs:
            self._needs[base] = needs
        for account, amount in needs:
            self._sums[account] = self._sums.get(account, ZERO) + amount

    def _of_pair(self, base: str) -> Needs:
        pair = self._pairs.get(base)
        if pair is None:
            return self._of_absent(base)
        trade = self._state.trades.get(self._state.busy.get(base, ""))
        table: dict[Account, Decimal] = {}
        for position in self._state.get_symbol_positions(base):
            bought, sold = _legs(pair, position.direction)
            long, short = position.long_base, position.short_base
            if trade is not None and trade.intent.position_id == position.position_id:
                long, short = long + _base_change(trade, bought), short - _base_change(trade, sold)
            price = position.entry_home_price if sold is pair.home else position.entry_away_price
            _add(table, bought, long, sold, self._cost(pair, sold, short, price))
        if trade is not None:
            if trade.intent.kind == "entry":
                self._add_entry(table, trade, pair)
            for hold in trade.holds:
                account = hold.venue, hold.currency
                if account in table and not (trade.intent.kind == "entry" and _is_leg(hold.client_id)):
                    table[account] -= hold.amount
        return tuple((account, amount) for account, amount in table.items() if amount > 0)

    def _of_absent(self, base: str) -> Needs:
        """Return the money that leaving the positions of a pair needs that is not traded now.

        They are left once both of its markets trade again, or once it is added again. No other pair spends its coins.
        All pairs have the venues, quotes and fees of any other one; of this one no book is read.
        """
        other = next(iter(self._pairs.values()), None)
        if other is None:
            return ()
        table: dict[Account, Decimal] = {}
        for position in self._state.get_symbol_positions(base):
            _, sold = _legs(other, position.direction)
            price = position.entry_home_price if sold is other.home else position.entry_away_price
            account = sold.market.venue, sold.market.quote
            table[account] = table.get(account, ZERO) + self._priced_cost(sold, position.short_base, price)
        trade = self._state.trades.get(self._state.busy.get(base, ""))
        for hold in trade.holds if trade is not None and trade.intent.kind == "exit" else ():
            if (hold.venue, hold.currency) in table:
                table[hold.venue, hold.currency] -= hold.amount
        return tuple((account, amount) for account, amount in table.items() if amount > 0)

    def _add_entry(self, table: dict[Account, Decimal], trade: Trade, pair: Pair) -> None:
        """Add what an entry under way needs, by what has been filled of it and what may still be."""
        intent = trade.intent
        bought, sold = _legs(pair, intent.direction)
        result = trade.result(intent.order(sold.market.venue).client_id)
        assert result is not None, intent.intent_id
        to_come = ZERO if result.is_final else result.order.quantity - result.filled
        limit = result.order.limit
        cost = self._cost(pair, sold, to_come - _base_change(trade, sold), limit)
        _add(table, bought, _base_change(trade, bought), sold, cost - _proceeds(sold, to_come, limit))

    def _cost(self, pair: Pair, leg: Leg, quantity: Decimal, known_price: Decimal) -> Decimal:
        """Return what buying ``quantity`` back costs at the ask that risk saw last, else at ``known_price``."""
        view = self._views.get(pair.base)
        price = known_price
        if view is not None:
            price = exact((view.home if leg is pair.home else view.away).best_ask)
        return self._priced_cost(leg, quantity, price)

    def _priced_cost(self, leg: Leg, quantity: Decimal, price: Decimal) -> Decimal:
        if quantity <= 0:
            return ZERO
        fee = leg.fees.buy_bps / BPS
        margin = Decimal(str(self._limits.portfolio().way_out_margin_bps)) / BPS
        # The squares are for a fee taken in the coin, for which more must be bought: 1 / (1 - fee) is below this.
        return quantity * price * (ONE + fee + 2 * fee * fee) * (ONE + margin)


def _is_leg(client_id: str) -> bool:
    """Return whether an order is one of the two with which its intent began."""
    return client_id.endswith(("-h0", "-a0"))


def _proceeds(leg: Leg, quantity: Decimal, limit: Decimal) -> Decimal:
    """Return what selling ``quantity`` brings at least."""
    return quantity * limit * (ONE - leg.fees.sell_bps / BPS)


def _add(table: dict[Account, Decimal], bought: Leg, coins: Decimal, sold: Leg, money: Decimal) -> None:
    for venue, currency, amount in (
        (bought.market.venue, bought.market.base, coins),
        (sold.market.venue, sold.market.quote, money),
    ):
        if amount > 0:
            table[venue, currency] = table.get((venue, currency), ZERO) + amount


def _legs(pair: Pair, direction: Direction) -> tuple[Leg, Leg]:
    """Return (where an entry buys, where it sells)."""
    return (pair.home, pair.away) if direction == "buy_home" else (pair.away, pair.home)


def _base_change(trade: Trade, leg: Leg) -> Decimal:
    """Return how much base the fills of ``trade`` have brought on one venue."""
    return sum(
        (
            amount
            for fill in trade.fills()
            if fill.market == leg.market
            for currency, amount in fill.changes()
            if currency == leg.market.base
        ),
        ZERO,
    )
