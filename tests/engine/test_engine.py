"""The engine: when it enters, when it leaves, and above all when it does nothing."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.config import Config, FxConfig, SizingConfig, StrategyConfig
from arbshard.engine.engine import ArbitrageEngine, Entry, Exit, held_of
from arbshard.engine.quality import View
from arbshard.model.entry_terms import PairTerms
from arbshard.model.refusal import Refusal
from support.funds import RICH, Funds, give

WIDE = 100.0
"""A gap in basis points that pays for everything."""


@pytest.fixture
def desk(make):
    """An engine and its one pair, funded, with an FX rate; ``show`` puts books before it and evaluates."""

    class Desk:
        def __init__(self, config=None) -> None:
            self.use(config or Config())

        def use(self, config) -> None:
            self.engine = ArbitrageEngine([make.pair], make.fx_leg, config)
            self.state = self.engine.pairs["BTC"]
            self.give(RICH)

        def give(self, funds) -> None:
            give(self.engine, self.state, funds)
            self.engine.observe(make.fx_leg.slot, make.view(make.fx_book()))

        def show(self, gap=0.0, now_ns=make.now_ns, **book):
            for before_ns in (20_000_000, 0):  # two frames, so that no move counts as a jump
                for slot, shown in ((1, make.home_book(gap, **book)), (2, make.away_book(**book))):
                    frame = replace(shown, received_ns=shown.received_ns - before_ns)
                    self.engine.observe(slot, make.view(frame))
            return self.engine.evaluate(self.state, now_ns)

    return Desk()


class TestLateBooks:
    """A frame that came late is not entered on, and no profit is taken on it; losses and ages do not wait."""

    USUAL_NS = -1_795_000_000 * 10**9
    """What the difference of receipt and sending is above, from when on a frame is late."""

    @pytest.fixture
    def show(self, desk, make):
        """Puts books before an engine that knows the limit; ``late`` names the one that came late."""
        limits = dict.fromkeys((make.fx_leg.slot, 1, 2), self.USUAL_NS)

        def show(gap, late="", by_ms=1, knows=True):
            engine = ArbitrageEngine([make.pair], make.fx_leg, Config(), lambda _: 0, limits.get)
            if not knows:
                engine = ArbitrageEngine([make.pair], make.fx_leg, Config())
            desk.engine, state = engine, engine.pairs["BTC"]
            state.held, desk.state = desk.state.held, state
            desk.give(RICH)
            books = {"fx": make.fx_book(), "home": make.home_book(gap), "away": make.away_book()}
            for name, slot in (("fx", make.fx_leg.slot), ("home", 1), ("away", 2)):
                book = books[name]
                sent_ms = (book.received_ns - self.USUAL_NS) // 1_000_000
                sent = replace(book, sent_ms=sent_ms - (by_ms if name == late else -1))
                engine.observe(slot, make.view(sent))
            return engine.evaluate(state, make.now_ns)

        return show

    @pytest.mark.parametrize("late", ["home", "away", "fx"])
    @pytest.mark.parametrize("gap", [WIDE, -WIDE])
    def test_nothing_is_entered_on_one_late_book(self, desk, show, late, gap):
        assert isinstance(show(gap), Entry)
        assert show(gap, late) is None
        assert desk.state.refusal is Refusal.BOOK_LATE
        assert desk.state.followed is None  # what it would bring by books that are late means nothing

    def test_the_limit_itself_is_not_late(self, show):
        assert isinstance(show(WIDE, "home", by_ms=0), Entry)

    def test_where_the_limit_is_not_known_nothing_is_late(self, show):
        assert isinstance(show(WIDE, "home", by_ms=60_000, knows=False), Entry)

    def test_no_refusal_where_nothing_was_to_be_done(self, desk, show):
        assert show(0.0, "home") is None
        assert desk.state.refusal is None

    def test_no_profit_is_taken_and_nothing_is_reversed(self, desk, make, show):
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns, make.now_ms)
        assert show(120.0).reason == "take_profit"
        assert show(120.0, "away") is None
        assert desk.state.refusal is Refusal.BOOK_LATE

    def test_a_loss_and_an_age_do_not_wait(self, desk, make, show):
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns, make.now_ms)
        assert show(-150.0, "home").reason == "stop_loss"
        old = replace(make.position(), opened_ms=make.now_ms - 3_600_000)
        desk.engine.set_positions(desk.state, [], make.now_ns, make.now_ms)
        desk.engine.set_positions(desk.state, [old], make.now_ns, make.now_ms)
        assert show(120.0).reason == "take_profit"
        assert show(120.0, "home").reason == "max_hold"

    def test_a_person_does_not_wait(self, desk, make, show):
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns, make.now_ms)
        show(0.0, "home")
        assert desk.engine.close(desk.state, desk.state.held[0], "manual").reason == "manual"


class TestFunnel:
    """How far edges come, counted where the engine has a branch anyway."""

    def counts(self, desk):
        found = desk.state.funnel
        return found.wanted, found.barred, found.sized, found.decided

    @pytest.mark.parametrize("gap", [WIDE, -WIDE])
    def test_an_entry_passes_all_stages_with_its_edge(self, desk, gap):
        entry = desk.show(gap)
        assert self.counts(desk) == (1, 0, 1, 1)
        found = desk.state.funnel
        assert found.sized_bps == found.decided_bps == entry.edge.net_bps
        assert found.wanted_bps >= entry.edge.net_bps

    @pytest.mark.parametrize("gap", [0.0, -20.0])
    def test_an_edge_that_nets_too_little_is_not_wanted(self, desk, gap):
        assert desk.show(gap) is None
        assert self.counts(desk) == (0, 0, 0, 0)

    def test_books_that_are_not_deep_enough(self, desk):
        assert desk.show(-WIDE, size=1e-6) is None
        assert self.counts(desk) == (1, 0, 0, 0)

    def test_an_objection_comes_after_the_depth(self, desk):
        assert desk.show(-900.0) is None
        assert desk.state.refusal is Refusal.EDGE_TOO_GOOD
        assert self.counts(desk) == (1, 0, 1, 0)

    def test_what_is_barred_is_sized_once_and_followed_then(self, desk):
        desk.state.barred = {"buy_home": Refusal.SYMBOL_DAILY_LOSS}
        desk.show(-WIDE)
        assert self.counts(desk) == (1, 0, 1, 0)
        desk.show(-WIDE)
        assert self.counts(desk) == (2, 1, 1, 0)
        assert desk.state.funnel.barred_bps == desk.state.funnel.wanted_bps / 2

    def test_data_that_are_not_sound_count_nowhere(self, desk, make):
        desk.show(-WIDE, now_ns=make.now_ns + 10**12)
        assert self.counts(desk) == (0, 0, 0, 0)


class TestInventory:
    """An entry that is not made for want of money or coins is refused, and says where they are missing."""

    @pytest.mark.parametrize(
        ("gap", "funds", "missing"),
        [
            (-WIDE, {"home_quote": 10_000.0}, ("upbit", "KRW")),
            (-WIDE, {"away_base": 0.0}, ("binance", "BTC")),
            (WIDE, {"away_quote": 10.0}, ("binance", "USDT")),
            (WIDE, {"home_base": 0.0}, ("upbit", "BTC")),
        ],
    )
    def test_what_is_missing_is_named(self, desk, gap, funds, missing):
        desk.give(RICH._replace(**funds))
        assert desk.show(gap) is None
        assert desk.state.refusal is Refusal.INVENTORY_SHORT
        assert desk.state.short == missing
        assert desk.state.followed is not None  # what it would have brought is found out

    def test_what_the_other_direction_needs_is_not_missing(self, desk):
        desk.give(RICH._replace(away_quote=0.0, home_base=0.0))
        assert isinstance(desk.show(-WIDE), Entry)

    @pytest.mark.parametrize("gap", [0.0, -15.0])
    def test_no_gap_lacks_nothing(self, desk, gap):
        desk.give(Funds(0.0, 0.0, 0.0, 0.0))
        assert desk.show(gap) is None
        assert desk.state.refusal is None

    def test_another_objection_is_named_first(self, desk):
        desk.give(RICH._replace(home_quote=0.0))
        assert desk.show(-900.0) is None
        assert desk.state.refusal is Refusal.EDGE_TOO_GOOD


@pytest.mark.parametrize(
    ("gap", "direction"), [(-WIDE, "buy_home"), (WIDE, "buy_away")], ids=["home cheap", "home dear"]
)
class TestEntry:
    def test_enters_where_the_coin_is_cheap(self, desk, gap, direction):
        trade = desk.show(gap)
        assert isinstance(trade, Entry)
        assert trade.direction == direction
        assert trade.pair.base == "BTC"
        assert trade.fx == (1390.0, 1391.0)
        assert 30.0 <= trade.edge.net_bps < 100.0  # the gap less fees, FX and spreads
        assert trade.edge.cost <= 1_000_000
        assert desk.state.refusal is None

    def test_size_stays_below_the_maximum_and_what_is_there(self, desk, gap, direction):
        desk.give(Funds(300_000.0, 1.0, 300_000 / 1390, 1.0))
        trade = desk.show(gap)
        assert isinstance(trade, Entry)
        assert 290_000 < trade.edge.cost <= 300_000 * 0.99
        desk.give(Funds(1e9, 0.001, 1e7, 0.001))
        trade = desk.show(gap)
        assert isinstance(trade, Entry)
        assert trade.edge.sell_quantity == pytest.approx(0.001, abs=0.00001)

    def test_busy_pair_does_nothing(self, desk, gap, direction):
        desk.state.busy = True
        assert desk.show(gap) is None

    def test_resting_pair_does_nothing(self, desk, make, gap, direction):
        desk.state.rest_until_ns = make.now_ns + 1
        assert desk.show(gap) is None
        assert desk.show(gap, now_ns=make.now_ns + 1) is not None

    def test_unfunded_pair_does_nothing_and_says_so(self, desk, gap, direction):
        desk.state.is_funded = False
        assert desk.show(gap) is None
        assert desk.state.refusal is Refusal.NOT_FUNDED

    def test_without_money_or_coins_nothing(self, desk, gap, direction):
        desk.give(Funds(0.0, 1.0, 0.0, 1.0))
        assert desk.show(gap) is None
        desk.give(Funds(1e9, 0.0, 1e7, 0.0))
        assert desk.show(gap) is None

    def test_no_entry_while_stopping(self, desk, gap, direction):
        desk.engine.entering = False
        assert desk.show(gap) is None

    def test_no_second_position_beyond_the_limit(self, desk, make, gap, direction):
        desk.use(Config(strategy=StrategyConfig(stop_loss_bps=1000.0)))
        assert desk.show(gap) is not None
        desk.engine.set_positions(desk.state, [make.position(direction)], make.now_ns, make.now_ms)
        assert desk.show(gap) is None  # neither in profit nor reversed, and one is all it may hold

    def test_too_good_to_be_true(self, desk, gap, direction):
        assert desk.show(gap * 7) is None
        assert desk.state.refusal is Refusal.EDGE_TOO_GOOD

    def test_worth_two_orders_or_not_at_all(self, desk, gap, direction):
        assert desk.show(gap, size=0.00002, levels=5) is None  # about 14,600 KRW in all
        assert desk.show(gap, size=0.0001, levels=5) is not None

    def test_data_not_to_be_trusted_is_never_traded_on(self, desk, make, gap, direction):
        home, away = make.home_book(gap), make.away_book()
        assert desk.show(gap) is not None
        spoilt = {
            Refusal.BOOK_BAD: (View(None, live=True, bad=True), make.view(away)),
            Refusal.VENUE_DOWN: (make.view(home), make.view(away, live=False)),
            Refusal.BOOK_STALE: (make.view(replace(home, received_ns=0)), make.view(away)),
            Refusal.BOOK_MISSING: (View(None, live=True, bad=False), make.view(away)),
        }
        for reason, (home_view, away_view) in spoilt.items():
            desk.engine.observe(1, home_view)
            desk.engine.observe(2, away_view)
            assert desk.engine.evaluate(desk.state, make.now_ns) is None
            assert desk.state.refusal is reason
        desk.engine.observe(0, View(None, live=True, bad=True))
        assert desk.show(gap) is None
        assert desk.state.refusal is Refusal.FX_MISSING


class TestRoundTrip:
    """At these books: fees of 30 bps, 7 of FX, and what the books' own spreads take."""

    def use(self, desk, **strategy):
        desk.use(Config(strategy=StrategyConfig(**strategy)))

    @pytest.mark.parametrize("gap", [-WIDE, WIDE])
    def test_gap_that_merely_closes_has_to_pay(self, desk, gap):
        """100 bps of gap less 36.3 of costs."""
        self.use(desk, round_trip_bps=61.0)
        assert isinstance(desk.show(gap), Entry)
        self.use(desk, round_trip_bps=64.0)
        assert desk.show(gap) is None
        assert desk.state.refusal is Refusal.ROUND_TRIP_COST

    @pytest.mark.parametrize("gap", [-WIDE, WIDE])
    def test_stop_must_not_be_reached_at_once(self, desk, gap):
        """In and out at once costs 36.3 bps: a stop at 60 leaves 23.7 of room."""
        self.use(desk, round_trip_bps=0.0, stop_loss_bps=60.0, stop_room_bps=23.0)
        assert isinstance(desk.show(gap), Entry)
        self.use(desk, round_trip_bps=0.0, stop_loss_bps=60.0, stop_room_bps=24.5)
        assert desk.show(gap) is None
        assert desk.state.refusal is Refusal.ROUND_TRIP_COST

    def test_entry_that_does_not_pay_is_no_refusal(self, desk):
        self.use(desk, round_trip_bps=64.0)
        assert desk.show(20.0) is None
        assert desk.state.refusal is None


class TestFxSide:
    """A wide rate, 1390 to 1460, shows which side was taken."""

    def show(self, desk, make, gap):
        strategy = StrategyConfig(max_edge_bps=5000.0, stop_loss_bps=5000.0)
        quality = replace(Config().data_quality, jump_bps=5000.0)
        desk.use(Config(strategy=strategy, data_quality=quality, fx=FxConfig(jump_bps_max=1e6)))
        desk.engine.observe(make.fx_leg.slot, make.view(make.fx_book(1390.0, 1460.0)))
        trade = desk.show(gap)
        assert isinstance(trade, Entry)
        return trade

    def test_dollars_received_are_sold_at_the_bid(self, desk, make):
        edge = self.show(desk, make, -800.0).edge
        received = edge.sell_quantity * edge.sell_price * 0.999 * 1390.0
        assert edge.net_bps == pytest.approx((received / edge.cost - 1) * 1e4)
        assert edge.cost == pytest.approx(edge.buy_quantity * edge.buy_price * 1.0005)

    def test_dollars_spent_are_bought_at_the_ask(self, desk, make):
        edge = self.show(desk, make, 800.0).edge
        assert edge.cost == pytest.approx(edge.buy_quantity * edge.buy_price * 1460.0)

    def test_dollars_at_hand_count_at_the_bid(self, desk, make):
        """What they would cost is not what they are worth."""
        self.show(desk, make, 800.0)
        desk.give(Funds(1e9, 1.0, 500.0, 1.0))
        trade = desk.show(800.0)
        assert isinstance(trade, Entry)
        assert trade.edge.cost <= 500.0 * 1390.0 * 0.99


@pytest.mark.parametrize("gap", [0.0, 20.0, -20.0])
def test_no_entry_without_a_gap_that_pays(desk, gap):
    assert desk.show(gap) is None
    assert desk.state.refusal is None


def test_edge_of_the_whole_quantity_decides(desk):
    """The top of the book pays 30 bps, what lies behind it pays 20: together too little."""
    desk.use(Config(strategy=StrategyConfig(entry_bps=45.0, min_edge_bps=0.0)))
    assert desk.show(-80.0, size=0.002) is not None
    desk.use(Config(strategy=StrategyConfig(entry_bps=62.0, min_edge_bps=0.0)))
    assert desk.show(-80.0, size=0.002) is None


def test_order_size_follows_the_configuration(desk, make):
    desk.use(Config(sizing=SizingConfig(entry_notional_max=100_000, entry_notional_min=50_000)))
    trade = desk.show(-WIDE)
    assert isinstance(trade, Entry)
    assert 98_000 < trade.edge.cost <= 100_000


class TestFxJump:
    """FX jumps: until risk has said what to think of it, the gap is not known."""

    S = 1_000_000_000

    def jump(self, desk, make, bps, at_ns):
        mid = (make.fx[0] + make.fx[1]) / 2 * (1 + bps / 1e4)
        desk.engine.observe(
            make.fx_leg.slot, make.view(make.fx_book(mid - 0.5, mid + 0.5, received_ns=at_ns))
        )

    @pytest.mark.parametrize(("bps", "is_refused"), [(45.0, False), (55.0, True), (-55.0, True)])
    def test_nothing_is_entered_for_three_seconds(self, desk, make, bps, is_refused):
        self.jump(desk, make, bps, make.now_ns)
        gap = -WIDE + bps
        assert (desk.show(gap) is None) is is_refused
        assert desk.state.refusal is (Refusal.FX_DEPARTS if is_refused else None)
        later_ns = make.now_ns + 3 * self.S
        self.jump(desk, make, bps, later_ns)
        assert isinstance(desk.show(gap, now_ns=later_ns, received_ns=later_ns), Entry)

    @pytest.mark.parametrize("is_barred", [False, True])
    def test_nothing_is_left_because_its_gap_seems_reversed(self, desk, make, is_barred):
        desk.use(Config(strategy=StrategyConfig(take_profit_bps=100.0)))
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns, make.now_ms)
        if is_barred:
            both = (("buy_home", Refusal.FX_DEPARTS), ("buy_away", Refusal.FX_DEPARTS))
            desk.state.set_terms(terms(cost_max=1, barred=both))
        else:
            self.jump(desk, make, 60.0, make.now_ns)
        assert desk.show(10.0 + 60.0 * (not is_barred)) is None
        desk.state.held = []
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns - 20 * self.S, make.now_ms)
        trade = desk.show(10.0)
        assert isinstance(trade, Exit)
        assert trade.reason == "max_hold"


class TestExit:
    @pytest.mark.parametrize(
        ("direction", "gap", "reason"),
        [
            ("buy_home", 120.0, "take_profit"),
            ("buy_away", -120.0, "take_profit"),
            ("buy_home", 10.0, "spread_reversal"),
            ("buy_away", -10.0, "spread_reversal"),
            ("buy_home", -150.0, "stop_loss"),
            ("buy_away", 150.0, "stop_loss"),
        ],
    )
    def test_leaves_in_the_reverse_direction(self, desk, make, direction, gap, reason):
        position = make.position(direction)
        desk.engine.set_positions(desk.state, [position], make.now_ns, make.now_ms)
        trade = desk.show(gap)
        assert isinstance(trade, Exit)
        assert trade.reason == reason
        assert trade.direction == ("buy_away" if direction == "buy_home" else "buy_home")
        assert trade.position_id == position.position_id
        assert trade.fx == make.fx

    def test_age_alone_is_a_reason(self, desk, make):
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns - 20 * 10**9 + 1, make.now_ms)
        assert desk.show(-5.0) is None
        trade = desk.show(-5.0, now_ns=make.now_ns + 1)
        assert isinstance(trade, Exit)
        assert trade.reason == "max_hold"

    @pytest.mark.parametrize("step_ms", [-3_600_000, 3_600_000])
    def test_age_does_not_follow_a_wall_clock_that_is_set(self, desk, make, step_ms):
        """Set forward it closes nothing, set back it keeps nothing open."""
        opened_ns = make.now_ns - 19 * 10**9
        desk.engine.set_positions(desk.state, [make.position()], opened_ns, make.now_ms)
        # What follows comes from risk again, by a clock that is an hour off.
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns, make.now_ms + step_ms)
        assert desk.show(-5.0) is None
        desk.engine.set_positions(desk.state, [], make.now_ns, make.now_ms)
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns - 20 * 10**9, make.now_ms)
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns, make.now_ms + step_ms)
        assert desk.show(-5.0).reason == "max_hold"

    def test_age_after_a_restart_is_derived_once_and_never_negative(self, desk, make):
        old = make.position(opened_ms=make.now_ms - 20_000)
        desk.engine.set_positions(desk.state, [old], make.now_ns, make.now_ms)
        assert desk.show(-5.0).reason == "max_hold"
        of_tomorrow = make.position(position_id="other", opened_ms=make.now_ms + 86_400_000)
        desk.engine.set_positions(desk.state, [of_tomorrow], make.now_ns - 20 * 10**9, make.now_ms)
        assert desk.show(-5.0).reason == "max_hold"

    def test_exits_come_before_entries(self, desk, make):
        """The gap would pay for an entry; the position has to go first."""
        desk.use(Config(limits=replace(Config().limits, symbol_positions_max=2)))
        desk.engine.set_positions(desk.state, [make.position("buy_home")], make.now_ns, make.now_ms)
        assert isinstance(desk.show(-WIDE), Exit)
        desk.engine.set_positions(desk.state, [], make.now_ns, make.now_ms)
        assert isinstance(desk.show(-WIDE), Entry)

    def test_exits_go_on_while_stopping_and_resting(self, desk, make):
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns, make.now_ms)
        desk.engine.entering = False
        desk.state.rest_until_ns = make.now_ns + 10**9
        desk.state.is_funded = False
        assert isinstance(desk.show(WIDE), Exit)

    def test_refused_exit_rests(self, desk, make):
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns, make.now_ms)
        desk.state.exit_rest_until_ns = make.now_ns + 1
        assert desk.show(WIDE) is None
        assert isinstance(desk.show(WIDE, now_ns=make.now_ns + 1), Exit)

    def test_never_on_stale_books(self, desk, make):
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns, make.now_ms)
        assert desk.show(WIDE, now_ns=make.now_ns + 2 * 10**9) is None
        assert desk.state.refusal is Refusal.BOOK_STALE

    def test_the_position_that_has_a_reason_is_the_one_closed(self, desk, make):
        young = make.position(position_id="young")
        old = make.position(position_id="old", opened_ms=make.now_ms - 20_000)
        desk.engine.set_positions(desk.state, [young, old], make.now_ns, make.now_ms)
        trade = desk.show(-5.0)
        assert isinstance(trade, Exit)
        assert trade.position_id == "old"


class TestQuietBooks:
    """A position can be left on books that are confirmed, though old; nothing can be entered on them."""

    SECOND = 10**9

    def engine(self, make, confirmed):
        engine = ArbitrageEngine([make.pair], make.fx_leg, Config(), lambda slot: confirmed.get(slot, 0))
        give(engine, engine.pairs["BTC"])
        return engine

    def show(self, make, engine, gap, received_ns, now_ns=None):
        now_ns = make.now_ns if now_ns is None else now_ns
        fx_ns, home_ns, away_ns = received_ns
        engine.observe(0, make.view(make.fx_book(received_ns=fx_ns)))
        engine.observe(1, make.view(make.home_book(gap, received_ns=home_ns)))
        engine.observe(2, make.view(make.away_book(received_ns=away_ns)))
        return engine.evaluate(engine.pairs["BTC"], now_ns)

    def test_an_exit_needs_all_three_confirmed(self, make):
        old = (make.now_ns - 9 * self.SECOND,) * 3
        for slots in ((), (0, 1), (0, 2), (1, 2)):
            engine = self.engine(make, dict.fromkeys(slots, make.now_ns))
            engine.set_positions(engine.pairs["BTC"], [make.position()], make.now_ns, make.now_ms)
            assert self.show(make, engine, WIDE, old) is None
            assert engine.pairs["BTC"].refusal is Refusal.BOOK_STALE
        engine = self.engine(make, dict.fromkeys((0, 1, 2), make.now_ns))
        engine.set_positions(engine.pairs["BTC"], [make.position()], make.now_ns, make.now_ms)
        assert isinstance(self.show(make, engine, WIDE, old), Exit)
        assert engine.pairs["BTC"].refusal is None

    def test_no_entry_comes_of_quiet_books(self, make):
        old = (make.now_ns - 9 * self.SECOND,) * 3
        config = Config(
            limits=replace(Config().limits, symbol_positions_max=2),
            strategy=replace(Config().strategy, stop_loss_bps=1000.0),
        )
        engine = ArbitrageEngine([make.pair], make.fx_leg, config, lambda _: make.now_ns)
        state = engine.pairs["BTC"]
        give(engine, state)
        assert self.show(make, engine, -WIDE, old) is None
        engine.set_positions(state, [make.position("buy_home")], make.now_ns, make.now_ms)
        assert self.show(make, engine, -WIDE, old) is None
        assert state.refusal is Refusal.BOOK_STALE
        assert isinstance(self.show(make, engine, -WIDE, (make.now_ns,) * 3), Entry)

    @given(
        ages_ms=st.tuples(*[st.integers(0, 12_000)] * 3),
        confirmed_ms=st.tuples(*[st.none() | st.integers(0, 12_000)] * 3),
        gap=st.sampled_from([-WIDE, 0.0, WIDE]),
        is_held=st.booleans(),
    )
    def test_what_may_be_done_at_which_age(self, make, ages_ms, confirmed_ms, gap, is_held):
        """Entries by frames alone, as before there were confirmations; exits by frames or confirmations."""
        ms = 1_000_000
        confirmed = {slot: make.now_ns - age * ms for slot, age in enumerate(confirmed_ms) if age is not None}
        engine = self.engine(make, confirmed)
        if is_held:
            engine.set_positions(engine.pairs["BTC"], [make.position("buy_home")], make.now_ns, make.now_ms)
        trade = self.show(make, engine, gap, tuple(make.now_ns - age * ms for age in ages_ms))
        known_ms = [
            min(age, age if one is None else one) for age, one in zip(ages_ms, confirmed_ms, strict=True)
        ]
        fx, home, away = known_ms if isinstance(trade, Exit) else ages_ms
        is_good = fx <= 5000 and home <= 1500 and away <= 1500 and abs(home - away) <= 1000
        if trade is not None:
            assert is_good
            assert isinstance(trade, Exit) == is_held
        elif is_held:
            fx, home, away = known_ms
            is_good = fx <= 5000 and home <= 1500 and away <= 1500 and abs(home - away) <= 1000
            assert not (is_good and gap == WIDE)
        else:
            assert not (is_good and gap != 0.0)


class TestClose:
    def test_closes_whatever_the_rules_say(self, desk, make):
        position = make.position()
        desk.engine.set_positions(desk.state, [position], make.now_ns, make.now_ms)
        assert desk.show(-5.0) is None
        trade = desk.engine.close(desk.state, desk.state.held[0], "shutdown")
        assert isinstance(trade, Exit)
        assert (trade.reason, trade.direction) == ("shutdown", "buy_away")

    def test_stale_books_will_do(self, desk, make):
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns, make.now_ms)
        desk.show(-5.0, received_ns=0)
        assert desk.engine.close(desk.state, desk.state.held[0], "manual") is not None

    @pytest.mark.parametrize("slot", [0, 1, 2])
    def test_not_without_a_book(self, desk, make, slot):
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns, make.now_ms)
        desk.show(-5.0)
        desk.engine.observe(slot, View(None, live=True, bad=True))
        assert desk.engine.close(desk.state, desk.state.held[0], "shutdown") is None

    def test_not_while_busy(self, desk, make):
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns, make.now_ms)
        desk.show(-5.0)
        desk.state.busy = True
        assert desk.engine.close(desk.state, desk.state.held[0], "shutdown") is None


class TestObserve:
    def test_finds_the_pair_of_a_slot(self, make):
        eth = make.other_pair()
        engine = ArbitrageEngine([make.pair, eth], make.fx_leg, Config())
        assert engine.observe(3, make.view(make.home_book())) is engine.pairs["ETH"]
        assert engine.observe(2, make.view(make.away_book())) is engine.pairs["BTC"]
        assert engine.pairs["ETH"].home.book is not None
        assert engine.pairs["ETH"].away.book is None
        assert engine.pairs["BTC"].away.book is not None
        assert engine.pairs["BTC"].home.book is None

    def test_fx_belongs_to_no_pair(self, make):
        engine = ArbitrageEngine([make.pair], make.fx_leg, Config())
        assert engine.observe(0, make.view(make.fx_book())) is None
        assert engine.fx.book is not None

    def test_process_snapshot_is_all_a_library_user_needs(self, desk, make):
        assert desk.engine.process_snapshot(0, make.fx_book(), make.now_ns) is None
        assert desk.engine.process_snapshot(1, make.home_book(-WIDE), make.now_ns) is None
        trade = desk.engine.process_snapshot(2, make.away_book(), make.now_ns)
        assert isinstance(trade, Entry)


def test_busy_pair_does_not_repeat_an_old_refusal(desk, make):
    """Each evaluation that doubted its data is counted once; a busy pair evaluates nothing."""
    desk.show(now_ns=make.now_ns + 2 * 10**9)
    assert desk.state.refusal is Refusal.BOOK_STALE
    desk.state.busy = True
    desk.show()
    assert desk.state.refusal is None


@pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
def test_held_has_the_floats_of_the_position(make, direction):
    position = make.position(direction, "0.00123")
    held = held_of(position)
    assert held.buy_is_home is (direction == "buy_home")
    assert held.long_base == held.short_base == 0.00123
    assert held.home_quote == float(position.flows.home_quote)
    assert held.away_quote == float(position.flows.away_quote)
    assert held.entry_notional == float(position.entry_notional)
    assert held.position_id == position.position_id


def terms(level=None, band=None, cost_max=10**9, barred=(), edge_bps_min=0.0, positions_max=1):
    return PairTerms("BTC", level, band, Decimal(cost_max), edge_bps_min, positions_max, barred)


class TestTerms:
    """What risk says about entries of the pair."""

    @staticmethod
    def use(desk, **strategy):
        desk.use(replace(Config(), strategy=StrategyConfig(**strategy)))

    def test_a_gap_that_is_usual_for_its_pair_is_not_entered_with_the_z_rule(self, desk):
        self.use(desk, entry_z=2.0)
        assert desk.show(-WIDE) is None
        assert desk.state.refusal is Refusal.SPREAD_USUAL
        desk.state.set_terms(terms(0.0, 51.0))
        assert desk.show(-WIDE) is None
        desk.state.set_terms(terms(0.0, 49.0))
        assert isinstance(desk.show(-WIDE), Entry)

    @pytest.mark.parametrize("gap", [-WIDE, WIDE])
    def test_a_gap_that_stands_at_its_level_is_not_entered(self, desk, gap):
        assert isinstance(desk.show(gap), Entry)
        desk.state.set_terms(terms(gap, 3.0))
        assert desk.show(gap) is None

    @pytest.mark.parametrize("side", [-1, 1])
    def test_what_lies_beyond_the_level_is_entered(self, desk, side):
        desk.state.set_terms(terms(side * 60.0, 3.0))
        assert desk.show(side * (60.0 + WIDE / 4)) is None
        assert isinstance(desk.show(side * (60.0 + WIDE)), Entry)

    @pytest.mark.parametrize("side", [-1, 1])
    def test_a_gap_far_from_its_level_needs_an_edge_above_risks_floor(self, desk, side):
        desk.state.set_terms(terms(side * WIDE, 3.0))
        assert desk.show(-side * 10.0) is None
        limits = replace(Config().limits, edge_bps_min=-50.0)
        desk.use(replace(Config(), limits=limits))
        assert desk.state.edge_floor_bps == -50.0
        desk.state.set_terms(terms(side * WIDE, 3.0, edge_bps_min=-50.0))
        assert isinstance(desk.show(-side * 10.0), Entry)

    def test_a_floor_that_was_raised_while_it_runs_is_followed(self, desk):
        desk.state.set_terms(terms())
        assert isinstance(desk.show(-WIDE), Entry)
        desk.state.set_terms(terms(edge_bps_min=WIDE))
        assert desk.show(-WIDE) is None

    def test_positions_are_limited_as_the_limits_in_force_say(self, desk, make):
        self.use(desk, take_profit_bps=900.0, close_on_spread_reversal=False, stop_loss_bps=5000.0)
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns, make.now_ms)
        assert desk.show(-WIDE) is None
        desk.state.set_terms(terms(positions_max=2))
        assert isinstance(desk.show(-WIDE), Entry)

    def test_a_barred_direction_is_not_entered_and_says_why(self, desk):
        desk.state.set_terms(terms(barred=(("buy_home", Refusal.REVERTS_TOO_SLOWLY),)))
        assert desk.show(-WIDE) is None
        assert desk.state.refusal is Refusal.REVERTS_TOO_SLOWLY
        assert isinstance(desk.show(WIDE), Entry)
        assert desk.state.refusal is None

    def test_no_entry_is_larger_than_the_limits_have_room_for(self, desk):
        desk.state.set_terms(terms(cost_max=300_000))
        entry = desk.show(-WIDE)
        assert 250_000 < entry.edge.cost <= 300_000
        desk.state.set_terms(terms(cost_max=10_000))
        assert desk.show(-WIDE) is None

    @pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
    def test_a_reversal_is_measured_from_the_level(self, desk, make, direction):
        side = -1 if direction == "buy_home" else 1
        desk.use(replace(Config(), strategy=StrategyConfig(take_profit_bps=9000.0, stop_loss_bps=9000.0)))
        desk.engine.set_positions(desk.state, [make.position(direction)], make.now_ns, make.now_ms)
        desk.state.set_terms(terms(side * 50.0, 3.0))
        assert desk.show(side * 50.0) is None
        assert desk.show(side * 40.0).reason == "spread_reversal"
        desk.state.set_terms(terms(0.0, 3.0))
        assert desk.show(side * 40.0) is None


class TestFollowed:
    """What refused entries would have brought."""

    @pytest.fixture
    def outcomes(self, desk):
        found = []
        desk.engine.on_followed = found.append
        return found

    def refuse(self, desk, direction="buy_home"):
        desk.state.set_terms(terms(barred=((direction, Refusal.REVERTS_TOO_SLOWLY),)))
        assert desk.show(-WIDE if direction == "buy_home" else WIDE) is None

    @pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
    def test_one_that_would_have_won(self, desk, make, outcomes, direction):
        self.refuse(desk, direction)
        desk.show(0.0, now_ns=make.now_ns + 1_000_000)
        (outcome,) = outcomes
        assert outcome.reason is Refusal.REVERTS_TOO_SLOWLY
        assert 6_000 < outcome.pnl < 7_500  # 100 bps of 1,000,000, less four fees and spreads
        assert desk.state.followed is None

    def test_one_that_would_have_lost(self, desk, make, outcomes):
        self.refuse(desk)
        for second in (1, 19, 20):
            assert not outcomes
            now_ns = make.now_ns + second * 10**9
            desk.engine.observe(make.fx_leg.slot, make.view(make.fx_book(received_ns=now_ns)))
            desk.show(-WIDE, now_ns=now_ns, received_ns=now_ns)
        (outcome,) = outcomes
        assert -4_000 < outcome.pnl < -2_500  # four fees and spreads

    def test_one_at_a_time_and_funds_do_not_matter(self, desk, make, outcomes):
        desk.give(Funds(0.0, 0.0, 0.0, 0.0))
        self.refuse(desk)
        first = desk.state.followed
        assert first.held.entry_notional == pytest.approx(1_000_000, rel=0.01)
        self.refuse(desk)
        assert desk.state.followed is first

    def test_the_same_as_the_entry_would_have_been(self, desk, make, outcomes):
        entry = desk.show(-WIDE)
        self.refuse(desk)
        held = desk.state.followed.held
        assert held.entry_notional == pytest.approx(entry.edge.cost)
        assert held.home_quote == pytest.approx(-entry.edge.cost)
        assert held.short_base == entry.edge.sell_quantity

    def test_what_risk_refuses_is_followed_too(self, desk, make, outcomes):
        entry = desk.show(-WIDE)
        desk.engine.follow_refused(desk.state, entry, Refusal.DAILY_LOSS, make.now_ns)
        desk.state.rest_until_ns = 2**62
        desk.show(0.0)
        assert [outcome.reason for outcome in outcomes] == [Refusal.DAILY_LOSS]

    def test_books_that_cannot_be_trusted_end_nothing(self, desk, make, outcomes):
        self.refuse(desk)
        desk.show(0.0, received_ns=0)
        assert not outcomes
        assert desk.state.followed is not None


class TestJump:
    """One frame that is far off neither enters nor leaves; a second one, or the other side, confirms it."""

    FRAME_NS = 100_000_000

    @pytest.fixture
    def shown(self, desk, make):
        """Frames by mid, in units of the usual one, each received 100 ms after the one before."""
        desk.use(Config(data_quality=replace(Config().data_quality, jump_bps=50.0)))
        self.now_ns = make.now_ns

        def show(home=None, away=None, fx=None, after_ns=self.FRAME_NS):
            self.now_ns += after_ns
            if home is not None:
                desk.engine.observe(1, make.view(make.home_book(home, received_ns=self.now_ns)))
            if away is not None:
                book = make.away_book(105_000.0 * (1 + away / 1e4), received_ns=self.now_ns)
                desk.engine.observe(2, make.view(book))
            if fx is not None:
                factor = 1 + fx / 1e4
                rate = make.fx_book(make.fx[0] * factor, make.fx[1] * factor, received_ns=self.now_ns)
                desk.engine.observe(make.fx_leg.slot, make.view(rate))
            return desk.engine.evaluate(desk.state, self.now_ns)

        show(0.0, 0.0, 0.0)
        return show

    def test_one_frame_enters_nothing(self, desk, shown):
        assert shown(home=-WIDE) is None
        assert desk.state.refusal is Refusal.BOOK_JUMPED
        assert shown(home=0.0) is None
        assert desk.state.refusal is None

    def test_a_second_frame_confirms(self, desk, shown):
        assert shown(home=-WIDE) is None
        assert isinstance(shown(home=-WIDE), Entry)

    def test_frames_within_milliseconds_confirm_nothing(self, desk, shown):
        """A stream that sends each change repeats a wrong price at once."""
        assert shown(home=-WIDE) is None
        for after_ms in (5, 5, 9):
            assert shown(home=-WIDE, after_ns=after_ms * 1_000_000) is None
            assert desk.state.refusal is Refusal.BOOK_JUMPED
        assert isinstance(shown(home=-WIDE, after_ns=1_000_000), Entry)

    def test_the_frame_that_is_put_right_does_not_jump(self, desk, make, shown):
        shown(home=-WIDE)
        desk.engine.set_positions(desk.state, [make.position("buy_away")], self.now_ns, make.now_ms)
        assert shown(home=0.0) is None
        assert desk.state.refusal is not Refusal.BOOK_JUMPED

    def test_the_same_frame_again_confirms_nothing(self, desk, make, shown):
        """As when its connection is lost and comes back."""
        shown(home=-WIDE)
        book = make.home_book(-WIDE, received_ns=self.now_ns)
        desk.engine.observe(1, make.view(book))
        assert desk.engine.evaluate(desk.state, self.now_ns) is None
        assert desk.state.refusal is Refusal.BOOK_JUMPED

    def test_two_frames_that_jump_apart_confirm_nothing(self, desk, shown):
        shown(home=-WIDE)
        assert shown(home=-3 * WIDE) is None
        assert desk.state.refusal is Refusal.BOOK_JUMPED

    def test_frames_that_move_little_by_little_do_not_jump(self, desk, shown):
        assert shown(home=-40.0) is None
        assert desk.state.refusal is None
        assert isinstance(shown(home=-WIDE + 15), Entry)

    @pytest.mark.parametrize("reason", ["take_profit", "stop_loss"])
    def test_one_frame_leaves_nothing(self, desk, make, shown, reason):
        gap = 120.0 if reason == "take_profit" else -150.0
        desk.engine.set_positions(desk.state, [make.position()], self.now_ns, make.now_ms)
        assert shown(home=gap) is None
        assert desk.state.refusal is Refusal.BOOK_JUMPED
        assert shown(home=gap).reason == reason

    def test_the_other_side_confirms(self, desk, shown):
        assert shown(home=300.0) is None
        assert desk.state.refusal is Refusal.BOOK_JUMPED
        assert shown(away=290.0) is None
        assert desk.state.refusal is None

    def test_the_other_side_does_not_confirm_by_moving_elsewhere(self, desk, shown):
        shown(home=300.0)
        assert shown(away=-300.0) is None
        assert desk.state.refusal is Refusal.BOOK_JUMPED

    def test_the_supervisor_confirms(self, desk, make, shown):
        desk.engine.set_positions(desk.state, [make.position()], self.now_ns, make.now_ms)
        assert shown(home=-150.0) is None
        jumped_ns = self.now_ns
        desk.engine._confirmed_ns = lambda _: jumped_ns - 1
        assert shown() is None
        desk.engine._confirmed_ns = lambda _: jumped_ns
        assert shown().reason == "stop_loss"


class TestTooGoodProfit:
    def test_it_is_not_taken(self, desk, make):
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns, make.now_ms)
        assert desk.show(800.0) is None
        assert desk.state.refusal is Refusal.EDGE_TOO_GOOD
        assert desk.show(120.0).reason == "take_profit"

    def test_it_is_left_in_the_end(self, desk, make):
        desk.engine.set_positions(desk.state, [make.position()], make.now_ns - 20 * 10**9, make.now_ms)
        assert desk.show(800.0).reason == "max_hold"
