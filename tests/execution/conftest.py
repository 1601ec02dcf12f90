"""Stand-ins for what executors talk to; all write into one list, so that the order of things can be asserted."""

import asyncio
from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.config import ExecutionConfig
from arbshard.execution.two_leg import TwoLeg
from arbshard.model.order import OrderResult
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import Approved, Refused, Settled

EXECUTION = ExecutionConfig(max_hedge_slippage_bps=40.0, hedge_tries=3)
NET = Decimal("0.00999")
"""Base both legs are meant to move; 0.01 gross where 10 bps are kept in the coin."""


class FakeRisk:
    def __init__(self, calls):
        self.calls = calls
        self.answer = Approved("s1-0-1-1", ())
        self.on_submit = lambda: None
        self.payable = None
        """What hedges may spend, as risk says it; None for anything."""

    async def submit(self, intent):
        self.calls.append(("submit", intent.intent_id))
        self.on_submit()
        return self.answer

    async def extend(self, intent_id, order):
        self.calls.append(("extend", order.client_id))
        if self.payable is not None and order.quantity > sum(amount for _, _, amount in self.payable):
            return Refused(Refusal.BALANCE, "too little", self.payable)
        return Approved(intent_id, ())

    async def report(self, intent_id, result):
        self.calls.append(("report", result.order.client_id, result.state))

    async def set_apart(self, pair, cause, reason, intent_id):
        self.calls.append(("set_apart", pair, cause))

    async def conclude(self, intent_id, mark, fx, *, done):
        self.calls.append(("conclude", intent_id, mark, fx, done))
        return Settled(intent_id, None, ())


class FakePort:
    """Answers from a script by client id; fills whole what has none."""

    def __init__(self, make, calls):
        self.make = make
        self.calls = calls
        self.script = {}

    def _next(self, order):
        answers = self.script.get(order.client_id)
        if answers:
            state, quantity = answers.pop(0)
            return self.make.result(order, state, quantity)
        return self.make.result(order, "FILLED", order.quantity)

    async def send(self, order):
        self.calls.append(("send", order.client_id))
        await asyncio.sleep(0)  # a venue takes its time
        return self._next(order)

    async def ask(self, order):
        self.calls.append(("ask", order.client_id))
        return self._next(order)


class FakeBooks:
    def __init__(self, make):
        self.books = {make.home.market: make.home_book(), make.away.market: make.away_book()}
        self.rate = None
        self.tradable_rate = make.quote
        self.on_look = lambda: None

    def tradable(self, leg):
        self.on_look()
        return self.books[leg.market]

    def tradable_fx(self):
        return self.tradable_rate

    def fx(self):
        return self.rate


class FakeObserver:
    def __init__(self, calls):
        self.calls = calls
        self.waited_ns = []
        self.done: list[OrderResult] = []
        self.answers: list[tuple[str, int]] = []
        self.late_count = 0

    def approved(self, waited_ns):
        self.waited_ns.append(waited_ns)

    def order_done(self, result):
        self.done.append(result)

    def answered(self, venue, waited_ns):
        self.answers.append((venue, waited_ns))

    def late(self):
        self.late_count += 1


@pytest.fixture
def calls():
    return []


@pytest.fixture
def risk(calls):
    return FakeRisk(calls)


@pytest.fixture
def port(make, calls):
    return FakePort(make, calls)


@pytest.fixture
def books(make):
    return FakeBooks(make)


@pytest.fixture
def observer(calls):
    return FakeObserver(calls)


@pytest.fixture
def mark(make):
    return Decimal(str(make.home_book().best_bid))


@pytest.fixture(scope="session")
def execution():
    return EXECUTION


@pytest.fixture(scope="module")
def begin(make):
    """A machine, and its buying and selling order."""

    def build(kind="entry", direction="buy_home", execution=EXECUTION, known=(), lead="both", now_ns=0):
        intent = replace(make.intent(kind, direction, NET), lead=lead)
        before = None
        if kind == "exit":
            before = make.position("buy_away" if direction == "buy_home" else "buy_home", NET)
        buys = (intent.home, intent.away) if direction == "buy_home" else (intent.away, intent.home)
        return TwoLeg(intent, make.pair, before, execution, known, now_ns=now_ns), *buys

    return build
