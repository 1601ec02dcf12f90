"""Executes customers' orders against the simulated books of one venue, and moves the money.

A taker takes the visible levels, best first. A resting order fills at its own price when the book comes to it, up to
the depth that crossed it. Customers' orders never match each other, and are not part of the public book. ``upbit``
and ``binance`` place and cancel, ``exchanges`` calls ``on_step``. Every change is recorded in the account as an
event.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal, localcontext
from typing import NamedTuple

from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.order import (
    ChangeKind,
    Ended,
    OrderChanged,
    Side,
    SimFill,
    SimOrder,
    Ticket,
    WalletChanged,
)
from arbshard.exchanges.accounts.resting import Resting
from arbshard.exchanges.accounts.rules import MoneyRules
from arbshard.exchanges.accounts.taking import MatchPlan, Take, levels, plan, units_of
from arbshard.exchanges.book import SimSide
from arbshard.exchanges.market import SimMarket
from arbshard.model.money import MONEY_CONTEXT, ZERO


class Shortage(NamedTuple):
    """Says that an account has less free than an order would lock."""

    currency: str
    needed: Decimal
    free: Decimal


def _ignore(_account: TradingAccount) -> None:
    """Do nothing: the default when accounts are not saved."""


def _whole() -> float:
    """Return the whole share: takers get all that the book has for them."""
    return 1.0


class Matcher:
    """Executes the orders of one venue."""

    def __init__(
        self,
        markets: Mapping[str, SimMarket],
        rules: MoneyRules,
        first_number: int = 1,
        fill_share: Callable[[], float] = _whole,
    ) -> None:
        """Number orders and trades from ``first_number`` on, which differs for every run of the exchange.

        ``fill_share`` is asked once for each order that takes: what share it gets of what the book has for it.
        """
        self._markets = markets
        self._rules = rules
        self._fill_share = fill_share
        self._resting: dict[str, Resting] = {}
        self._next_order = self._next_trade = first_number
        self.on_change: Callable[[TradingAccount], None] = _ignore
        """Is called at the end of every change of an account, before anything about it is sent."""

    @property
    def fee_rate(self) -> Decimal:
        """Return the fee of a new order, as a share."""
        return self._rules.fee_rate

    @property
    def next_numbers(self) -> tuple[int, int]:
        """Return the numbers that the next order and the next trade will get."""
        return self._next_order, self._next_trade

    def resume(self, account: TradingAccount, next_order: int, next_trade: int) -> None:
        """Continue with a restored account: its open orders wait again, and no number is used twice."""
        self._next_order = max(self._next_order, next_order)
        self._next_trade = max(self._next_trade, next_trade)
        for order in account.open_orders.values():
            if not order.fee_rate:  # from a file of an earlier version, which did not keep the rate
                order.fee_rate = self.fee_rate
            self._resting.setdefault(order.symbol, Resting()).add(account, order)

    def shortage(self, account: TradingAccount, ticket: Ticket) -> Shortage | None:
        """Return what ``account`` lacks in order to place ``ticket`` now; None when it has enough."""
        with localcontext(MONEY_CONTEXT):
            return self._shortage(account, ticket, self._plan(ticket))

    def would_take(self, symbol: str, side: Side, price: Decimal) -> bool:
        """Return whether a limit order at ``price`` would match at once."""
        return next(levels(self._opposite(symbol, side), price), None) is not None

    def place(self, account: TradingAccount, ticket: Ticket, now_ms: int) -> SimOrder | Shortage:
        """Accept an order and match it at once; return it, or a ``Shortage``, which changes nothing."""
        with localcontext(MONEY_CONTEXT):
            found = self._plan(ticket)
            lack = self._shortage(account, ticket, found)
            if lack is not None:
                return lack
            if found.takes and (share := self._fill_share()) < 1:
                found = self._plan(ticket, share)
            order = self._open(account, ticket, self._needed(ticket, found), now_ms)
            self._take(account, order, found, now_ms)
            if order.is_open and found.ended:
                self._end(account, order, found.ended, now_ms)
            if order.is_open:
                self._resting.setdefault(order.symbol, Resting()).add(account, order)
        self.on_change(account)
        return order

    def cancel(self, account: TradingAccount, order: SimOrder, now_ms: int) -> None:
        """Cancel ``order``, which is open, as its owner wants."""
        assert order.is_open, order.id
        with localcontext(MONEY_CONTEXT):
            self._unrest(account, order)
            self._end(account, order, "user", now_ms)
        self.on_change(account)

    def transfer(self, account: TradingAccount, currency: str, amount: Decimal, now_ms: int) -> None:
        """Add ``amount`` to the account, or remove it (when below 0)."""
        wallet = account.wallet
        with localcontext(MONEY_CONTEXT):
            if amount >= 0:
                wallet.credit(currency, amount)
            else:
                wallet.lock(currency, -amount)
                wallet.spend(currency, -amount)
        account.record(WalletChanged(wallet.take_changed(), now_ms))
        self.on_change(account)

    def on_step(self, symbol: str, now_ms: int) -> bool:
        """Fill the orders that the moved book of ``symbol`` crosses; return whether anything was filled."""
        resting = self._resting.get(symbol)
        if resting is None:
            return False
        changed: dict[str, TradingAccount] = {}
        with localcontext(MONEY_CONTEXT):
            for queue in (resting.buys, resting.sells):
                while queue:
                    _, _, account, order = queue[0]
                    if not self._make(account, order, now_ms):
                        break
                    changed[account.key] = account
                    if order.is_open:
                        break  # it took all that crossed, so nothing is left for the orders behind it
        for account in changed.values():
            self.on_change(account)
        return bool(changed)

    def _make(self, account: TradingAccount, order: SimOrder, now_ms: int) -> bool:
        """Fill a resting order at its own price by the levels that cross it; return whether there were any."""
        price, left = order.price, units_of(order.remaining)
        assert price is not None, order.id
        side = self._opposite(order.symbol, order.side)
        sizes: list[int] = []
        for _, size in levels(side, price):
            sizes.append(min(size, left))
            left -= sizes[-1]
            if not left:
                break
        if not sizes:
            return False
        self._markets[order.symbol].book.eat(side, sizes)
        if not left:
            self._unrest(account, order)
        self._fill(account, order, Take(price, sum(sizes)), "" if left else "filled", now_ms, is_maker=True)
        return True

    def _open(self, account: TradingAccount, ticket: Ticket, needed: Decimal, now_ms: int) -> SimOrder:
        listing = self._markets[ticket.symbol].listing
        number = self._next_order
        self._next_order += 1
        order = SimOrder(
            number,
            self._rules.order_id(number),
            ticket,
            listing.base,
            listing.quote,
            now_ms,
            now_ms,
            held=needed,
            fee_rate=self.fee_rate,
        )
        account.add_order(order)
        account.wallet.lock(order.held_currency, needed)
        self._record(account, "new", order, None, now_ms)
        return order

    def _take(self, account: TradingAccount, order: SimOrder, found: MatchPlan, now_ms: int) -> None:
        if not found.takes:
            return
        side = self._opposite(order.symbol, order.side)
        self._markets[order.symbol].book.eat(side, [take.size for take in found.takes])
        last = len(found.takes) - 1
        complete = found.ended == "filled" or (found.ended == "dust" and self._rules.dust_is_done)
        for index, take in enumerate(found.takes):
            ended = found.ended if complete and index == last else ""
            self._fill(account, order, take, ended, now_ms, is_maker=False)

    def _fill(
        self,
        account: TradingAccount,
        order: SimOrder,
        take: Take,
        ended: Ended,
        now_ms: int,
        *,
        is_maker: bool,
    ) -> None:
        """Book one execution; ``ended`` says that it was the last one, and why."""
        quantity = take.quantity
        funds = take.price * quantity
        fee, in_base = self._rules.fee(order.side, quantity, funds, order.fee_rate)
        wallet = account.wallet
        if order.side == "buy":
            spent = funds if in_base else funds + fee
            wallet.credit(order.base, quantity - fee if in_base else quantity)
        else:
            assert not in_base, order.id
            spent = quantity
            wallet.credit(order.quote, funds - fee)
        wallet.spend(order.held_currency, spent)
        order.held -= spent
        order.executed += quantity
        order.executed_funds += funds
        order.fee_paid += fee
        order.updated_ms = now_ms
        assert order.quantity is None or order.executed <= order.quantity, order.id
        assert order.funds is None or order.executed_funds <= order.funds, order.id
        trade_id = self._rules.trade_id(self._next_trade)
        self._next_trade += 1
        fee_currency = order.base if in_base else order.quote
        fill = SimFill(trade_id, take.price, quantity, funds, fee, fee_currency, is_maker, now_ms)
        order.fills.append(fill)
        self._release(account, order, ZERO if ended else self._still_needed(order))
        if ended:
            order.status, order.ended = "done", ended
            account.close_order(order)
        self._record(account, "trade", order, fill, now_ms)
        if ended:
            self._record(account, "done", order, None, now_ms)

    def _end(self, account: TradingAccount, order: SimOrder, ended: Ended, now_ms: int) -> None:
        """Cancel the rest of ``order``."""
        self._release(account, order, ZERO)
        order.status, order.ended, order.updated_ms = "canceled", ended, now_ms
        account.close_order(order)
        self._record(account, "canceled", order, None, now_ms)

    def _release(self, account: TradingAccount, order: SimOrder, needed: Decimal) -> None:
        """Unlock what ``order`` holds beyond ``needed``."""
        assert order.held >= needed, (order.id, order.held, needed)
        account.wallet.unlock(order.held_currency, order.held - needed)
        order.held = needed

    def _unrest(self, account: TradingAccount, order: SimOrder) -> None:
        resting = self._resting[order.symbol]
        resting.remove(account, order)
        if not resting:
            del self._resting[order.symbol]

    def _record(
        self, account: TradingAccount, kind: ChangeKind, order: SimOrder, fill: SimFill | None, now_ms: int
    ) -> None:
        account.record(OrderChanged(kind, order.snapshot(), fill, now_ms))
        changed = account.wallet.take_changed()
        if changed:
            account.record(WalletChanged(changed, now_ms))

    def _opposite(self, symbol: str, side: Side) -> SimSide:
        book = self._markets[symbol].book
        return book.asks if side == "buy" else book.bids

    def _plan(self, ticket: Ticket, share: float = 1.0) -> MatchPlan:
        lot = self._markets[ticket.symbol].lot
        return plan(ticket, self._opposite(ticket.symbol, ticket.side), lot, share)

    def _shortage(self, account: TradingAccount, ticket: Ticket, found: MatchPlan) -> Shortage | None:
        listing = self._markets[ticket.symbol].listing
        currency = listing.quote if ticket.side == "buy" else listing.base
        needed, free = self._needed(ticket, found), account.wallet.free(currency)
        return Shortage(currency, needed, free) if free < needed else None

    def _needed(self, ticket: Ticket, found: MatchPlan) -> Decimal:
        """Return what a new order locks. A market buy by quantity locks what its fills will cost."""
        if ticket.side == "sell":
            assert ticket.quantity is not None, ticket
            return ticket.quantity
        if ticket.funds is not None:
            return self._rules.lock(ticket.funds, self.fee_rate)
        if ticket.price is not None:
            assert ticket.quantity is not None, ticket
            return self._rules.lock(ticket.quantity * ticket.price, self.fee_rate)
        return self._rules.lock(found.funds, self.fee_rate)

    def _still_needed(self, order: SimOrder) -> Decimal:
        """Return what an open order must hold after a fill."""
        if order.side == "sell":
            return order.remaining
        if order.funds is not None:
            return self._rules.lock(order.remaining_funds, order.fee_rate)
        if order.price is not None:
            return self._rules.lock(order.remaining * order.price, order.fee_rate)
        return order.held
