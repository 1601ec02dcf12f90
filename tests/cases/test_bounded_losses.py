"""What a market or a venue did to a position, and what it may cost: a worker and risk as they run, on virtual time.

Each case prints the figures that it ends at. One position is 1,000,000 KRW, so 100 KRW are one basis point. Quiet
books have cases of their own (``test_quiet_books``), and so have malformed reports
(``tests/worker/test_refused_requests``).
"""

from decimal import Decimal
from itertools import pairwise

import pytest

from arbshard.ledger.events import IntentApproved, PairSetApart, VenueStateChanged
from arbshard.model.order import OrderResult
from arbshard.model.phase import Phase
from arbshard.status.venues import problems_of_orders
from arbshard.wire.messages import Close, Done, Halt, Resume
from support import trading_rig as t
from support.effort import effort

SPAN_S = effort(600, 3600)
"""How long a venue refuses: an hour in the night. In the gate a sixth of it, twice the longest pause."""
LOSS_MAX = 6000
"""60 basis points of the position."""
CLOSING_COST_MAX = 10_000
"""What it costs to close at the gap at which the position was opened: both spreads, four fees and that gap."""
PAUSE_MAX_S = 300
BACK_SOON_S = PAUSE_MAX_S + 5

UPBIT_FUNDS = t.upbit_error(400, "insufficient_funds_ask")
UPBIT_TICK = t.upbit_error(400, "invalid_price_ask")
UPBIT_SUSPENDED = t.upbit_error(403, "market_offline")
BINANCE_FUNDS = t.binance_error(400, -2010, "Account has insufficient balance for requested action.")
BINANCE_TICK = t.binance_error(400, -1013, "Filter failure: PRICE_FILTER")
BINANCE_CLOSED = t.binance_error(400, -2010, "Market is closed.")
REJECTIONS = {
    "upbit has no coins": ("upbit", UPBIT_FUNDS),
    "upbit has another tick": ("upbit", UPBIT_TICK),
    "upbit suspends the market": ("upbit", UPBIT_SUSPENDED),
    "binance has no money": ("binance", BINANCE_FUNDS),
    "binance has another tick": ("binance", BINANCE_TICK),
    "binance suspends the market": ("binance", BINANCE_CLOSED),
}
UNUSABLE = {
    "upbit 401": ("upbit", t.upbit_error(401, "expired_access_key")),
    "upbit 403": ("upbit", t.upbit_error(403, "no_authorization_ip")),
    "upbit 418": ("upbit", t.refusing(418, "")),
    "binance 401": (
        "binance",
        t.binance_error(401, -2015, "Invalid API-key, IP, or permissions for action."),
    ),
    "binance 403": ("binance", t.refusing(403, "<html>")),
    "binance 418": ("binance", t.binance_error(418, -1003, "Way too much request weight used; IP banned.")),
    "binance 451": ("binance", t.refusing(451, "")),
    "binance -1008": ("binance", t.binance_error(503, -1008, "Server is currently overloaded.")),
}


def cases(table, gate=()):
    """All of ``table``; in the gate only those named, or all without names."""
    marks = {name: () if name in (gate or table) else pytest.mark.nightly for name in table}
    params = [pytest.param(*table[name], id=name, marks=marks[name]) for name in table]
    return pytest.mark.parametrize(("venue", "answer"), params)


def show(rig, what, cost):
    """Print the figures; the exposure."""
    naked = rig.exposure("AAA")
    print(
        f"\n{what}: {len(rig.sent)} orders, cost {cost:.0f} KRW = {cost / 100:.1f} bps, naked at most "
        f"{naked.krw_max:.0f} KRW, {naked.seconds:.2f} s in all, {naked.krw_s:.0f} KRW s"
    )
    return naked


def is_hedged(rig):
    return abs(rig.naked("AAA")) < t.DUST_KRW


def problems(rig):
    """What degrades status, of orders and pairs."""
    note = rig.note()
    return [*problems_of_orders(note), *note.failing, *note.apart]


def alerts(rig, kind):
    return [event for event in rig.events() if isinstance(event, kind)]


def refusals(rig):
    return [event for event in alerts(rig, VenueStateChanged) if event.state == "refuses"]


async def refuse_for_long(rig, what):
    """Refuse for ``SPAN_S``. The figures, with a hedged position at its end; the cost."""
    before = rig.worth()
    await rig.until(lambda: problems(rig), 40)
    assert rig.now_s - rig.sent[0].at_s <= 10, "a person is told within ten seconds"
    await rig.sleep(SPAN_S / 2)
    sent = len(rig.sent)
    await rig.sleep(SPAN_S / 2)
    cost = before - rig.worth()
    naked = show(rig, what, cost)
    assert cost < LOSS_MAX
    assert is_hedged(rig)
    assert len(rig.sent) - sent <= 3 * (SPAN_S / 2 / PAUSE_MAX_S + 1), "it has stopped by itself"
    assert naked.krw_max < 1.01 * t.ORDER_KRW
    assert naked.krw_s < 3 * t.ORDER_KRW
    assert problems(rig)
    return cost


class TestRejectedExit:
    """A position is open, and one venue rejects its exit for long while its books go on."""

    @cases(REJECTIONS, gate=("upbit has no coins", "binance has another tick"))
    def test_costs_little_and_ends_when_the_venue_works_again(self, tmp_path, venue, answer):
        async def work(rig):
            await rig.open()
            rig.answers[venue] = answer
            before = rig.worth()
            await refuse_for_long(rig, "rejected exit")
            rig.answers.clear()
            waited_s = await rig.until(lambda: not rig.is_open("AAA"), BACK_SOON_S)
            cost = before - rig.worth()
            print(f"closed after {waited_s:.1f} s, {cost:.0f} KRW in all")
            assert cost < LOSS_MAX + CLOSING_COST_MAX

        t.run(tmp_path, work)

    @cases(REJECTIONS, gate=("binance suspends the market",))
    def test_a_person_need_not_wait_for_the_pause(self, tmp_path, venue, answer):
        async def work(rig):
            await rig.open()
            rig.answers[venue] = answer
            await rig.sleep(SPAN_S / 2)
            rig.answers.clear()
            assert isinstance(rig.command(Close(("AAA",))), Done)
            waited_s = await rig.until(lambda: not rig.is_open("AAA"), 5)
            print(f"\nclosed {waited_s:.1f} s after the command")

        t.run(tmp_path, work)

    @cases(REJECTIONS, gate=("upbit suspends the market",))
    def test_the_end_of_the_run_does_not_wait_for_the_pause_either(self, tmp_path, venue, answer):
        async def work(rig):
            await rig.open()
            rig.answers[venue] = answer
            await rig.sleep(SPAN_S / 2)
            rig.answers.clear()
            rig.phase = Phase.DRAINING
            waited_s = await rig.until(lambda: not rig.is_open("AAA"), 5)
            print(f"\nclosed {waited_s:.1f} s after the run began to end")

        t.run(tmp_path, work)


class TestExitWithoutPrice:
    """Both venues take orders, and neither fills one: what their books show is out of reach."""

    def test_pauses_grow_and_it_ends_when_a_price_is_there(self, tmp_path):
        def expire(order):
            return OrderResult(order, "EXPIRED", detail="nothing at or better than the limit")

        async def work(rig):
            await rig.open()
            rig.answers.update(dict.fromkeys(t.VENUES, expire))
            before = len(rig.sent)
            await rig.sleep(SPAN_S)
            times = sorted({one.at_s for one in rig.sent[before:]})
            show(rig, f"no price for long: {len(times)} exits", rig.worth_before - rig.worth())
            assert len(times) <= SPAN_S / PAUSE_MAX_S + 10
            pauses = [later - earlier for earlier, later in pairwise(times)]
            assert all(later > 1.5 * earlier for earlier, later in pairwise(pauses[:6]))
            assert is_hedged(rig)
            assert any("neither leg" in failing.why for failing in rig.note().failing.values())
            rig.answers.clear()
            await rig.until(lambda: not rig.is_open("AAA"), BACK_SOON_S)

        t.run(tmp_path, work)

    @cases({"upbit": ("upbit", UPBIT_FUNDS), "binance": ("binance", BINANCE_FUNDS)}, gate=("upbit",))
    def test_when_small_orders_pass(self, tmp_path, venue, answer):
        """Less than half of the position is there: each test passes, and each whole exit is rejected."""

        async def work(rig):
            await rig.open()
            rig.answers[venue] = lambda order: answer(order) if order.quantity > 100 else None
            before = rig.worth()
            await rig.until(lambda: problems(rig), 40)
            await rig.sleep(SPAN_S)
            cost = before - rig.worth()
            show(rig, "small orders pass", cost)
            assert cost < LOSS_MAX
            assert len(rig.sent) < effort(50, 80)

        t.run(tmp_path, work)

    @pytest.mark.parametrize(
        ("first", "period_s"),
        [
            ("upbit", 7),
            *(
                pytest.param(first, period_s, marks=pytest.mark.nightly)
                for first in t.VENUES
                for period_s in (1, 7, 60, 301)
                if (first, period_s) != ("upbit", 7)
            ),
        ],
    )
    def test_when_the_venues_take_turns(self, tmp_path, period_s, first):
        """Whatever is tested on one venue, the other rejects: each failed exit may cost two fees and two spreads."""

        async def work(rig):
            await rig.open()
            began_s = rig.now_s + 20  # when the position is held for long enough to be left

            def turn(venue, answer):
                def script(order):
                    is_first = (rig.now_s - began_s) // period_s % 2 == 0
                    return answer(order) if is_first == (venue == first) else None

                return script

            rig.answers = {"upbit": turn("upbit", UPBIT_FUNDS), "binance": turn("binance", BINANCE_FUNDS)}
            before = rig.worth()
            await refuse_for_long(rig, f"turns of {period_s} s")
            rig.answers.clear()
            rig.command(Close(("AAA",)))
            await rig.until(lambda: not rig.is_open("AAA"), 10)
            assert before - rig.worth() < LOSS_MAX + CLOSING_COST_MAX

        t.run(tmp_path, work)

    def test_when_both_venues_are_busy(self, tmp_path):
        """Nothing is filled and nothing is paid, and it is not asked twice a second for an hour."""

        async def work(rig):
            await rig.open()
            rig.answers = dict.fromkeys(t.VENUES, t.refusing(429, ""))
            assert await refuse_for_long(rig, "both busy") == 0
            rig.answers.clear()
            await rig.until(lambda: not rig.is_open("AAA"), BACK_SOON_S)

        t.run(tmp_path, work)


class TestVenueThatTakesNoOrder:
    """Every order is answered with a code that says that the key, the address or the venue is the trouble."""

    @cases(UNUSABLE, gate=("upbit 401", "upbit 418", "binance 403", "binance -1008"))
    def test_the_filled_leg_of_an_entry_is_taken_back_and_entries_stop(self, tmp_path, venue, answer):
        async def work(rig):
            rig.answers[venue] = answer
            rig.prices["AAA"].gap_bps = -75.0
            await rig.until(lambda: refusals(rig), 40)
            await rig.until(lambda: not rig.state.busy, 5)
            entries = len(alerts(rig, IntentApproved))
            await rig.sleep(50)
            naked = show(rig, f"{entries} entries, the last one", rig.worth_before - rig.worth())
            assert len(alerts(rig, IntentApproved)) == entries, "entries have stopped"
            assert entries <= 5
            (refusal,) = refusals(rig)
            assert (refusal.venue, refusal.symbol) == (venue, "")
            assert list(problems_of_orders(rig.note()))
            assert is_hedged(rig)
            assert naked.krw_max < 1.01 * t.ORDER_KRW
            assert naked.seconds < 2 * entries
            assert rig.worth_before - rig.worth() < entries * 3000

        t.run(tmp_path, work)

    @cases(UNUSABLE, gate=("upbit 401",))
    def test_a_hedged_position_stays_hedged_and_is_closed_when_the_venue_is_back(
        self, tmp_path, venue, answer
    ):
        async def work(rig):
            await rig.open()
            rig.answers[venue] = answer
            await refuse_for_long(rig, "exit")
            rig.answers.clear()
            await rig.until(lambda: not rig.is_open("AAA"), BACK_SOON_S)

        t.run(tmp_path, work)


class TestOneVenueIsDown:
    """Books, or the whole connection, of one venue are gone."""

    @pytest.mark.parametrize("dark", t.VENUES)
    def test_the_leg_that_was_filled_is_taken_back_on_the_other_venue(self, tmp_path, dark):
        """The venue rejects its leg of an entry, and its books go dark at the same moment."""

        async def work(rig):
            def answer(order):
                rig.prices["AAA"].live[dark] = False
                return OrderResult(order, "REJECTED", detail="going down", fault="busy")

            rig.answers[dark] = answer
            rig.prices["AAA"].gap_bps = -75.0
            await rig.until(lambda: rig.sent, 10)
            await rig.sleep(600)
            cost = rig.worth_before - rig.worth()
            naked = show(rig, f"one leg filled, {dark} dark", cost)
            assert naked.krw_max > 0.99 * t.ORDER_KRW, "one leg was filled"
            assert naked.seconds < 4
            assert is_hedged(rig)
            assert cost < LOSS_MAX
            assert len(rig.sent) < 8

        t.run(tmp_path, work)

    @pytest.mark.parametrize(
        ("way", "dark"),
        [
            pytest.param(
                way, dark, marks=() if (way == "close") == (dark == "binance") else pytest.mark.nightly
            )
            for way in ("flatten", "close", "shutdown")
            for dark in t.VENUES
        ],
    )
    def test_a_hedged_position_is_left_alone_and_closed_when_the_venue_is_back(self, tmp_path, dark, way):
        async def work(rig):
            await rig.open()
            rig.prices["AAA"].live[dark] = False
            await rig.sleep(3)
            orders = {"flatten": Halt("an outage", flatten=True), "close": Close(("AAA",))}
            if way in orders:
                assert isinstance(rig.command(orders[way]), Done)
            else:
                rig.phase = Phase.DRAINING
            await rig.sleep(600)
            assert not rig.sent, "nothing is sent to either venue"
            assert is_hedged(rig)
            assert rig.is_open("AAA")
            rig.prices["AAA"].live[dark] = True
            waited_s = await rig.until(lambda: not rig.is_open("AAA"), 5)
            show(rig, f"{way} while {dark} is down: closed {waited_s:.1f} s after it is back", 0)

        t.run(tmp_path, work)

    def test_who_types_it_has_one_leg_closed_alone(self, tmp_path):
        async def work(rig):
            await rig.open()
            rig.prices["AAA"].live["binance"] = False
            await rig.sleep(3)
            assert isinstance(rig.command(Close(("AAA",), one_leg=True)), Done)
            await rig.until(lambda: rig.naked("AAA") < -t.ORDER_KRW * 0.9, 5)
            assert {sent.order.market.venue for sent in rig.sent} == {"upbit"}
            rig.prices["AAA"].live["binance"] = True
            assert isinstance(rig.command(Close(("AAA",))), Done)
            await rig.until(lambda: not rig.is_open("AAA"), 10)

        t.run(tmp_path, work)


class TestPriceThatRuns:
    """One leg is filled, the other venue rejects, and the price falls meanwhile: the loss budget ends it."""

    @pytest.mark.parametrize("fall_bps", [200, 500])
    def test_a_leg_is_not_sold_beyond_the_loss_budget(self, tmp_path, fall_bps):
        async def work(rig):
            def answer(order):
                if order.role == "hedge":
                    rig.prices["AAA"].away_mid = t.AWAY_MID * (1 - Decimal(fall_bps) / 10_000)
                    rig.publish()
                return BINANCE_CLOSED(order)

            rig.answers["binance"] = answer
            rig.prices["AAA"].gap_bps = -75.0
            await rig.until(lambda: rig.sent, 10)
            await rig.sleep(30)
            cost = rig.worth_before - rig.worth()
            show(rig, f"the price falls by {fall_bps} bps", cost)
            if fall_bps < rig.config.execution.intent_loss_bps_max:
                assert is_hedged(rig)
                assert cost < (fall_bps + 30) * 100
                return
            (apart,) = alerts(rig, PairSetApart)
            assert apart.cause == "stuck"
            assert rig.naked("AAA") > 0.9 * t.ORDER_KRW
            rig.command(Close(("AAA",)))  # a person takes the price of now
            await rig.until(lambda: is_hedged(rig), 10)
            assert rig.note().apart["AAA"].cause == "stuck"
            assert isinstance(rig.command(Resume("", ("AAA",))), Done)

        t.run(tmp_path, work)


class TestWayOut:
    """The money that a position needs to be left is not there for the entry of another pair."""

    @pytest.mark.parametrize(
        ("gap_bps", "paper"),
        [(-75.0, {"quote_away": Decimal(40)}), (75.0, {"quote_home": Decimal(60_000)})],
        ids=["USDT", "KRW"],
    )
    @pytest.mark.parametrize("turned_bps", [0.2, 6.0], ids=["take_profit or reversal", "stop_loss"])
    def test_another_pair_cannot_spend_it(self, tmp_path, gap_bps, paper, turned_bps):
        async def work(rig):
            await rig.open("AAA", gap_bps)
            rig.prices["BBB"].gap_bps = -gap_bps  # its entry buys where AAA must buy back
            await rig.sleep(12)
            assert not rig.is_open("BBB")
            # The gap closes, or becomes six times as wide.
            rig.prices["AAA"].gap_bps = gap_bps * (turned_bps if turned_bps > 1 else -turned_bps)
            waited_s = await rig.until(lambda: not rig.is_open("AAA"), 3)
            show(rig, f"left after {waited_s:.1f} s", rig.worth_before - rig.worth())

        t.run(
            tmp_path, work, bases=("AAA", "BBB"), paper=paper, sizing={"entry_notional_min": Decimal(100_000)}
        )


class TestPositionsUnderWater:
    """Ten positions lose a tenth of what they are worth, and none of it is realised."""

    def test_the_limits_look_at_what_is_not_realised(self, tmp_path):
        bases = tuple(f"C{number}" for number in range(10))
        keep = {
            "stop_loss_bps": 5000.0,
            "max_hold_s": 1e6,
            "close_on_spread_reversal": False,
            "take_profit_bps": 5000.0,
        }
        limits = {
            "position_loss_bps_max": 5000,
            "daily_loss_max": Decimal(200_000),
            "halt_daily_loss": Decimal(400_000),
            "stop_daily_loss": Decimal(2_000_000),
        }

        async def work(rig):
            await rig.open()
            before = rig.note()
            assert before.halt is None
            for prices in rig.prices.values():
                prices.gap_bps = -1075.0
            waited_s = await rig.until(lambda: rig.note().halt, 10)
            note = rig.note()
            lost = Decimal(before.equity.equity) - Decimal(note.equity.equity)
            print(f"\nhalted after {waited_s:.1f} s; {lost:.0f} KRW lost, {note.equity}; {note.halt}")
            assert note.halt.cause == "daily_loss"
            assert 950_000 < lost < 1_150_000
            assert len(rig.note().positions) == 10
            await rig.sleep(10)
            assert Decimal(rig.note().equity.drawdown) > 950_000

        t.run(tmp_path, work, bases=bases, strategy=keep, limits=limits)
