"""What leaving needs is held on each venue: entries cannot spend it, and nothing is held for what is closed."""

from decimal import Decimal

import pytest
from hypothesis import given, settings

from arbshard.ledger.events import IntentApproved
from arbshard.model.book import BookTop, PairView
from arbshard.model.refusal import Refusal
from arbshard.risk.limits.ways_out import WaysOut
from arbshard.wire.messages import Approved, Extend, Refused, SetLimits
from support import world as w
from support.effort import effort
from support.paper_chaos import Chaos, steps

MARGIN = Decimal("1.02")
AWAY_FEE = Decimal("1.001002")
"""What must be bought for 1 to arrive, rounded up."""
HOME_FEE = Decimal("1.0005005")


def view(home: float, away: float) -> PairView:
    return PairView(*(BookTop(price * 0.999, 1.0, price, 1.0, 1) for price in (home, away)), seen_ns=1)


def needed(world, venue, currency) -> Decimal:
    return world.core.guard.ways_out.needed().get((venue, currency), Decimal(0))


def test_an_open_position_holds_coins_on_one_venue_and_money_on_the_other() -> None:
    world = w.World()
    position = world.open_position("BTC", "buy_home")
    assert needed(world, w.HOME, "BTC") == position.long_base == Decimal("0.5")
    assert needed(world, w.AWAY, "USDT") == position.short_base * w.AWAY_PRICE * AWAY_FEE * MARGIN
    assert needed(world, w.HOME, "KRW") == needed(world, w.AWAY, "BTC") == 0
    world.carry_out(world.exit_of(position), done=True)
    assert not any(world.core.guard.ways_out.needed().values())


def test_an_entry_cannot_spend_it_and_the_exit_can() -> None:
    """Finding 4: an entry of another pair took the money with which the coins were to be bought back."""
    world = w.World(config=w.with_paper(quote_away=Decimal(500)))
    position = world.open_position("BTC", "buy_home")  # sells at 700 what it must buy back: 350 come to 500
    refused = world.submit(world.entry("ETH", "buy_away", quantity=Decimal("0.8")))
    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.BALANCE
    held = needed(world, w.AWAY, "USDT")
    assert refused.detail.startswith("binance USDT: 560 needed, 849.65 free, 357.3")
    assert refused.detail.endswith(" of it held for the ways out of BTC")
    assert {(v, c): free for v, c, free in refused.available}["binance", "USDT"] == Decimal("849.65") - held
    assert isinstance(world.submit(world.entry("ETH", "buy_away", quantity=Decimal("0.7"))), Approved)
    exit_ = world.exit_of(position, away_limit=Decimal(710))
    assert isinstance(world.submit(exit_), Approved)


def test_an_entry_needs_a_way_out_of_its_own() -> None:
    """What its sale brings does not buy the coins back: there are two fees between, and the price may move."""
    world = w.World(config=w.with_paper(quote_away=Decimal(7)))
    refused = world.submit(world.entry("BTC", "buy_home"))
    assert refused.reason is Refusal.BALANCE
    assert refused.detail.startswith("binance USDT: 7.7")
    assert "needed to leave again, 7 free" in refused.detail
    world = w.World(config=w.with_paper(quote_away=Decimal(8)))
    assert isinstance(world.submit(world.entry("BTC", "buy_home")), Approved)


@pytest.mark.parametrize(
    ("direction", "account"), [("buy_home", (w.AWAY, "USDT")), ("buy_away", (w.HOME, "KRW"))]
)
def test_a_pair_that_is_not_traded_now_keeps_the_money_to_leave_it(direction, account) -> None:
    """Its market was closed when the run began; other pairs spent the money before it opened."""
    world = w.World()
    position = world.open_position("BTC", direction)
    price, fee = (w.AWAY_PRICE, AWAY_FEE) if direction == "buy_home" else (w.HOME_PRICE, HOME_FEE)
    world.bases = ("ETH",)
    again = world.restart()
    assert again.core.guard.ways_out.needed() == {account: position.short_base * price * fee * MARGIN}
    again.core.guard.set_views({"ETH": view(1_000_000.0, 1400.0)})
    again.tick()
    assert needed(again, *account) == position.short_base * price * fee * MARGIN


def test_the_price_of_now_counts() -> None:
    world = w.World()
    world.open_position("BTC", "buy_home")
    views = {"BTC": view(1_000_000.0, 1400.0)}
    world.core.guard.set_views(views)
    world.tick()
    assert needed(world, w.AWAY, "USDT") == Decimal("0.5") * 1400 * AWAY_FEE * MARGIN
    views["BTC"] = view(1_000_000.0, 350.0)
    world.tick()
    assert needed(world, w.AWAY, "USDT") == Decimal("0.5") * 350 * AWAY_FEE * MARGIN


def test_pairs_are_looked_at_by_turns() -> None:
    bases = tuple(f"C{n:02}" for n in range(50))
    world = w.World(
        bases, config=w.with_limits(portfolio_notional_max=Decimal(10) ** 9, concentration_max=1.0)
    )
    for base in bases:
        world.open_position(base, "buy_home")
    world.core.guard.set_views({base: view(1_000_000.0, 1400.0) for base in bases})
    for _ in range(6):
        world.tick()
    assert needed(world, w.AWAY, "USDT") == 50 * Decimal("0.5") * 1400 * AWAY_FEE * MARGIN


def test_without_other_books_nothing_is_calculated_again(monkeypatch) -> None:
    world = w.World()
    world.open_position("BTC", "buy_home")
    views = {"BTC": view(1_000_000.0, 1400.0)}
    world.core.guard.set_views(views)
    world.tick()
    calculated = []
    real = WaysOut._of_pair
    monkeypatch.setattr(
        WaysOut, "_of_pair", lambda self, base: (calculated.append(base), real(self, base))[1]
    )
    for _ in range(5):
        world.tick()
    assert calculated == []
    views["BTC"] = view(1_000_000.0, 350.0)
    world.tick()
    assert calculated == ["BTC"]
    world.open_position("ETH", "buy_home")
    world.tick()
    assert "ETH" in calculated


def test_a_changed_margin_counts_at_once() -> None:
    world = w.World()
    world.open_position("BTC", "buy_home")
    world.tell(SetLimits((("way_out_margin_bps", "1000"),)))
    assert needed(world, w.AWAY, "USDT") == Decimal("0.5") * w.AWAY_PRICE * AWAY_FEE * Decimal("1.1")


def test_while_it_is_left_only_the_rest_is_held() -> None:
    world = w.World()
    position = world.open_position("BTC", "buy_home")
    exit_ = world.exit_of(position, away_limit=Decimal(800))
    world.submit(exit_)
    assert not any(world.core.guard.ways_out.needed().values())  # its orders hold more than that
    world.report(exit_, w.filled(exit_.home), w.filled(exit_.away, Decimal("0.2")))
    left = position.short_base - Decimal("0.2") * Decimal("0.999")
    assert needed(world, w.HOME, "BTC") == 0
    assert needed(world, w.AWAY, "USDT") == left * w.AWAY_PRICE * AWAY_FEE * MARGIN
    world.conclude(exit_)
    assert needed(world, w.AWAY, "USDT") == left * w.AWAY_PRICE * AWAY_FEE * MARGIN


def test_a_restart_holds_the_same() -> None:
    world = w.World()
    world.open_position("BTC", "buy_home")
    world.submit(world.entry("ETH"))
    again = world.restart()
    before, after = world.core.guard.ways_out.needed(), again.core.guard.ways_out.needed()
    assert {account: amount for account, amount in before.items() if amount} == dict(after)


def test_what_was_rolled_back_holds_nothing() -> None:
    world = w.World()
    world.core.handle(w.Submit(0, 1, world.entry("BTC", "buy_home")), world.now_ms, world.phase)
    assert needed(world, w.AWAY, "USDT") > 0
    world.core.rollback()
    assert needed(world, w.AWAY, "USDT") == 0


def test_the_pairs_are_named_the_largest_needs_first() -> None:
    bases = ("A", "B", "C", "D", "E", "F", "G")
    world = w.World(bases, config=w.with_paper(quote_away=Decimal(100)))
    for n, base in enumerate(bases[:-1]):
        world.carry_out(world.entry(base, "buy_home", quantity=Decimal("0.1") * (n + 1)))
    refused = world.submit(world.entry("G", "buy_away", quantity=Decimal(1)))
    assert refused.reason is Refusal.BALANCE
    assert refused.detail.endswith("held for the ways out of F, E, D, C, B and 1 more")


def test_live_a_difference_leaves_the_smaller_amount(make_desk) -> None:
    """Finding 1: the venue said that the coins were gone, and exits were still offered them."""
    desk = make_desk()
    desk.state()
    desk.venues.held[w.HOME, "BTC"] = Decimal("1.5")
    desk.state()
    available = {
        (venue, what): free for venue, what, free in desk.world.core.guard.available(desk.world.pairs["BTC"])
    }
    assert desk.booked(w.HOME, "BTC") == 4
    assert available[w.HOME, "BTC"] == Decimal("1.5")
    desk.venues.held[w.HOME, "BTC"] = Decimal(9)
    desk.state()
    available = {
        (venue, what): free for venue, what, free in desk.world.core.guard.available(desk.world.pairs["BTC"])
    }
    assert available[w.HOME, "BTC"] == 4  # what is more is not booked, so it is not spent


@settings(max_examples=effort(60, 500), deadline=None)
@given(steps)
def test_sums_are_what_is_open_and_an_approved_entry_leaves_a_way_out(made) -> None:
    """After any sequence: sums are those of a fresh calculation, nothing is held for what is closed, no balance is
    below zero, and where an entry was approved everything held is there.
    """
    config = w.with_paper(
        quote_away=Decimal(3000), quote_home=Decimal(4_000_000), inventory_notional=Decimal(2_000_000)
    )
    chaos = Chaos(w.World(config=config))
    for step in made:
        before = len(chaos.world.events)
        chaos.do(*step)
        world = chaos.world
        guard, state = world.core.guard, world.state
        sums = {account: amount for account, amount in guard.ways_out.needed().items() if amount}
        assert sums == dict(WaysOut(world.pairs, state, guard.limits).needed())
        if not state.positions and not state.trades:
            assert not sums
        for account, balance in state.balances.items():
            assert balance.total >= 0, account
        new = world.events[before:] if len(world.events) > before else []
        for event in new[:1]:
            if isinstance(event, IntentApproved) and event.intent.kind == "entry":
                pair = world.pairs[event.intent.pair]
                for leg in (pair.home, pair.away):
                    for currency in (leg.market.quote, pair.base):
                        account = leg.market.venue, currency
                        balance = state.balance(*account)
                        assert balance.held + sums.get(account, Decimal(0)) <= balance.total, account


@pytest.mark.parametrize("kind", ["hedge", "unwind"])
def test_a_hedge_of_the_pair_spends_what_its_way_out_holds(kind) -> None:
    world = w.World(config=w.with_paper(quote_home=Decimal(520_000)))
    entry = world.entry("BTC", "buy_away")
    world.submit(entry)
    world.report(entry, w.filled(entry.home), w.expired(entry.away))  # sold at home: to be bought back there
    order = w.Order(f"{entry.intent_id}-h1", entry.home.market, "buy", w.QUANTITY, Decimal(1_010_000), kind)
    assert isinstance(world.ask(Extend(0, 1, entry.intent_id, order)), Approved)
