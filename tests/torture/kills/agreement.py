"""Whether an exchange's books and our ledger say the same. Pure but for reading the ledger; a sentence is a defect.

Nothing of arbshard's own replay is used: the ledger's events are added up here once more.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from arbshard.ledger.events import (
    Deposited,
    DifferenceFound,
    Event,
    IntentApproved,
    IntentConcluded,
    OrderExtended,
    OrderReported,
    PositionChanged,
    PositionClosed,
    PositionOpened,
    StrayFound,
)
from arbshard.ledger.history import LedgerHistory
from arbshard.model.money import plain
from arbshard.model.order import FINAL_STATES, Fill, Order

ZERO = Decimal(0)
LEFT_KRW_MAX = Decimal(20_000)
"""What may be left of a coin over both venues: less than two orders that Upbit would take. An entry is far larger."""
DIGITS = {"upbit": Decimal("0.000001"), "binance": ZERO}
"""By how much an amount may differ: Upbit's private events state doubles, Binance states exact amounts."""
_NOTHING_DONE = ("NOT_ACCEPTED", "REJECTED")


class LedgerView:
    """What the ledger's events add up to."""

    def __init__(self, tag: str, events: list[Event]) -> None:
        self.tag = tag
        self.deposits: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        self.balances: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        self.orders: dict[str, Order] = {}
        self.states: dict[str, str] = {}
        self.details: dict[str, str] = {}
        self.fills: dict[str, list[Fill]] = defaultdict(list)
        self.open_intents: set[str] = set()
        self.open_positions: set[str] = set()
        self.intents = 0
        self.differences: list[str] = []
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case Deposited():
                if event.why != "rounding":
                    self.deposits[event.venue, event.currency] += event.amount
                self.balances[event.venue, event.currency] += event.amount
            case IntentApproved():
                self.intents += 1
                self.open_intents.add(event.intent.intent_id)
                for order in (event.intent.home, event.intent.away):
                    self._order(order)
            case OrderExtended():
                self._order(event.order)
            case OrderReported():
                self.states[event.client_id] = event.state
                self.details[event.client_id] = event.detail
                for fill in event.fills:
                    self.fills[event.client_id].append(fill)
                    for currency, amount in fill.changes():
                        self.balances[fill.market.venue, currency] += amount
            case IntentConcluded():
                self.open_intents.remove(event.intent_id)
            case PositionOpened() | PositionChanged():
                self.open_positions.add(event.position.position_id)
            case PositionClosed():
                self.open_positions.discard(event.position.position_id)
            case DifferenceFound():
                said = f"{plain(event.stated)} by the venue, {plain(event.booked)} by the ledger"
                self.differences.append(f"{event.venue} {event.currency}: {said}")
            case StrayFound():
                self.differences.append(f"{event.venue}: stray order {event.client_id}")
            case _:
                pass

    def _order(self, order: Order) -> None:
        self.orders[order.client_id] = order
        self.states[order.client_id] = "INTENT"
        self.details[order.client_id] = ""


def read_ledger(path: Path) -> LedgerView:
    """The ledger as it stands."""
    with closing(LedgerHistory(path)) as history:
        events = [history.decode(row[0], row[5]) for row in history.rows()]
        return LedgerView(history.live.meta["tag"], events)


def disagreements(books: dict[str, dict], ledger: LedgerView) -> list[str]:
    """What they contradict each other in. ``books``: of ``Exchange.books``, by venue."""
    found = list(_of_the_ledger(ledger))
    for venue, book in books.items():
        found += _of_orders(venue, book, ledger)
        found += _of_balances(venue, book, ledger)
    found += _of_lost_orders(books, ledger)
    found += _of_imbalance(books)
    return found


def _of_the_ledger(ledger: LedgerView) -> Iterator[str]:
    for intent in sorted(ledger.open_intents):
        yield f"intent {intent} has no outcome"
    for position in sorted(ledger.open_positions):
        yield f"position {position} is open"
    for difference in ledger.differences:
        yield f"a difference was found on the way: {difference}"
    times = Counter(fill.fill_id for fills in ledger.fills.values() for fill in fills)
    for fill_id, number in times.items():
        if number > 1:
            yield f"fill {fill_id} is booked {number} times"
    for client_id, state in ledger.states.items():
        if state not in FINAL_STATES:
            yield f"order {client_id} is {state} in the ledger, which is no end"


def _of_orders(venue: str, book: dict, ledger: LedgerView) -> Iterator[str]:
    if book["orders_dropped"]:
        yield f"{venue} has forgotten {book['orders_dropped']} orders: nothing can be compared"
    seen = Counter(order["client_id"] for order in book["orders"])
    for client_id, number in seen.items():
        if number > 1:
            yield f"{venue} has {number} orders called {client_id}"
    for order in book["orders"]:
        name = f"{venue} order {order['client_id'] or order['id']}"
        client_id = order["client_id"].removeprefix(f"{ledger.tag}-")
        ours = ledger.orders.get(client_id)
        if client_id == order["client_id"] or ours is None:
            yield f"{name} is unknown to the ledger"
            continue
        if order["status"] == "open":
            yield f"{name} is open"
            continue
        state, detail = ledger.states[client_id], ledger.details[client_id]
        whole = Decimal(order["executed"]) == Decimal(order["quantity"])
        if state not in (("FILLED",) if whole else ("CANCELED", "EXPIRED")):
            yield f"{name} executed {order['executed']} of {order['quantity']}, the ledger says {state}"
        if any(words in detail for words in ("never accepted", "not accepted", "not sent")):
            yield f"{name} is there, the ledger says: {detail}"
        if (ours.market.symbol, ours.side) != (order["symbol"], order["side"]):
            yield f"{name} is a {order['side']} of {order['symbol']}, in the ledger it is {ours.side} {ours.market}"
        yield from _of_fills(name, venue, order, ledger.fills[client_id])


def _of_fills(name: str, venue: str, order: dict, booked: list[Fill]) -> Iterator[str]:
    said = {f"{venue}:{order['symbol']}:{fill['trade_id']}": fill for fill in order["fills"]}
    mine = {fill.fill_id: fill for fill in booked}
    for fill_id in sorted(said.keys() - mine.keys()):
        yield f"{name}: fill {fill_id} is lost"
    for fill_id in sorted(mine.keys() - said.keys()):
        yield f"{name}: fill {fill_id} is in the ledger only"
    for fill_id in said.keys() & mine.keys():
        theirs, ours = said[fill_id], mine[fill_id]
        amounts = (Decimal(theirs["quantity"]), Decimal(theirs["price"]), theirs["fee_currency"])
        if amounts != (ours.quantity, ours.price, ours.fee_currency):
            yield f"{name}: fill {fill_id} is {theirs}, in the ledger {ours}"
    # Upbit tells an order's fee as one sum: how the ledger shares it out is its own affair.
    fees = sum((fill.fee for fill in booked), ZERO)
    if abs(fees - Decimal(order["fee_paid"])) > DIGITS[venue]:
        yield f"{name}: fee {order['fee_paid']}, in the ledger {plain(fees)}"


def _of_lost_orders(books: dict[str, dict], ledger: LedgerView) -> Iterator[str]:
    there = {(venue, order["client_id"]) for venue, book in books.items() for order in book["orders"]}
    for client_id, order in ledger.orders.items():
        if (order.market.venue, f"{ledger.tag}-{client_id}") in there:
            continue
        if ledger.fills[client_id] or ledger.states[client_id] not in _NOTHING_DONE:
            yield f"order {client_id} is {ledger.states[client_id]} in the ledger, {order.market.venue} has no such"


def _of_balances(venue: str, book: dict, ledger: LedgerView) -> Iterator[str]:
    for currency, balance in book["balances"].items():
        if Decimal(balance["locked"]):
            yield f"{venue} has {balance['locked']} {currency} locked"
    opening = {currency: Decimal(amount) for currency, amount in book["opening"].items()}
    now = {one: Decimal(said["free"]) + Decimal(said["locked"]) for one, said in book["balances"].items()}
    for what, theirs, ours in (
        ("opened with", opening, ledger.deposits),
        ("has", now, ledger.balances),
    ):
        mine = {currency: amount for (where, currency), amount in ours.items() if where == venue}
        for currency in sorted(theirs.keys() | mine.keys()):
            said, booked = theirs.get(currency, ZERO), mine.get(currency, ZERO)
            if abs(said - booked) > DIGITS[venue]:
                yield f"{venue} {what} {plain(said)} {currency}, the ledger says {plain(booked)}"


def _of_imbalance(books: dict[str, dict]) -> Iterator[str]:
    """Of every coin there must be as much as at first, but for what is too little to trade."""
    prices = {
        order["symbol"].removeprefix("KRW-"): Decimal(order["price"])
        for order in books["upbit"]["orders"]
        if order["symbol"].startswith("KRW-")
    }
    moved: dict[str, Decimal] = defaultdict(Decimal)
    for book in books.values():
        for currency, balance in book["balances"].items():
            moved[currency] += Decimal(balance["free"]) + Decimal(balance["locked"])
        for currency, amount in book["opening"].items():
            moved[currency] -= Decimal(amount)
    for coin, price in sorted(prices.items()):
        if abs(moved[coin]) * price > LEFT_KRW_MAX:
            yield f"{plain(moved[coin])} {coin} too much over both venues, at {plain(price)} KRW"
