"""Whether an execution was made on a book that could be traded on, by the truth from outside."""

from decimal import Decimal

import pytest

from arbshard.exchanges.world import SimWorld
from arbshard.model.order import Order, OrderResult
from arbshard.virtual.executions import Execution
from arbshard.virtual.oracle import Oracle
from arbshard.virtual.settings import Settings, config_of, universe_of

SECOND_NS = 1_000_000_000


class Room:
    """An oracle that sees one market, by the time ``now_ns``."""

    def __init__(self, mode):
        self.now_ns = SECOND_NS
        config = config_of(Settings(1, mode=mode))
        universe = universe_of(SimWorld(config.sim), config)
        self.market = universe.pairs[0].away.market
        self.noted = []
        self.oracle = Oracle(config, universe, self, self)
        self.oracle.on_violation = lambda: None
        self.oracle.fresh.received(self.market.symbol, 1, self.now_ns)

    def monotonic_ns(self):
        return self.now_ns

    def note(self, kind, what):
        self.noted.append((kind, what))

    @property
    def stale(self):
        return [what for kind, what in self.noted if kind == "VIOLATION" and what.startswith("stale data")]

    def execute(self):
        market = self.market
        execution = Execution(
            "s1-0-1-1-a0",
            "7",
            market.venue,
            market.symbol,
            market.base,
            market.quote,
            "buy",
            Decimal(1),
            Decimal(2),
        )
        self.oracle.executed("s1-0-1-1-a0:0", execution)

    def learn(self):
        order = Order("s1-0-1-1-a0", self.market, "buy", Decimal(1), Decimal(2), "leg")
        self.oracle.order_done(OrderResult(order, "FILLED"))


@pytest.fixture
def room():
    return Room("paper")


def test_an_execution_is_judged_when_it_happens_and_not_when_its_worker_learns_of_it(room):
    """An order of which nothing was known for seconds was filled on the book of then."""
    room.execute()
    room.now_ns += 60 * SECOND_NS
    room.learn()
    assert room.stale == []


@pytest.mark.parametrize("is_lost", [True, False])
def test_an_execution_on_a_book_that_is_old_or_lost_is_found(room, is_lost):
    if is_lost:
        room.oracle.fresh.lost(1, room.now_ns)
    room.now_ns += 60 * SECOND_NS
    room.execute()
    assert len(room.stale) == 1
    assert "s1-0-1-1-a0 of 7 filled though" in room.stale[0]


def test_a_live_venue_executes_by_its_own_book():
    room = Room("live")
    room.now_ns += 60 * SECOND_NS
    room.execute()
    assert room.stale == []
