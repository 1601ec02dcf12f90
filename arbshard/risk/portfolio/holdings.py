"""Holds what is owned and what is set aside of it: the journal of changes, balances, and open intents. Pure.

These are the parts of ``state.PortfolioState`` that each approval changes. Every change of a table is made through
the ``Journal``, so that it can be undone when the ledger cannot be written. Frozen values are replaced, never
changed.

The functions at the end compare the balances with the ledger's double entry, account by account: two sums that are
kept separately, because the portfolio adds up fills, and the ledger the postings made of them. A break halts
trading.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from decimal import Decimal
from functools import partial
from typing import TypeVar, cast

import msgspec

from arbshard.ledger.events import Amounts, Deposited, Event, Hold, OrderReported
from arbshard.ledger.postings import TRANSFERS, venue_account
from arbshard.model.intent import Intent, OpenIntent
from arbshard.model.market import Leg
from arbshard.model.money import BPS, ONE, ZERO, plain
from arbshard.model.order import Fill, Order, OrderResult
from arbshard.model.position import Position

Key = TypeVar("Key")
Value = TypeVar("Value")

Account = tuple[str, str]
"""(venue, currency)."""
Booked = Mapping[tuple[str, str], Decimal]
"""(ledger account, currency) → balance: ``LedgerStore.balances``."""
_VENUE = venue_account("")


_ABSENT = object()
"""Replaces the value of a key that was not in its table."""


class Journal:
    """Remembers how each change since the last commit is undone."""

    def __init__(self) -> None:
        self._undo: list[tuple[object, object, object] | Callable[[], object]] = []
        """Either a table, a key, and the value to put back under it, or what is to be called."""

    def set_item(self, table: dict[Key, Value], key: Key, value: Value) -> None:
        """Set ``table[key]``."""
        self._undo.append((table, key, table.get(key, _ABSENT)))
        table[key] = value

    def drop(self, table: dict[Key, Value], key: Key) -> None:
        """Remove ``table[key]``. Raises ``KeyError``."""
        self._undo.append((table, key, table.pop(key)))

    def drop_oldest(self, table: dict[Key, Value]) -> Key:
        """Remove the oldest entry of ``table`` and return its key. Raises ``StopIteration`` when it is empty."""
        key = next(iter(table))
        self._undo.append(partial(_put_first, table, key, table.pop(key)))
        return key

    def keep_fields(self, owner: msgspec.Struct) -> None:
        """Remember all fields of ``owner`` as they are now. Call this before you assign to any of them.

        What a table holds is not copied: changes inside tables are remembered by ``set_item`` and ``drop``.
        """
        self._undo.append(partial(_restore, owner, copy(owner)))

    @property
    def is_empty(self) -> bool:
        """Return whether nothing has changed since the last commit or rollback."""
        return not self._undo

    def commit(self) -> None:
        """Keep the changes."""
        self._undo.clear()

    def rollback(self) -> None:
        """Undo all changes since the last commit, the newest first."""
        while self._undo:
            undo = self._undo.pop()
            if not isinstance(undo, tuple):
                undo()
                continue
            _, key, before = undo
            table = cast("dict[object, object]", undo[0])
            if before is _ABSENT:
                del table[key]
            else:
                table[key] = before


def _put_first(table: dict[Key, Value], key: Key, value: Value) -> None:
    rest = dict(table)
    table.clear()
    table[key] = value
    table.update(rest)


def _restore(owner: msgspec.Struct, before: msgspec.Struct) -> None:
    for name in before.__struct_fields__:
        setattr(owner, name, getattr(before, name))


class Part(msgspec.Struct, dict=True, forbid_unknown_fields=True):
    """A part of the portfolio's state. Its fields are stored in snapshots; its journal is not a field.

    A changed set of fields, or a changed meaning of one, needs a new ``snapshot.VERSION``.
    """

    def use(self, journal: Journal) -> None:
        """Record all changes in ``journal``, which belongs to the whole state."""
        self._journal = journal


class Balance(msgspec.Struct, frozen=True):
    """Is one currency on one venue."""

    total: Decimal = ZERO
    held: Decimal = ZERO
    """Set aside for orders that may still spend it."""

    @property
    def available(self) -> Decimal:
        """Return what a new order may spend; never below 0."""
        return max(ZERO, self.total - self.held)


_NOTHING = Balance()


class Balances(Part):
    """Holds the balances of all venues and currencies."""

    table: dict[Account, Balance] = msgspec.field(default_factory=dict)

    def get(self, venue: str, currency: str) -> Balance:
        """Return a balance; zero for an account that was never used."""
        return self.table.get((venue, currency), _NOTHING)

    def available(self, venue: str, currency: str) -> Decimal:
        """Return what a new order may spend of a balance."""
        return self.get(venue, currency).available

    def __contains__(self, account: Account) -> bool:
        return account in self.table

    def items(self) -> Iterator[tuple[Account, Balance]]:
        """Return every balance of an account that was ever used."""
        yield from self.table.items()

    def totals(self) -> Amounts:
        """Return (venue, currency, total) of every balance, sorted."""
        return tuple((*account, balance.total) for account, balance in sorted(self.table.items()))

    def add(self, venue: str, currency: str, amount: Decimal) -> None:
        """Add ``amount`` to what is owned; it may be negative."""
        old = self.get(venue, currency)
        self._journal.set_item(self.table, (venue, currency), Balance(old.total + amount, old.held))

    def hold(self, venue: str, currency: str, amount: Decimal) -> None:
        """Set ``amount`` more aside; a negative one is released."""
        old = self.get(venue, currency)
        held = old.held + amount
        assert held >= 0, (venue, currency, held)
        self._journal.set_item(self.table, (venue, currency), Balance(old.total, held))


def hold_for(order: Order, leg: Leg) -> Hold:
    """Return what ``order`` can spend at most: its coins, or its money and the fee taken in it."""
    market = order.market
    if order.side == "sell":
        return Hold(order.client_id, market.venue, market.base, order.quantity)
    fee = ZERO if leg.fees.buy_fee_in_base else leg.fees.buy_bps / BPS
    return Hold(order.client_id, market.venue, market.quote, order.quantity * order.limit * (ONE + fee))


class Trade(msgspec.Struct, frozen=True):
    """Is an open intent: its orders, their states, and what is still held for them."""

    intent: Intent
    orders: tuple[OrderResult, ...]
    """Both legs first, then hedges and unwinds as they were recorded."""
    holds: tuple[Hold, ...]

    @classmethod
    def begin(cls, intent: Intent, holds: tuple[Hold, ...]) -> "Trade":
        """Return the trade of an approved intent of which nothing else is known."""
        return cls(intent, (OrderResult(intent.home, "INTENT"), OrderResult(intent.away, "INTENT")), holds)

    def result(self, client_id: str) -> OrderResult | None:
        """Return the state of an order; None for an order that is not of this intent."""
        for result in self.orders:
            if result.order.client_id == client_id:
                return result
        return None

    def hold(self, client_id: str) -> Hold | None:
        """Return what is held for an order; None when nothing is."""
        for hold in self.holds:
            if hold.client_id == client_id:
                return hold
        return None

    def extended(self, order: Order, hold: Hold) -> "Trade":
        """Return the trade with one more order."""
        holds = (*self.holds, hold) if hold.amount else self.holds
        return Trade(self.intent, (*self.orders, OrderResult(order, "INTENT")), holds)

    def reported(self, result: OrderResult, hold: Hold | None) -> "Trade":
        """Return the trade with ``result`` and ``hold`` in place of the order's old ones.

        ``hold``: None when nothing is held for the order any more.
        """
        client_id = result.order.client_id
        holds = tuple(one for one in self.holds if one.client_id != client_id)
        return Trade(
            self.intent,
            tuple(result if one.order.client_id == client_id else one for one in self.orders),
            (*holds, hold) if hold is not None else holds,
        )

    def find_fill(self, fill_id: str) -> Fill | None:
        """Return the booked fill with this id, or None."""
        for fill in self.fills():
            if fill.fill_id == fill_id:
                return fill
        return None

    def fills(self) -> tuple[Fill, ...]:
        """Return all fills of the intent."""
        return tuple(fill for result in self.orders for fill in result.fills)

    def unfinished(self) -> OrderResult | None:
        """Return an order that is not final; None when all are."""
        for result in self.orders:
            if not result.is_final:
                return result
        return None

    def to_open_intent(self) -> OpenIntent:
        """Return what a successor of the worker needs to continue."""
        return OpenIntent(self.intent, self.orders)


def notional_of(intent: Intent) -> Decimal:
    """Return base to buy x limit price in reporting currency: the most that an entry can cost before fees."""
    if intent.home.side == "buy":
        return intent.home.quantity * intent.home.limit
    return intent.away.quantity * intent.away.limit * intent.fx.ask


def away_change_of(intent: Intent) -> Decimal:
    """Return the change of the away quote by an entry, at its limit price and before fees; 0 for an exit."""
    if intent.kind == "exit":
        return ZERO
    amount = intent.away.quantity * intent.away.limit
    return amount if intent.away.side == "sell" else -amount


class ConcludedIntent(msgspec.Struct, frozen=True):
    """Is what is remembered of a concluded intent, so that late repeats are answered as before."""

    intent_id: str
    pair: str
    position: Position | None
    """The position after the conclusion; None when there is none."""
    orders: tuple[tuple[str, tuple[str, ...]], ...]
    """(client id, ids of its fills)."""

    def knows(self, result: OrderResult) -> bool:
        """Return whether all that ``result`` states was booked before the conclusion."""
        for client_id, fills in self.orders:
            if client_id == result.order.client_id:
                return all(fill.fill_id in fills for fill in result.fills)
        return False


def outcome_of(trade: Trade, position: Position | None) -> ConcludedIntent:
    """Return what to remember of ``trade``, now concluded."""
    return ConcludedIntent(
        trade.intent.intent_id,
        trade.intent.pair,
        position,
        tuple(
            (result.order.client_id, tuple(fill.fill_id for fill in result.fills)) for result in trade.orders
        ),
    )


def touched(events: Iterable[Event]) -> set[Account]:
    """Return the accounts whose balance ``events`` change."""
    accounts: set[Account] = set()
    for event in events:
        if isinstance(event, Deposited):
            accounts.add((event.venue, event.currency))
        elif isinstance(event, OrderReported):
            for fill in event.fills:
                accounts.update((fill.market.venue, currency) for currency, _ in fill.changes())
    return accounts


def find_break(accounts: Iterable[Account], balances: Balances, booked: Booked) -> str | None:
    """Return a sentence about the first of ``accounts`` whose amounts in portfolio and ledger differ, or None."""
    for venue, currency in accounts:
        owned = balances.get(venue, currency).total
        entered = booked.get((venue_account(venue), currency), ZERO)
        if owned != entered:
            return f"{venue} {currency}: {plain(owned)} by the fills, {plain(entered)} by the ledger's double entry"
    return None


def find_any_break(balances: Balances, booked: Booked, under_way: Mapping[str, Decimal]) -> str | None:
    """Return such a sentence about any account, or about a currency whose double entry does not sum to zero.

    Also compared is ``under_way``: what is ours between venues, by currency.
    """
    accounts = {account for account, _ in balances.items()}
    accounts.update(
        (account.removeprefix(_VENUE), currency) for account, currency in booked if account.startswith(_VENUE)
    )
    sums: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
    for (_, currency), amount in booked.items():
        sums[currency] += amount
    for currency, total in sums.items():
        if total:
            return f"{currency}: the ledger's double entry is {plain(total)} off"
        moving, entered = under_way.get(currency, ZERO), booked.get((TRANSFERS, currency), ZERO)
        if moving != entered:
            return f"{currency}: {plain(moving)} under way by the transfers, {plain(entered)} by the ledger"
    return find_break(sorted(accounts), balances, booked)
