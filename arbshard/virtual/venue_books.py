"""Compares the venues' own books of our orders and accounts with the stored events. Pure; the venues' record reports
to it.

The following has to hold of live orders: an order reaches its venue only after it is in the ledger, under one name,
once; the venue does not have an order that the ledger regards as never accepted; an order that has ended in the
ledger has ended at the venue, and every execution of it is booked; a difference is found where another party has
moved money, of that size, and nowhere else; an order of ours that no intent owns is found while it waits; and no
entry is made while either blocks.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import NamedTuple

from arbshard.ledger.events import (
    Deposited,
    DifferenceFound,
    DifferenceResolved,
    Event,
    IntentApproved,
    IntentConcluded,
    OrderExtended,
    OrderReported,
    StrayFound,
    StrayGone,
)
from arbshard.model.intent import Intent
from arbshard.model.order import Order

_ZERO = Decimal(0)
_ENDED_KEPT = 20_000
_NOTHING_HAPPENED = ("NOT_ACCEPTED", "REJECTED")
_OVER = ("FILLED", "CANCELED", "EXPIRED", *_NOTHING_HAPPENED)
_STATEMENTS = 3
"""Number of statements that may not show a change yet."""
_CHANGES_KEPT = 16
"""Amounts that were right a moment ago: a statement may have been read before the newest change."""

Account = tuple[str, str]
"""Venue and currency."""

_BY_HAND = ("adjustment", "deposit", "withdrawal", "fee", "unexplained")
"""Kinds of deposits by which a person accepts what a venue states."""


class Placed(NamedTuple):
    """Is an order that a venue has accepted."""

    venue: str
    name: str
    """Client id as the venue has it, tag included."""
    symbol: str
    side: str
    quantity: Decimal | None
    price: Decimal | None


class _There:
    """Is an order of ours as the venue has it."""

    def __init__(self, placed: Placed) -> None:
        self.placed = placed
        self.executed = _ZERO
        self.is_open = True


class _Booked:
    """Is an order of ours as the ledger has it."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.state = "INTENT"
        self.executed = _ZERO


class _HandMoves:
    """Holds what parties other than the system have moved of a currency at a venue, without an adjustment so far."""

    def __init__(self) -> None:
        self.amount = _ZERO
        self.seen = 0
        """Number of statements since the newest move; after more than ``_STATEMENTS`` one must have shown it."""
        self.recent: deque[Decimal] = deque((_ZERO,), maxlen=_CHANGES_KEPT)

    def move(self, amount: Decimal) -> None:
        self.amount += amount
        self.seen = 0
        self.recent.append(self.amount)


class VenueBooks:
    """Compares what the venues do with every stored event, in order."""

    def __init__(self, tag: str, differ: Callable[[str], None], tolerance: Decimal = _ZERO) -> None:
        """Make the books. ``tolerance`` is the largest difference that the digits of a venue's printed amounts
        cause.
        """
        self._printed = tolerance
        self._prefix = f"{tag}-"
        self._differ = differ
        self._there: dict[str, _There] = {}
        """Orders of intents that are under way, by our id."""
        self._booked: dict[str, _Booked] = {}
        self._orders_of: dict[str, dict[str, None]] = {}
        """Our ids by intent."""
        self._ended: OrderedDict[str, str] = OrderedDict()
        """State of orders of concluded intents, by our id; the newest."""
        self._moves: dict[Account, _HandMoves] = {}
        self.differences: dict[Account, None] = {}
        """Differences that the ledger knows of and that are not resolved."""
        self._strays: dict[tuple[str, str], int] = {}
        """Open orders with our tag that another party has placed, by venue and our id, with the number of statements
        since.
        """
        self.strays_found: dict[tuple[str, str], str] = {}
        """Pairs of the orders of this kind that the ledger knows, by venue and our id."""
        self.orders = 0
        """Number of our orders that the venues have accepted."""

    def client_id(self, name: str) -> str | None:
        """Return our id of an order that its venue calls ``name``; None for an order of another party."""
        return name[len(self._prefix) :] if name.startswith(self._prefix) else None

    # what the venues do

    def placed(self, placed: Placed) -> None:
        """Note that a venue has accepted an order."""
        client_id = self.client_id(placed.name)
        if client_id is None:
            return
        if placed.name.endswith(STRAY):
            self._strays[placed.venue, client_id] = 0
            return
        self.orders += 1
        booked = self._booked.get(client_id)
        if client_id in self._there or self._ended.get(client_id, "NOT_ACCEPTED") not in _NOTHING_HAPPENED:
            self._differ(f"orders: {placed.venue} was sent {client_id} twice")
        elif client_id in self._ended or (booked is not None and booked.state in _NOTHING_HAPPENED):
            state = booked.state if booked is not None else self._ended[client_id]
            self._differ(
                f"orders: {client_id} is {state} in the ledger, and {placed.venue} has taken it on since"
            )
        elif booked is None:
            self._differ(f"orders: {placed.venue} was sent {client_id}, which is not in the ledger")
        else:
            self._compare(client_id, placed, booked.order)
        self._there[client_id] = _There(placed)

    def executed(self, client_id: str, quantity: Decimal) -> None:
        """Note that a venue has executed an order of ours, in part or whole."""
        there = self._there.get(client_id)
        if there is not None:
            there.executed += quantity

    def ended(self, venue: str, name: str) -> None:
        """Note that an order is over."""
        client_id = self.client_id(name)
        if client_id is None:
            return
        self._strays.pop((venue, client_id), None)
        there = self._there.get(client_id)
        if there is not None:
            there.is_open = False

    def moved_by_hand(self, venue: str, currency: str, amount: Decimal) -> None:
        """Note that another party has changed what we own."""
        self._moves.setdefault((venue, currency), _HandMoves()).move(amount)

    # what the ledger stores

    def add(self, event: Event) -> None:
        """Apply the next stored event."""
        match event:
            case IntentApproved():
                self._approved(event.intent)
            case OrderExtended():
                self._book(event.intent_id, event.order)
            case OrderReported():
                self._reported(event)
            case IntentConcluded():
                self._concluded(event.intent_id)
            case _:
                self._reconciled(event)

    def _reconciled(self, event: Event) -> None:
        match event:
            case Deposited():
                if event.why in _BY_HAND:
                    self.moved_by_hand(event.venue, event.currency, -event.amount)
            case DifferenceFound():
                self._difference(event)
            case DifferenceResolved():
                self.differences.pop((event.venue, event.currency), None)
            case StrayFound():
                self._stray(event)
            case StrayGone():
                self.strays_found.pop((event.venue, event.client_id), None)
            case _:
                pass  # this event contains nothing about orders and accounts

    # what risk compares

    def stated(self, venue: str, *, is_full: bool) -> None:
        """Note that risk compares a settled statement. ``is_full`` is whether it lists every currency of the venue.

        A statement may have been read before the newest change, and its events are stored a little later.
        """
        for (where, client_id), seen in self._strays.items():
            if where == venue and (where, client_id) not in self.strays_found:
                self._strays[where, client_id] = seen + 1
                if seen == _STATEMENTS:
                    self._differ(
                        f"reconciliation: {where} has {client_id} open, no intent owns it, and it is not found"
                    )
        for account, moves in self._moves.items():
            if is_full and account[0] == venue and self._is_much(moves) and account not in self.differences:
                moves.seen += 1
                if moves.seen > _STATEMENTS:
                    self._differ(f"reconciliation: {self._moved(account)}, and no difference is found")

    def count_anew(self) -> None:
        """Forget what risk had decided and not stored."""
        self._strays = dict.fromkeys(self._strays, 0)
        for moves in self._moves.values():
            moves.seen = 0

    @property
    def is_reconciled(self) -> bool:
        """Return whether nothing differs, by the truth and by the ledger."""
        is_moved = any(map(self._is_much, self._moves.values()))
        return not (is_moved or self.differences or self._strays or self.strays_found)

    def open_questions(self) -> str:
        """Return what differs, by the truth and by the ledger."""
        moved = [self._moved(account) for account, moves in self._moves.items() if self._is_much(moves)]
        return f"{moved}, differences {list(self.differences)}, strays {[*self._strays, *self.strays_found]}"

    def _is_much(self, moves: _HandMoves) -> bool:
        return abs(moves.amount) > self._printed

    def _moved(self, account: Account) -> str:
        return f"{' '.join(account)} was moved by {self._moves[account].amount:f} by hand"

    def settled(
        self, wallets: dict[Account, tuple[Decimal, Decimal]], owned: dict[Account, Decimal]
    ) -> Iterator[str]:
        """Yield the differences between venues and ledger when nothing is under way. ``wallets``: free and locked."""
        for client_id, there in self._there.items():
            yield f"{there.placed.venue} has {client_id}, whose intent has no outcome in the ledger"
        for account, (_, locked) in sorted(wallets.items()):
            if locked:
                yield f"{' '.join(account)}: {locked:f} are locked"
        yield from self.unexplained(wallets, owned)

    def unexplained(
        self, wallets: dict[Account, tuple[Decimal, Decimal]], owned: dict[Account, Decimal]
    ) -> Iterator[str]:
        """Yield what ``wallets`` hold beyond deposits, executions and what was moved by hand."""
        for account in sorted(wallets.keys() | owned.keys()):
            held = sum(wallets.get(account, (_ZERO, _ZERO)))
            moved = self._moves[account].amount if account in self._moves else _ZERO
            if abs(held - owned.get(account, _ZERO) - moved) > self._printed:
                yield (
                    f"{' '.join(account)}: {held:f} at the venue, {owned.get(account, _ZERO):f} by deposits "
                    f"and executions, {moved:f} moved by hand"
                )

    def _approved(self, intent: Intent) -> None:
        for order in (intent.home, intent.away):
            self._book(intent.intent_id, order)
        if intent.kind == "exit":
            return
        for market in (intent.home.market, intent.away.market):
            for currency in (market.base, market.quote):
                if (market.venue, currency) in self.differences:
                    self._differ(
                        f"reconciliation: {intent.intent_id} was approved while {market.venue} {currency} differs"
                    )
        if intent.pair in self.strays_found.values():
            self._differ(
                f"reconciliation: {intent.intent_id} was approved while an order of {intent.pair} strays"
            )

    def _book(self, intent_id: str, order: Order) -> None:
        self._booked[order.client_id] = _Booked(order)
        self._orders_of.setdefault(intent_id, {})[order.client_id] = None

    def _reported(self, event: OrderReported) -> None:
        booked = self._booked.get(event.client_id)
        if booked is None:
            return  # the second bookkeeping of the ledger reports an unknown order
        booked.state = event.state
        booked.executed += sum((fill.quantity for fill in event.fills), _ZERO)
        if event.state in _OVER:
            self._is_over(event.client_id, booked)

    def _is_over(self, client_id: str, booked: _Booked) -> None:
        there, state = self._there.get(client_id), booked.state
        if there is None:
            if state not in _NOTHING_HAPPENED:
                self._differ(f"orders: {client_id} is {state} in the ledger, and no venue has it")
            return
        is_whole = there.executed == there.placed.quantity
        if state in _NOTHING_HAPPENED or (state == "FILLED") != is_whole:
            self._differ(
                f"orders: {client_id} is {state} in the ledger; {there.placed.venue} has it and executed "
                f"{there.executed:f} of {there.placed.quantity:f}"
            )
        if there.is_open:
            self._differ(f"orders: {client_id} is {state} in the ledger, and open at {there.placed.venue}")
        if booked.executed != there.executed:
            self._differ(
                f"fills: {client_id} is {state} with {booked.executed:f} booked, "
                f"{there.placed.venue} has executed {there.executed:f}"
            )

    def _concluded(self, intent_id: str) -> None:
        for client_id in self._orders_of.pop(intent_id, {}):
            booked = self._booked.pop(client_id)
            if booked.state not in _OVER:
                self._differ(f"orders: {client_id} is {booked.state}, and its intent is concluded")
            self._is_over(client_id, booked)
            self._there.pop(client_id, None)
            self._ended[client_id] = booked.state
            if len(self._ended) > _ENDED_KEPT:
                self._ended.popitem(last=False)

    def _difference(self, event: DifferenceFound) -> None:
        account = event.venue, event.currency
        moves = self._moves.get(account)
        amount = event.stated - event.booked
        below, above = amount - event.high - self._printed, amount - event.low + self._printed
        if moves is None or not any(below <= one <= above for one in moves.recent):
            self._differ(
                f"reconciliation: {' '.join(account)} is said to differ by {amount:f}, "
                f"{moves.amount if moves is not None else _ZERO:f} were moved by hand"
            )
        self.differences[account] = None

    def _stray(self, event: StrayFound) -> None:
        if (event.venue, event.client_id) not in self._strays:
            self._differ(f"reconciliation: {event.client_id} is called a stray, and is none")
        self.strays_found[event.venue, event.client_id] = event.pair

    def _compare(self, client_id: str, placed: Placed, order: Order) -> None:
        market = order.market
        ours = (market.venue, market.symbol, order.side, order.quantity, order.limit)
        theirs = (placed.venue, placed.symbol, placed.side, placed.quantity, placed.price)
        if ours != theirs:
            self._differ(f"orders: {client_id} is {ours} in the ledger, {theirs} at the venue")


STRAY = "-x"
"""Ending of the names of orders that the simulation places under our tag: no worker makes such names."""
