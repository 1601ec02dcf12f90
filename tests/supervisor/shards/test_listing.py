"""Listings read again: what has changed, when they are read, and how it comes into force."""

import asyncio
from decimal import Decimal
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from arbshard.config import Config, VenuesConfig
from arbshard.data.listings import Listings
from arbshard.errors import VenueUnavailable
from arbshard.model.market import TickBand
from arbshard.model.universe import Universe
from arbshard.model.warning import CoinName, MarketWarning
from arbshard.venues.base.market import ListedMarket
from supervisor.shards.listing import ListingWatch, compare

S = 1_000_000_000
EVERY_S = 300
OF_LISTING = ("tradable", "note", "warnings", "coin_name")


@pytest.fixture
def universe(make):
    return Universe(make.fx_leg, (make.pair, make.other_pair("ETH", (3, 4))), (("BTC", "ETH"),), listed_ms=1)


def listed(universe, **ticks):
    markets = {}
    for leg in universe.legs():
        venue = markets.setdefault(leg.market.venue, {})
        venue[leg.market.symbol] = ListedMarket(leg.market, leg.rules)
    return Listings(markets, {"upbit": ticks} if ticks else {})


def change(listings, leg, **changes):
    venue = listings.markets[leg.market.venue]
    one = venue[leg.market.symbol]
    rules = {name: changes.pop(name) for name in list(changes) if name not in OF_LISTING}
    venue[leg.market.symbol] = replace(one, rules=replace(one.rules, **rules), **changes)


def no_price(leg):
    return None


class TestCompare:
    def test_the_same_is_no_news(self, universe):
        news = compare(universe, listed(universe), no_price)
        assert news == ((), universe.fx, (), (), (), ())

    def test_changed_rules_are_those_of_the_leg(self, universe):
        leg, listings = universe.pairs[0].away, listed(universe)
        change(listings, leg, lot=Decimal("0.01"), notional_min=Decimal(10))
        news = compare(universe, listings, no_price)
        (pair,) = news.pairs
        assert (pair.base, pair.away.rules.lot, pair.away.rules.notional_min) == ("BTC", Decimal("0.01"), 10)
        assert (pair.home, pair.away.slot, pair.away.fees) == (universe.pairs[0].home, leg.slot, leg.fees)
        (line,) = news.lines
        assert line.startswith("binance:BTCUSDT: lot ")
        assert "is now 0.01" in line
        assert "smallest order" in line

    @pytest.mark.parametrize("gone", [True, False])
    def test_a_market_that_does_not_trade_is_stopped_and_keeps_its_rules(self, universe, gone):
        leg, listings = universe.pairs[1].away, listed(universe)
        if gone:
            del listings.markets["binance"][leg.market.symbol]
        else:
            change(listings, leg, tradable=False, note="BREAK")
        news = compare(universe, listings, no_price)
        why = "it is not listed any more" if gone else "BREAK"
        assert (news.pairs, news.stopped) == ((), (("binance", "ETHUSDT", why),))
        assert news.lines == (f"binance:ETHUSDT has stopped trading ({why}): nothing is entered there",)
        again = compare(replace(universe, stopped=news.stopped), listings, no_price)
        assert (again.stopped, again.lines) == (news.stopped, ())
        back = compare(replace(universe, stopped=news.stopped), listed(universe), no_price)
        assert (back.stopped, back.lines) == ((), ("binance:ETHUSDT is listed as trading again",))

    def test_warnings_and_names_come_and_go_with_the_listing(self, universe):
        leg, listings = universe.pairs[0].home, listed(universe)
        change(listings, leg, warnings=(("warning", ""), ("other_caution", "NEW")), coin_name="Bitcoin")
        news = compare(universe, listings, no_price)
        place = leg.market.venue, leg.market.symbol
        assert news.warnings == (
            MarketWarning(*place, "warning"),
            MarketWarning(*place, "other_caution", "NEW"),
        )
        assert news.coin_names == (CoinName("upbit", "BTC", "Bitcoin"),)
        assert news.lines == (
            "upbit:KRW-BTC: the venue warns of it: warning",
            "upbit:KRW-BTC: the venue warns of it: other_caution (NEW)",
        )
        warned = replace(universe, warnings=news.warnings, coin_names=news.coin_names)
        assert compare(warned, listings, no_price).lines == ()
        over = compare(warned, listed(universe), no_price)
        assert (over.warnings, len(over.lines)) == ((), 2)
        assert over.lines[0] == "upbit:KRW-BTC: the venue no longer warns of it: warning"

    def test_a_tick_that_is_not_in_the_table_replaces_the_table(self, universe):
        leg = universe.pairs[0].home
        price = Decimal(146_000_000)
        told = leg.rules.tick_at(price) * 5
        news = compare(universe, listed(universe, **{"KRW-BTC": told}), lambda _: price)
        (pair,) = news.pairs
        assert pair.home.rules.ticks == (TickBand(Decimal(0), told),)
        assert "tick" in news.lines[0]
        assert f"is now {told}" in news.lines[0]

    def test_the_tick_of_the_table_and_of_a_price_nearby_change_nothing(self, universe):
        leg = universe.pairs[0].home
        edge = leg.rules.ticks[0].price_min
        for tick in (leg.rules.tick_at(edge), leg.rules.tick_at(edge * Decimal("0.99"))):
            listings = listed(universe, **{"KRW-BTC": tick})
            assert compare(universe, listings, lambda _, edge=edge: edge).pairs == ()

    def test_without_a_price_a_told_tick_cannot_be_compared(self, universe):
        assert compare(universe, listed(universe, **{"KRW-BTC": Decimal(7)}), no_price).pairs == ()


class Room:
    """A watch over assignments that publish at once."""

    def __init__(self, universe, clock, every_s=EVERY_S):
        self.assignments = SimpleNamespace(universe=universe, can_revise=True, publish=self.publish)
        self.published, self.alerts, self.asked = [], [], []
        self.answers = []
        config = Config(venues=VenuesConfig(listing_every_s=every_s))
        self.watch = ListingWatch(config, self.read, self.assignments, no_price, clock, self.alerts.append)
        self.now_ns, self.wanted = 0, 0

    def publish(self, universe):
        self.assignments.universe = universe
        self.published.append(universe)

    async def read(self, config, symbols, timeout_s):
        self.asked.append(symbols)
        answer = self.answers.pop(0) if self.answers else listed(self.assignments.universe)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def step(self, seconds=0.0):
        self.now_ns += int(seconds * S)
        self.watch.step(self.now_ns, self.wanted)
        for _ in range(3):
            await asyncio.sleep(0)
        self.watch.step(self.now_ns, self.wanted)


@pytest.fixture
def room(universe, clock):
    room = Room(universe, clock)
    yield room
    room.watch.close()


async def test_read_every_so_often_and_published_only_if_something_changed(room):
    await room.step()
    assert room.asked == []
    await room.step(EVERY_S)
    assert len(room.asked) == 1
    assert room.published == []
    broken = listed(room.assignments.universe)
    change(broken, room.assignments.universe.pairs[0].away, lot=Decimal(1))
    room.answers.append(broken)
    await room.step(EVERY_S)
    (universe,) = room.published
    assert (universe.pairs[0].away.rules.lot, universe.revised) == (1, {"BTC": 1})
    assert len(room.alerts) == 1


async def test_read_when_risk_asks_and_published_for_it_whatever_it_says(room):
    await room.step()
    room.wanted = 1
    await room.step(5)
    (universe,) = room.published
    assert universe.listed_ms > 1
    assert (universe.revised, universe.stopped) == ({}, ())
    await room.step(5)
    assert len(room.published) == 1


async def test_what_risk_asks_again_and_again_is_read_with_pauses(room):
    await room.step()
    for _ in range(600):
        room.wanted += 1
        await room.step(0.1)
    assert 4 <= len(room.asked) <= 6  # after 2 s, 4 s, 8 s, ...


async def test_a_venue_that_does_not_answer_is_told_once_and_asked_again(room):
    await room.step()
    room.answers += [VenueUnavailable("binance: HTTP 500"), VenueUnavailable("binance: HTTP 500")]
    room.wanted = 1
    await room.step(5)
    await room.step(10)
    await room.step(20)
    assert len(room.asked) == 3
    assert room.alerts == ["the listings cannot be read again, the rules stay as they are: binance: HTTP 500"]
    assert len(room.published) == 1


async def test_a_change_of_pairs_under_way_comes_first(room):
    await room.step()
    room.assignments.can_revise = False
    room.wanted = 1
    await room.step(5)
    assert room.published == []
    room.assignments.can_revise = True
    await room.step()
    assert len(room.published) == 1


async def test_never_if_it_is_switched_off(universe, clock):
    room = Room(universe, clock, every_s=0)
    room.wanted = 1
    await room.step(10_000)
    assert room.asked == []
