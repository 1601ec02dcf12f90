"""What venues state, held against the ledger: openings, differences, strays, and what each of them blocks."""

from decimal import ROUND_DOWN, Decimal

import msgspec
import pytest

from arbshard.ledger.events import (
    AccountOpened,
    Deposited,
    DifferenceFound,
    DifferenceResolved,
)
from arbshard.ledger.postings import postings_of
from arbshard.ledger.verify import verify
from arbshard.model.refusal import Refusal
from arbshard.risk.core import RiskCore
from arbshard.risk.validation import Moment
from arbshard.wire.messages import (
    Approved,
    Denied,
    Done,
    Fund,
    Funded,
    Refused,
    Report,
    SetApart,
    Settled,
    Statement,
    Welcome,
)
from arbshard.wire.reconciliation import AcceptDifference, EndIntent, ShowReconciliation
from support import world as w

TAG = "ab1cd"
UNIT = Decimal("0.00000001")


class TestOpening:
    def test_a_live_ledger_begins_with_nothing(self, new) -> None:
        assert isinstance(new.welcome, Welcome)
        assert new.welcome.funded == ()
        assert new.welcome.tag == TAG
        assert new.world.state.balances.totals() == ()
        assert new.refusal(new.world.entry()) is Refusal.NO_STATEMENT

    def test_funding_waits_for_both_venues(self, new) -> None:
        ask = Fund(0, 1, "BTC", w.HOME_PRICE)
        for venue in (w.HOME, w.AWAY):
            reply = new.world.ask(ask)
            assert isinstance(reply, Refused)
            assert reply.reason is Refusal.NO_STATEMENT
            new.state(venue)
        funded = new.world.ask(ask)
        assert isinstance(funded, Funded)
        assert {(v, c): a for v, c, a in funded.available}[w.HOME, "KRW"] == Decimal(100_000_000)
        assert not any(event.why == "inventory" for event in new.world.events if isinstance(event, Deposited))
        assert new.world.ask(new.world.hello()).funded == ("BTC", "ETH")

    def test_the_first_statement_is_what_it_begins_with(self, new) -> None:
        events = new.state()
        deposits = [event for event in events if isinstance(event, Deposited)]
        assert {event.why for event in deposits} == {"opening"}
        assert [event.venue for event in events if isinstance(event, AccountOpened)] == [w.HOME, w.AWAY]
        for account, held in new.venues.held.items():
            assert new.booked(*account) == held
        assert new.state() == []  # once for ever
        assert isinstance(new.world.submit(new.world.entry()), Approved)

    def test_one_that_is_not_settled_opens_nothing(self, new) -> None:
        assert new.state(settled=False) == []
        assert new.refusal(new.world.entry()) is Refusal.NO_STATEMENT

    def test_limits_use_what_the_venues_hold(self, new) -> None:
        new.venues.held[w.AWAY, "USDT"] = Decimal(100)
        new.state()
        reply = new.world.submit(new.world.entry())  # 350 USDT
        assert (reply.reason, reply.detail) == (Refusal.BALANCE, "binance USDT: 350 needed, 100 free")

    def test_what_others_have_locked_is_not_free(self, desk) -> None:
        desk.venues.locked[w.AWAY, "USDT"] = Decimal(69_800)
        assert desk.state() == []  # it is ours all the same
        reply = desk.world.submit(desk.world.entry())
        assert reply.detail == "binance USDT: 350 needed, 200 free"
        assert (w.AWAY, "USDT", Decimal(200)) in reply.available
        desk.venues.locked.clear()
        desk.state()
        assert desk.refusal(desk.world.entry()) is None

    def test_after_a_restart_entries_wait_for_the_venues_again_and_exits_do_not(self, desk) -> None:
        position = desk.trade(desk.world.entry())
        desk.world = desk.world.restart("run-2")
        desk.world.ask(desk.world.hello())
        assert desk.refusal(desk.world.entry("ETH")) is Refusal.NO_STATEMENT
        assert desk.refusal(desk.world.exit_of(position)) is None
        assert desk.state() == []
        assert desk.refusal(desk.world.entry("ETH")) is None

    def test_a_statement_from_before_the_start_counts_for_nothing(self, desk) -> None:
        old = desk.venues.statement(w.HOME, desk.world.now_ms)
        desk.world = desk.world.restart("run-2")
        desk.world.ask(desk.world.hello())
        assert "before this start" in desk.world.tell(old).text
        desk.state(w.AWAY)
        assert desk.refusal(desk.world.entry()) is Refusal.NO_STATEMENT

    def test_a_wall_clock_that_is_set_back_hides_no_difference(self, desk) -> None:
        desk.venues.held[w.HOME, "KRW"] += 5
        said = desk.venues.statement(w.HOME, desk.world.now_ms + 1)
        desk.world.tell(msgspec.structs.replace(said, at_ms=said.at_ms - 7_200_000))
        assert desk.refusal(desk.world.entry()) is Refusal.NOT_RECONCILED

    def test_simulated_exchanges_that_began_anew_are_taken_as_they_are(self, desk) -> None:
        """A new run has new ones: what was traded before is not there, and that is nobody's mistake."""
        desk.world.config = msgspec.structs.replace(desk.world.config, data="sim")
        desk.state()
        desk.trade(desk.world.entry())
        desk.venues.held[w.HOME, "KRW"] += 5
        desk.state()
        assert desk.refusal(desk.world.entry("ETH")) is Refusal.NOT_RECONCILED
        same_run = desk.world.restart("run-1")
        assert same_run.state.reconciled.differences
        desk.world = desk.world.restart("run-2")
        desk.venues = w.Venues()
        desk.world.ask(desk.world.hello())
        events = desk.state()
        assert [event.venue for event in events if isinstance(event, AccountOpened)] == [w.HOME, w.AWAY]
        assert desk.world.state.reconciled.differences == {}
        said = {
            currency: free + locked for currency, free, locked in desk.venues.statement(w.HOME, 1).balances
        }
        assert {currency: desk.booked(w.HOME, currency) for currency in said} == said
        assert desk.refusal(desk.world.entry("ETH")) is None

    def test_on_paper_nothing_is_stated(self) -> None:
        world = w.World()
        said = w.Venues().statement(w.HOME, world.now_ms)
        assert world.tell(said) == Denied("on paper there is nothing to be stated")
        assert world.tell(ShowReconciliation()).statements == ()


class TestDifferences:
    def test_a_coin_that_is_missing_blocks_its_pair_alone(self, desk) -> None:
        desk.venues.held[w.HOME, "BTC"] -= 1
        (found,) = desk.state()
        assert isinstance(found, DifferenceFound)
        assert (found.venue, found.currency, found.stated, found.booked) == (w.HOME, "BTC", 3, 4)
        reply = desk.world.submit(desk.world.entry())
        assert reply.reason is Refusal.NOT_RECONCILED
        assert reply.detail == "upbit BTC: 3 by the venue, 4 by the ledger"
        assert desk.refusal(desk.world.entry("ETH")) is None
        assert desk.state() == []  # found once

    def test_exits_go_on(self, desk) -> None:
        position = desk.trade(desk.world.entry())
        desk.venues.held[w.HOME, "BTC"] -= 1
        desk.venues.held[w.AWAY, "USDT"] += 1
        assert len(desk.state()) == 2
        assert desk.refusal(desk.world.exit_of(position)) is None

    def test_a_quote_blocks_all_entries(self, desk) -> None:
        desk.venues.held[w.AWAY, "USDT"] += Decimal("0.00002")
        desk.state()
        assert desk.refusal(desk.world.entry("BTC")) is Refusal.NOT_RECONCILED
        assert desk.refusal(desk.world.entry("ETH")) is Refusal.NOT_RECONCILED
        (difference,) = desk.show().differences
        assert difference.pairs == ("BTC", "ETH")

    def test_a_coin_that_is_not_traded_blocks_nothing_and_is_shown(self, desk) -> None:
        desk.venues.held[w.AWAY, "DOGE"] = Decimal(9)
        desk.state()
        assert desk.refusal(desk.world.entry()) is None
        (difference,) = desk.show().differences
        assert (difference.currency, difference.stated, difference.booked, difference.pairs) == (
            "DOGE",
            9,
            0,
            (),
        )

    def test_what_the_venue_no_longer_names_is_zero(self, desk) -> None:
        del desk.venues.held[w.HOME, "ETH"]
        (found,) = desk.state()
        assert (found.currency, found.stated, found.booked) == ("ETH", 0, 4)

    def test_it_goes_when_both_agree_again(self, desk) -> None:
        desk.venues.held[w.HOME, "BTC"] -= 1
        desk.state()
        desk.venues.held[w.HOME, "BTC"] += 1
        (resolved,) = desk.state()
        assert isinstance(resolved, DifferenceResolved)
        assert resolved.how == "agrees"
        assert desk.refusal(desk.world.entry()) is None

    def test_one_that_grows_is_found_again_and_keeps_its_beginning(self, desk) -> None:
        desk.venues.held[w.HOME, "BTC"] -= 1
        since_ms = desk.state()[0].at_ms
        desk.venues.held[w.HOME, "BTC"] -= 1
        (found,) = desk.state()
        assert found.stated == 2
        (shown,) = desk.show().differences
        assert (shown.since_ms, shown.stated) == (since_ms, 2)

    def test_trading_on_does_not_make_it_another_one(self, desk) -> None:
        """Its amount is what counts: exits move both sides."""
        position = desk.trade(desk.world.entry())
        desk.venues.held[w.AWAY, "USDT"] += 1
        desk.state()
        desk.trade(desk.world.exit_of(position), done=True)
        assert desk.state() == []

    def test_within_the_tolerance_there_is_none(self, make_desk) -> None:
        desk = make_desk(balance_tolerances={"USDT": Decimal("0.01")})
        desk.state()
        desk.state()
        desk.venues.held[w.AWAY, "USDT"] += Decimal("0.01")
        desk.venues.held[w.AWAY, "BTC"] += Decimal("0.01")  # what is little money is much of a coin
        assert [event.currency for event in desk.state()] == ["BTC"]
        desk.venues.held[w.AWAY, "USDT"] += Decimal("0.00000001")
        assert [event.currency for event in desk.state()] == ["USDT"]

    def test_a_tolerance_by_worth_is_the_same_money_in_each_currency(self, make_desk) -> None:
        desk = make_desk(balance_tolerance_worth=Decimal(700))
        desk.state()
        desk.state()
        pair = desk.world.pairs["BTC"]
        desk.venues.held[w.AWAY, "USDT"] += Decimal("0.5")  # 700 KRW
        assert [event.currency for event in desk.state()] == ["USDT"]  # no book has been read: no price
        desk.world.core.valuation.set_prices(pair, (1_000_000.0, 700.0), 1400.0)
        assert [type(event) for event in desk.state()] == [DifferenceResolved]
        desk.venues.held[w.AWAY, "BTC"] += Decimal("0.0007")
        assert desk.state() == []
        desk.venues.held[w.AWAY, "BTC"] += Decimal("0.0001")
        assert [event.currency for event in desk.state()] == ["BTC"]

    def test_it_survives_a_restart(self, desk) -> None:
        desk.venues.held[w.HOME, "BTC"] -= 1
        desk.state()
        shown = desk.show().differences
        desk.world = desk.world.restart("run-2")
        desk.world.ask(desk.world.hello())
        assert desk.show().differences == shown
        assert desk.state() == []
        assert desk.refusal(desk.world.entry()) is Refusal.NOT_RECONCILED


class TestWhatIsUnderWay:
    def test_what_an_open_intent_may_move_is_not_compared(self, desk) -> None:
        intent = desk.world.entry()
        desk.world.submit(intent)
        for fill in (*w.filled(intent.home).fills, *w.filled(intent.away).fills):
            desk.venues.fill(fill)
        desk.venues.held[w.AWAY, "ETH"] += 1  # nothing to do with it
        (found,) = desk.state()
        assert found.currency == "ETH"
        desk.world.report(intent, w.filled(intent.home), w.filled(intent.away))
        assert isinstance(desk.world.conclude(intent), Settled)
        assert desk.state() == []

    def test_the_coin_of_fees_is_compared_when_nothing_at_all_is_under_way(self, desk) -> None:
        intent = desk.world.entry()
        desk.world.submit(intent)
        desk.venues.held[w.AWAY, "BNB"] -= Decimal("0.001")
        assert desk.state() == []
        desk.world.report(intent, w.expired(intent.home), w.expired(intent.away))
        desk.world.conclude(intent)
        (found,) = desk.state()
        assert (found.venue, found.currency) == (w.AWAY, "BNB")

    def test_a_statement_read_before_fills_were_booked_may_show_them_or_not(self, desk) -> None:
        before = [desk.venues.statement(venue, desk.world.now_ms + 1) for venue in (w.HOME, w.AWAY)]
        desk.world.now_ms += 1
        desk.trade(desk.world.entry())
        after = [desk.venues.statement(venue, desk.world.now_ms) for venue in (w.HOME, w.AWAY)]
        seen = len(desk.world.events)
        for one in before:
            desk.world.tell(one)
        assert desk.world.events[seen:] == []
        for one in after:  # read a moment later, and still before risk had the fills
            desk.world.tell(msgspec.structs.replace(one, read_ns=one.read_ns + 1))
        assert desk.world.events[seen:] == []
        assert desk.state() == []

    def test_one_stuck_intent_does_not_hide_what_is_missing_elsewhere(self, new) -> None:
        """Six of ten million KRW are gone while an order of another pair is stuck (half a million)."""
        desk = new
        desk.venues.held[w.HOME, "KRW"] = Decimal(10_000_000)
        desk.state()
        intent = desk.world.entry("BTC", "buy_home")
        desk.world.submit(intent)
        desk.world.report(intent, w.OrderResult(intent.home, "UNKNOWN"))
        desk.venues.held[w.HOME, "KRW"] -= 6_000_000
        (found,) = desk.state()
        held = Decimal(505_250)  # a fee of at most 1 % on top of the hold
        assert (found.currency, found.stated, found.booked) == ("KRW", 4_000_000, 10_000_000)
        assert (found.low, found.high) == (-held, 0)
        assert desk.world.state.reconciled.differences[w.HOME, "KRW"].amount == -6_000_000 + held
        assert desk.refusal(desk.world.entry("ETH")) is Refusal.NOT_RECONCILED
        assert desk.state() == []  # found once
        answer = desk.world.tell(AcceptDifference(w.HOME, "KRW", "seen"))
        assert isinstance(answer, Denied)
        assert "orders under way may explain 505250 of it" in answer.why
        desk.world.report(intent, w.expired(intent.home), w.expired(intent.away))
        desk.world.conclude(intent)
        (again,) = desk.state()
        assert (again.stated - again.booked, again.low, again.high) == (-6_000_000, 0, 0)
        assert isinstance(desk.world.tell(AcceptDifference(w.HOME, "KRW", "seen")), Done)

    @pytest.mark.parametrize("fee", [250, 400, 5_250])
    def test_what_an_order_under_way_may_cost_is_no_difference(self, desk, fee) -> None:
        """The account may pay more than the configured 5 bps, and its statement may come before the fill."""
        intent = desk.world.entry("BTC", "buy_home")
        desk.world.submit(intent)
        desk.venues.held[w.HOME, "KRW"] -= 500_000 + fee
        desk.venues.held[w.HOME, "BTC"] += Decimal("0.5")
        assert desk.state() == []
        desk.venues.held[w.HOME, "KRW"] -= 5_251 - fee
        assert [event.currency for event in desk.state()] == ["KRW"]

    def test_what_is_filled_and_reported_no_longer_widens_the_bound(self, desk) -> None:
        intent = desk.world.entry("BTC", "buy_home")
        desk.world.submit(intent)
        half = w.filled(intent.home, Decimal("0.25"))
        for fill in half.fills:
            desk.venues.fill(fill)
        desk.world.report(intent, w.OrderResult(intent.home, "PARTIAL", half.fills))
        desk.venues.held[w.HOME, "KRW"] -= Decimal(252_625)
        assert desk.state() == []
        desk.venues.held[w.HOME, "KRW"] -= 1
        assert [event.currency for event in desk.state()] == ["KRW"]

    def test_a_difference_may_go_while_orders_are_under_way(self, desk) -> None:
        intent = desk.world.exit_of(desk.trade(desk.world.entry()))
        desk.venues.held[w.HOME, "KRW"] -= 6_000_000
        desk.state()
        assert desk.refusal(intent) is None
        desk.state()
        desk.venues.held[w.HOME, "KRW"] += 6_000_000
        (gone,) = desk.state()
        assert isinstance(gone, DifferenceResolved)

    def test_an_older_statement_than_the_last_is_not_looked_at(self, desk) -> None:
        old = desk.venues.statement(w.HOME, desk.world.now_ms)
        desk.venues.held[w.HOME, "BTC"] -= 1
        desk.state()
        assert "older" in desk.world.tell(old).text
        assert desk.refusal(desk.world.entry()) is Refusal.NOT_RECONCILED

    def test_one_that_is_not_settled_finds_and_resolves_nothing(self, desk) -> None:
        desk.venues.held[w.HOME, "BTC"] -= 1
        assert desk.state(settled=False) == []
        desk.state()
        desk.venues.held[w.HOME, "BTC"] += 1
        assert desk.state(settled=False) == []

    def test_a_late_fill_of_a_concluded_intent_is_a_difference(self, desk) -> None:
        """It was reported as expired, and had filled."""
        intent = desk.world.entry()
        desk.trade(intent, w.expired(intent.home), w.expired(intent.away))
        desk.venues.fill(w.make_fill(intent.home))
        assert {event.currency for event in desk.state()} == {"BTC", "KRW"}


class TestRounding:
    """A venue that rounds each fill to the digits that it prints, and one that only prints fewer than it keeps."""

    @pytest.fixture
    def odd(self, desk):
        """Trade once at Upbit, for a fee with more than 8 decimals."""

        def trade():
            intent = desk.world.entry("BTC", "buy_home")
            home = w.filled(intent.home, price=Decimal("999983.13579"))
            position = desk.trade(intent, home, w.filled(intent.away))
            desk.trade(desk.world.exit_of(position), done=True)

        desk.state()
        desk.odd = trade
        return desk

    def cut(self, desk, account, unit="0.00000001"):
        """The venue keeps no more digits than it prints."""
        held = desk.venues.held[account]
        desk.venues.held[account] = held.quantize(Decimal(unit), ROUND_DOWN)
        return held - desk.venues.held[account]

    def test_digits_that_are_not_printed_block_nothing_and_are_not_booked(self, odd) -> None:
        odd.venues.print_at_home(digits=8)
        for _ in range(20):
            odd.odd()
            assert odd.state() == []
        assert odd.booked(w.HOME, "KRW") == odd.venues.held[w.HOME, "KRW"]

    def test_the_rounding_of_fills_is_booked_within_a_unit_for_each(self, odd) -> None:
        lost = Decimal(0)
        for _ in range(20):
            odd.odd()
            lost += self.cut(odd, (w.HOME, "KRW"))
            events = odd.state()
            assert all(isinstance(one, Deposited) and one.why == "rounding" for one in events), events
            assert all(abs(one.amount) <= 2 * UNIT for one in events)
        off = odd.booked(w.HOME, "KRW") - odd.venues.held[w.HOME, "KRW"]
        rounded = odd.world.state.results.rounding[w.HOME, "KRW"]
        assert 0 < off <= 2 * UNIT < lost
        assert rounded == off - lost
        assert odd.show().rounding == ((w.HOME, "KRW", rounded),)
        assert odd.refusal(odd.world.entry("ETH")) is None

    def test_more_than_a_unit_for_each_fill_is_a_difference(self, odd) -> None:
        odd.odd()
        odd.venues.held[w.HOME, "KRW"] -= 4 * UNIT  # 2 that are not printed, and 2 fills
        assert [event.why for event in odd.state()] == ["rounding"]
        odd.venues.held[w.HOME, "KRW"] -= UNIT / 10  # and no fill since
        (found,) = odd.state()
        assert isinstance(found, DifferenceFound)

    def test_what_leaves_bit_by_bit_is_found(self, odd) -> None:
        """Rounding that is never asked for cannot add up."""
        for number in range(3):
            odd.venues.held[w.HOME, "BTC"] -= UNIT
            events = odd.state()
            assert [type(one) for one in events] == [DifferenceFound] * (number == 2)

    def test_many_fills_explain_no_more_than_a_thousand(self, odd) -> None:
        activity = odd.world.core.reconciler.activity
        account = w.HOME, "KRW"
        assert activity.rounding(account, UNIT, 1000) == 0  # just agreed
        fill = w.make_fill(odd.world.entry().home)
        for _ in range(1500):
            activity.booked((fill,), 10**18)
        by_count = activity.rounding(account, UNIT, 1000) - 1500 * Decimal(499_750) * Decimal("1e-15")
        assert by_count == 1000 * UNIT

    def test_rounding_has_a_ledger_account_of_its_own(self, odd, tmp_path) -> None:
        odd.odd()
        odd.venues.held[w.HOME, "KRW"] -= 3 * UNIT
        odd.state()
        odd.world.stop()
        odd.world.write_ledger(tmp_path / "ledger.sqlite")
        assert verify(tmp_path / "ledger.sqlite").differences == ()
        lines = [line for event in odd.world.events for line in postings_of(event)]
        rounded = [line for line in lines if line.account == "rounding:upbit"]
        assert [(line.currency, line.amount) for line in rounded] == [("KRW", UNIT)]

    def test_doubles_of_a_cheap_coin_are_rounding(self, odd) -> None:
        """Of a thousand million coins a double shows seven decimals only."""
        activity = odd.world.core.reconciler.activity
        order = msgspec.structs.replace(odd.world.entry().home, quantity=Decimal(10**9), side="buy")
        activity.booked((w.make_fill(order, Decimal(10**9), Decimal("0.001")),), 10**18)
        assert activity.rounding((w.HOME, "BTC"), UNIT, 1000) == UNIT + Decimal("1e-6")


class TestAge:
    """Comparisons that are too old refuse entries; order and age go by monotonic time."""

    def test_without_a_settled_statement_for_too_long_nothing_is_entered(self, desk) -> None:
        position = desk.trade(desk.world.entry())
        desk.world.now_ms += 120_000
        desk.state(w.AWAY)
        desk.state(w.HOME, settled=False)
        reply = desk.world.submit(desk.world.entry("ETH"))
        assert reply.reason is Refusal.STATEMENT_OLD
        assert reply.detail == "upbit has made no settled statement of what we own for 120 s"
        assert desk.show().statements[1].trouble == reply.detail
        assert desk.refusal(desk.world.exit_of(position)) is None
        desk.state(w.HOME)
        assert desk.refusal(desk.world.entry("ETH")) is None

    def test_the_limit_is_settable(self, make_desk) -> None:
        desk = make_desk(statement_age_max_s=20.0)
        desk.state()
        desk.world.now_ms += 20_000
        desk.state(w.AWAY)
        assert desk.refusal(desk.world.entry("ETH")) is Refusal.STATEMENT_OLD

    def test_a_currency_that_nothing_bounds_for_too_long_refuses_its_pair(self) -> None:
        """While an order is stuck, BNB may always have paid a fee: its own pair must not be entered blindly."""
        world = w.World(("BTC", "BNB"), w.with_live(), ready=False, tag=TAG)
        world.start()
        world.ask(world.hello())
        venues = w.Venues(("BTC", "BNB"))

        def state() -> None:
            for venue in (w.HOME, w.AWAY):
                world.now_ms += 1
                world.tell(venues.statement(venue, world.now_ms))

        state()
        stuck = world.entry()
        world.submit(stuck)
        state()
        world.now_ms += 121_000
        state()
        reply = world.submit(world.entry("BNB"))
        assert (reply.reason, reply.detail) == (
            Refusal.STATEMENT_OLD,
            "binance BNB could not be compared for 120 s: orders under way may pay fees in it",
        )
        world.report(stuck, w.expired(stuck.home), w.expired(stuck.away))
        world.conclude(stuck)
        state()
        assert isinstance(world.submit(world.entry("BNB")), Approved)

    @pytest.mark.parametrize("step_ms", [-3_600_000, 3_600_000])
    def test_a_step_of_the_wall_clock_changes_nothing(self, desk, step_ms) -> None:
        """The clocks part: the wall time steps by an hour, the monotonic time does not."""
        world = desk.world
        core, offset_ms = world.core, 0

        def state() -> None:
            for venue in (w.HOME, w.AWAY):
                world.now_ms += 1
                said = desk.venues.statement(venue, world.now_ms)
                said = msgspec.structs.replace(said, at_ms=said.at_ms + offset_ms)
                answer, _ = core.command(said, world.now_ms + offset_ms, world.now_ms * 1_000_000)
                assert "compared" in answer.text

        def objection():
            now_ns = world.now_ms * 1_000_000
            moment = Moment(world.now_ms + offset_ms, now_ns, 0)
            return core.reconciler.objection(world.pairs["BTC"], "buy_home", moment)

        state()
        offset_ms = step_ms
        assert objection() is None
        state()
        assert objection() is None
        desk.venues.held[w.HOME, "KRW"] -= 5
        state()
        assert objection().reason is Refusal.NOT_RECONCILED
        desk.venues.held[w.HOME, "KRW"] += 5
        state()
        world.now_ms += 121_000
        assert objection().reason is Refusal.STATEMENT_OLD

    def test_after_a_restart_of_risk_the_order_goes_by_monotonic_time_too(self, desk) -> None:
        """The wall clock is set back an hour while risk is away; the monotonic clock of the machine goes on."""
        now_ns = (desk.world.now_ms + 1000) * 1_000_000
        wall_ms = desk.world.now_ms - 3_600_000
        old = desk.venues.statement(w.HOME, desk.world.now_ms)
        core = RiskCore(desk.world.config, desk.world.universe, desk.world.state, TAG)
        core.start(wall_ms, "run-2", "test", now_ns)
        answer, _ = core.command(old, wall_ms, now_ns + 1)
        assert "before this start" in answer.text
        desk.venues.held[w.HOME, "KRW"] -= 5
        for venue in (w.HOME, w.AWAY):
            said = desk.venues.statement(venue, wall_ms + 5)
            core.command(msgspec.structs.replace(said, read_ns=now_ns + 2), wall_ms + 6, now_ns + 3)
        objection = core.reconciler.objection(
            desk.world.pairs["BTC"], "buy_home", Moment(wall_ms + 7, now_ns + 4, 0)
        )
        assert objection.reason is Refusal.NOT_RECONCILED


class TestAccepting:
    def test_the_venues_word_is_booked(self, desk) -> None:
        desk.venues.held[w.HOME, "BTC"] -= 1
        desk.state()
        before = len(desk.world.events)
        answer = desk.world.tell(AcceptDifference(w.HOME, "BTC", "sent to the cold wallet", "withdrawal"))
        assert isinstance(answer, Done)
        deposited, resolved = desk.world.events[before:]
        assert (deposited.amount, deposited.why, deposited.reason) == (
            -1,
            "withdrawal",
            "sent to the cold wallet",
        )
        assert resolved.how == "accepted"
        assert desk.booked(w.HOME, "BTC") == 3
        assert desk.state() == []
        assert desk.refusal(desk.world.entry()) is None

    def test_it_is_the_difference_that_is_booked_whatever_was_traded_since(self, desk) -> None:
        position = desk.trade(desk.world.entry())
        desk.venues.held[w.AWAY, "USDT"] += 7
        desk.state()
        desk.trade(desk.world.exit_of(position), done=True)
        desk.world.tell(AcceptDifference(w.AWAY, "USDT", "", "deposit"))
        assert desk.state() == []

    def test_where_nothing_differs_there_is_nothing_to_accept(self, desk) -> None:
        answer = desk.world.tell(AcceptDifference(w.HOME, "BTC", ""))
        assert answer == Denied("upbit BTC: venue and ledger do not differ")

    def test_the_ledger_verifies(self, desk, tmp_path) -> None:
        desk.venues.held[w.HOME, "BTC"] -= 1
        desk.state()
        desk.trade(desk.world.entry("ETH"))
        desk.world.tell(AcceptDifference(w.HOME, "BTC", "", price=Decimal(1_000_000)))
        desk.trade(desk.world.entry())
        desk.world.stop()
        desk.world.write_ledger(tmp_path / "ledger.sqlite")
        assert verify(tmp_path / "ledger.sqlite").differences == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"venue": "kraken"}, "kraken is not a venue of this run"),
        ({"balances": (("BTC", Decimal("NaN"), Decimal(0)),)}, "NaN is not an amount"),
        ({"balances": (("BTC", Decimal(1), Decimal(-1)),)}, "-1 is not an amount"),
        ({"balances": (("", Decimal(1), Decimal(1)),)}, "'' is not a currency"),
        ({"balances": (("BTC", Decimal(1), Decimal(1)),) * 2}, "names a currency twice"),
        ({"open_orders": (("x", "BTCUSDT", Decimal("Infinity")),)}, "Infinity is not an amount"),
    ],
)
def test_statements_that_make_no_sense(desk, change, said) -> None:
    given = {
        "venue": "upbit",
        "at_ms": desk.world.now_ms + 5,
        "balances": (),
        "open_orders": (),
        "settled": True,
        "read_ns": (desk.world.now_ms + 5) * 1_000_000,
    }
    before = len(desk.world.events)
    answer = desk.world.tell(Statement(**{**given, **change}))
    assert isinstance(answer, Denied)
    assert said in answer.why
    assert len(desk.world.events) == before


def test_unknown_orders_halt_at_their_limit() -> None:
    config = w.with_live()
    limits = w.msgspec.structs.replace(config.limits, halt_unknown_per_min=2)
    world = w.World(ready=False, config=w.msgspec.structs.replace(config, limits=limits), tag=TAG)
    world.start()
    world.ask(world.hello())
    for venue in (w.HOME, w.AWAY):
        world.now_ms += 1
        world.tell(w.Venues().statement(venue, world.now_ms))
    intent = world.entry()
    world.submit(intent)
    for _ in range(3):  # said again and again, it is one order
        world.ask(Report(0, 1, intent.intent_id, w.OrderResult(intent.home, "UNKNOWN")))
    assert world.state.standing.halt is None
    world.ask(Report(0, 1, intent.intent_id, w.OrderResult(intent.away, "UNKNOWN")))
    assert world.state.standing.halt.cause == "errors"


def test_what_a_person_ended_may_still_be_stated_late_and_is_then_a_difference(desk) -> None:
    """An order that was ended by hand may have been filled at its venue: the statement shows it, and blocks."""
    world, venues = desk.world, desk.venues
    intent = world.entry()
    assert desk.refusal(intent) is None
    world.ask(SetApart(0, 1, "BTC", "stuck", "nothing is heard of it", intent.intent_id))
    answer = world.tell(EndIntent("BTC", "nothing is heard of it"))
    assert isinstance(answer, Done)
    assert world.state.balance(w.HOME, "BTC").held == world.state.balance(w.HOME, "KRW").held == 0
    assert desk.state() == []  # both venues agree with what is booked
    venues.fill(w.make_fill(intent.home))
    found = [event for event in desk.state() if isinstance(event, DifferenceFound)]
    assert {event.currency for event in found} == {"BTC", "KRW"}
    assert desk.refusal(world.entry("ETH")) is not None  # the quote is every pair's
