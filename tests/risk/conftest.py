"""What the files of this folder share: a live desk, which is a world and its venues."""

from decimal import Decimal

import pytest

from arbshard.wire.messages import Done, Refused
from arbshard.wire.reconciliation import ShowReconciliation
from support import world as w

TAG = "ab1cd"


class Desk:
    """A live world and its venues."""

    def __init__(self, **live) -> None:
        self.w = w
        self.venues = w.Venues()
        self.world = w.World(ready=False, config=w.with_live(**live), tag=TAG)
        self.world.start()
        self.welcome = self.world.ask(self.world.hello())

    def state(self, *venues: str, settled: bool = True) -> list:
        """Both venues' word (or that of some), read just now; the events that follow."""
        before = len(self.world.events)
        for venue in venues or (self.w.HOME, self.w.AWAY):
            self.world.now_ms += 1
            answer = self.world.tell(self.venues.statement(venue, self.world.now_ms, settled=settled))
            assert isinstance(answer, Done), answer
        return self.world.events[before:]

    def trade(self, intent, *results, done=False):
        """As ``World.carry_out``, at the venues too."""
        for result in results or (self.w.filled(intent.home), self.w.filled(intent.away)):
            for fill in result.fills:
                self.venues.fill(fill)
        return self.world.carry_out(intent, *results, done=done)

    def refusal(self, intent):
        reply = self.world.submit(intent)
        return reply.reason if isinstance(reply, Refused) else None

    def booked(self, venue: str, currency: str) -> Decimal:
        return self.world.state.balance(venue, currency).total

    def show(self):
        return self.world.tell(ShowReconciliation())


@pytest.fixture
def make_desk():
    """A desk that has heard nothing yet; given values of ``[live]``."""
    return Desk


@pytest.fixture
def new():
    return Desk()


@pytest.fixture
def desk():
    """Opened, funded."""
    made = Desk()
    made.state()
    return made
