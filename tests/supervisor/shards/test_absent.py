"""Pairs that a run could not trade when it began, of which something is open, come as soon as they can."""

import pytest

from arbshard.model.universe import Universe
from supervisor.shards.absent import AbsentPairs
from supervisor.shards.changes import ListingRequest

S = 1_000_000_000


class Desk:
    """Risk and the venues of a run that trades BTC."""

    def __init__(self, make, every_s=30.0, chosen=()):
        self.make = make
        self.open = None
        self.asked = []
        self.requests = []
        self.alerts = []
        self.universe = Universe(make.fx_leg, (make.pair,), (("BTC",),))
        self.absent = AbsentPairs(self.find, lambda: self.open, chosen, every_s, self.alerts.append)
        self.now_s = 0

    def find(self, names):
        self.asked.append((self.now_s, *names))
        self.requests.append(ListingRequest())
        return self.requests[-1]

    def step(self, *, seconds=1):
        self.now_s += seconds
        return self.absent.step(self.universe, self.now_s * S)

    def answer(self, base):
        """The venues list ``base`` as trading."""
        found = Universe(self.make.fx_leg, (self.make.other_pair(base, (0, 0)),), ((base,),))
        self.requests[-1].universe = found

    def refuse(self):
        self.requests[-1].problem = "no pair ETH"


@pytest.fixture
def desk(make):
    return Desk(make)


def test_nothing_is_asked_for_while_all_that_is_open_is_traded(desk) -> None:
    desk.open = frozenset({"BTC"})
    assert [desk.step() for _ in range(200)] == [None] * 200
    assert desk.asked == []


def test_a_missed_pair_is_asked_for_until_its_markets_are_open(desk) -> None:
    for _ in range(5):
        desk.step()  # risk is not there yet
    desk.open = frozenset({"BTC", "ETH"})
    assert desk.step() is None
    assert desk.asked == [(6, "ETH")]
    desk.refuse()
    for _ in range(40):
        assert desk.step() is None
    assert desk.asked == [(6, "ETH"), (36, "ETH")]
    desk.answer("ETH")
    change = desk.step()
    assert change is not None
    assert change.what == "add ETH"
    assert desk.alerts == []
    desk.universe = desk.universe.with_pairs([desk.make.other_pair("ETH")])
    for _ in range(100):
        assert desk.step() is None
    assert len(desk.asked) == 2
    assert desk.alerts == ["ETH is traded again: it was left out when the run began"]


def test_a_change_that_fails_is_made_again(desk) -> None:
    """There was no free slot, for example."""
    desk.open = frozenset({"ETH"})
    changes = []
    for _ in range(95):
        if desk.requests and desk.requests[-1].universe is None:
            desk.answer("ETH")
        changes += filter(None, [desk.step()])
    assert [change.what for change in changes] == ["add ETH"] * 4
    assert desk.alerts == []


def test_what_a_person_has_chosen_comes_whether_or_not_something_is_open(make) -> None:
    desk = Desk(make, chosen=("KRW-BTC", "KRW-ETH"))
    desk.step()
    assert desk.asked == [(1, "KRW-ETH")]
    assert desk.alerts == [
        "KRW-ETH: left out while a market is closed; added once both venues list it as trading"
    ]
    desk.answer("ETH")
    change = desk.step()
    assert change is not None
    assert change.what == "add ETH"
    desk.universe = desk.universe.with_pairs([desk.make.other_pair("ETH")])
    desk.step()
    assert desk.alerts[1:] == ["KRW-ETH is traded again: it was left out when the run began"]


def test_what_a_person_has_not_chosen_stays_out(make) -> None:
    desk = Desk(make, chosen=("BTC",))
    desk.open = frozenset({"BTC", "ETH"})
    for _ in range(100):
        assert desk.step() is None
    assert desk.asked == desk.alerts == []


def test_each_of_several_has_its_turn(desk) -> None:
    desk.open = frozenset({"ETH", "SOL", "XRP"})
    for _ in range(62):
        desk.step()
        if desk.requests and not desk.requests[-1].problem:
            desk.refuse()
    assert [name for _, name in desk.asked] == ["ETH", "SOL", "XRP", "ETH", "SOL", "XRP", "ETH"]
    assert desk.asked[1][0] - desk.asked[0][0] == 10


def test_what_is_open_no_more_is_not_asked_for(desk) -> None:
    desk.open = frozenset({"ETH"})
    desk.step()
    desk.refuse()
    desk.open = frozenset()
    for _ in range(100):
        desk.step()
    assert len(desk.asked) == 1


def test_what_a_person_takes_out_stays_out(desk) -> None:
    """Its position was kept, so it is open and not traded."""
    desk.universe = desk.universe.with_pairs([desk.make.other_pair("ETH")])
    desk.open = frozenset({"BTC", "ETH"})
    desk.step()
    desk.universe = Universe(desk.make.fx_leg, (desk.make.pair,), (("BTC",),), serial=9)
    for _ in range(100):
        assert desk.step() is None
    assert desk.asked == []


def test_the_venues_are_asked_once_a_minute_at_least(make) -> None:
    desk = Desk(make, every_s=3600.0)
    desk.open = frozenset({"ETH"})
    for _ in range(121):
        desk.step()
        if desk.requests and not desk.requests[-1].problem:
            desk.refuse()
    assert desk.asked == [(1, "ETH"), (61, "ETH"), (121, "ETH")]


def test_nothing_more_is_asked_while_an_answer_is_awaited(desk) -> None:
    desk.open = frozenset({"ETH"})
    for _ in range(500):
        assert desk.step() is None
    assert len(desk.asked) == 1
    desk.answer("ETH")
    assert desk.step() is not None
