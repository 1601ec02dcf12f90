"""A live desk whose venues disagree: statements, fills and money from elsewhere in any order."""

from decimal import Decimal
from random import Random

from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.ledger.events import DifferenceFound, DifferenceResolved
from arbshard.model.order import Fill, Order, OrderResult, OrderState
from arbshard.wire.messages import Approved, Done
from arbshard.wire.reconciliation import AcceptDifference
from support import world as w

STEPS = (
    *("enter", "leave", "fill", "fill", "report", "finish") * 2,
    *("begin", "read", "deliver") * 2,
    *("elsewhere", "accept", "accept", "restart", "wait"),
)
STEPS_EACH = 70
seeds = st.integers(0, 2**32)
"""Lists of steps made by hypothesis itself are too tame: nearly none has a statement read between two fills."""
MUCH = {
    ("upbit", "KRW"): Decimal(10_000_000),
    ("upbit", "BTC"): Decimal(9),
    ("upbit", "DOGE"): Decimal(1),
    ("binance", "USDT"): Decimal(9_000),
    ("binance", "ETH"): Decimal(9),
    ("binance", "BNB"): Decimal(1),
}
"""So much is more than orders under way can explain: it must be found by the next statement that is compared."""
ACCOUNTS = tuple(MUCH)
PRINTED = Decimal("0.00000002")
"""How much of a balance Upbit's digits do not show."""


class Chaos:
    """A live world, its venues, and statements that take their time on the way."""

    def __init__(self) -> None:
        self.venues = w.Venues(digits=8)
        self.world = w.World(ready=False, config=w.with_live(), tag="ab1cd")
        self.world.start()
        self.world.ask(self.world.hello())
        self.elsewhere_: dict[tuple[str, str], Decimal] = {}
        """What came from elsewhere and was not accepted."""
        self.at_venue: dict[str, tuple[Fill, ...]] = {}
        """(client id) → fills that happened and were not all reported."""
        self.begun: dict[str, int] = {}
        self.read_: list[tuple[object, dict[tuple[str, str], Decimal]]] = []
        self.fills = 0
        self.fresh()

    def run(self, seed: int) -> None:
        random = Random(seed)
        for _ in range(STEPS_EACH):
            getattr(self, random.choice(STEPS))(random.randrange(10**6), random.randrange(10**6))

    def fresh(self) -> None:
        """Both venues' word of now, heard at once."""
        for venue in (w.HOME, w.AWAY):
            self.world.now_ms += 1
            self.hear(self.venues.statement(venue, self.world.now_ms), dict(self.elsewhere_))

    def hear(self, said, elsewhere) -> None:
        before = len(self.world.events)
        self.world.tell(said)
        for event in self.world.events[before:]:
            if isinstance(event, DifferenceFound):
                due = elsewhere.get((event.venue, event.currency), Decimal(0))
                assert due != 0, ("false alarm", event)
                off = abs(due - (event.stated - event.booked - event.low))
                assert off <= event.high - event.low + PRINTED, event
            elif isinstance(event, DifferenceResolved):
                assert elsewhere.get((event.venue, event.currency), 0) == 0, ("gone too soon", event)
        reconciler = self.world.core.reconciler
        assert reconciler is not None
        if reconciler.last_statement(said.venue).settled_ns == said.read_ns:
            for account, due in elsewhere.items():
                if account[0] == said.venue and due >= MUCH[account]:
                    assert account in self.world.state.reconciled.differences, ("missed", account, due)

    def enter(self, a: int, b: int) -> None:
        intent = self.world.entry(("BTC", "ETH")[a % 2], ("buy_home", "buy_away")[b % 2])
        if isinstance(self.world.submit(intent), Approved):
            self.at_venue[intent.home.client_id] = self.at_venue[intent.away.client_id] = ()

    def leave(self, a: int, b: int) -> None:
        for position in list(self.world.state.positions.values())[a % 2 :][:1]:
            if position.quantity > 0:
                intent = self.world.exit_of(position)
                if isinstance(self.world.submit(intent), Approved):
                    self.at_venue[intent.home.client_id] = self.at_venue[intent.away.client_id] = ()

    def results(self):
        return [one for trade in self.world.state.trades.values() for one in trade.orders]

    def fill(self, a: int, b: int) -> None:
        """At the venue, before anybody here knows; the fee in BNB where that can be."""
        waiting = [one for one in self.results() if not one.is_final]
        if not waiting:
            return
        order = waiting[a % len(waiting)].order
        done = self.at_venue[order.client_id]
        left = order.quantity - sum(fill.quantity for fill in done)
        if left > 0:
            some = left if b % 2 else (left / 2).quantize(Decimal("0.00001"))
            self.fills += 1
            better = Decimal("17.3391") * (-1 if order.side == "buy" else 1)
            price = order.limit + better if order.market.venue == w.HOME else order.limit
            fill = w.make_fill(order, some, price, n=self.fills)
            if order.market.venue == w.AWAY and b % 3:
                fill = replace(fill, fee=Decimal("0.00001"), fee_currency="BNB")
            self.venues.fill(fill)
            if order.market.venue == w.HOME:  # its private stream states doubles
                fill = replace(fill, fee=Decimal(repr(float(fill.fee))))
            self.at_venue[order.client_id] = (*done, fill)

    def report(self, a: int, b: int) -> None:
        waiting = [one for one in self.results() if not one.is_final]
        if waiting:
            self.tell_of(waiting[a % len(waiting)].order, "PARTIAL")

    def tell_of(self, order: Order, state: OrderState) -> None:
        fills = self.at_venue[order.client_id]
        if sum(fill.quantity for fill in fills) == order.quantity:
            state = "FILLED"
        trade = next(
            one for one in self.world.state.trades.values() if one.result(order.client_id) is not None
        )
        self.world.report(trade.intent, OrderResult(order, state, fills))

    def finish(self, a: int, b: int) -> None:
        """The oldest intent ends: all that happened is told."""
        for trade in list(self.world.state.trades.values())[:1]:
            for one in trade.orders:
                if not one.is_final:
                    self.tell_of(one.order, "EXPIRED")
            self.world.conclude(trade.intent, done=True)
            assert trade.intent.intent_id not in self.world.state.trades

    def begin(self, a: int, b: int) -> None:
        self.begun.setdefault((w.HOME, w.AWAY)[a % 2], self.world.now_ms)

    def read(self, a: int, b: int) -> None:
        for venue, at_ms in self.begun.items():
            self.read_.append((self.venues.statement(venue, at_ms, settled=b % 4 > 0), dict(self.elsewhere_)))
        self.begun.clear()

    def deliver(self, a: int, b: int) -> None:
        if self.read_:
            self.hear(*self.read_.pop(a % len(self.read_)))

    def elsewhere(self, a: int, b: int) -> None:
        account = ACCOUNTS[a % len(ACCOUNTS)]
        amount = MUCH[account] if b % 2 else Decimal(1 + b % 3)
        # What is read before this and heard after an acceptance would be another truth: one at a time.
        if account not in self.elsewhere_ and not self.begun and not self.read_:
            self.venues.held[account] = self.venues.held.get(account, Decimal(0)) + amount
            self.elsewhere_[account] = amount

    def accept(self, a: int, b: int) -> None:
        differences = sorted(self.world.state.reconciled.differences)
        if differences and not self.begun and not self.read_:
            account = differences[a % len(differences)]
            if isinstance(self.world.tell(AcceptDifference(*account, "seen", price=Decimal(7))), Done):
                del self.elsewhere_[account]

    def restart(self, a: int, b: int) -> None:
        self.world = self.world.restart(f"run-{len(self.world.events)}")
        self.world.epoch += 1
        self.world.ask(self.world.hello())

    def wait(self, a: int, b: int) -> None:
        self.world.now_ms += a % 1000

    def end(self) -> None:
        while self.world.state.trades:
            self.finish(0, 0)
        self.fresh()
