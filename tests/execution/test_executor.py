"""The order of things: approval, sending, reporting, settling. It is what keeps an order from being lost."""

import asyncio
from decimal import Decimal
from random import Random

import pytest
from msgspec.structs import replace

from arbshard.config import ExecutionConfig, PaperConfig
from arbshard.engine.closing import close_now
from arbshard.engine.edge import terms_of
from arbshard.engine.engine import Exit, held_of
from arbshard.execution.executor import BaseExecutor, ExecutorFactory, IntentOutcome, PaperExecutor
from arbshard.execution.paper_port import LateFills
from arbshard.execution.ports import IntentOver
from arbshard.model.intent import FxQuote, OpenIntent, Retry
from arbshard.model.order import OrderResult
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import Refused, Settled
from support.paper import KIND_PAPER

EXECUTION = ExecutionConfig(retry_ms=0.01, approval_expiry_ms=150.0)


@pytest.fixture
def executor(make, port, risk, books, clock, observer):
    return BaseExecutor(make.pair, port, risk, books, EXECUTION, clock, observer)


@pytest.fixture
def intent(make):
    return make.intent("entry", "buy_home", "0.00999")


def names(calls):
    return [call[0] for call in calls]


async def test_entry_that_fills_at_once(executor, intent, calls, make, mark, observer):
    outcome = await executor.execute(intent)
    assert outcome == IntentOutcome(None, Settled(intent.intent_id, None, ()))
    assert calls[0] == ("submit", "s1-0-1-1")
    assert sorted(calls[1:3]) == [("send", "s1-0-1-1-a0"), ("send", "s1-0-1-1-h0")]
    assert sorted(calls[3:5]) == [
        ("report", "s1-0-1-1-a0", "FILLED"), ("report", "s1-0-1-1-h0", "FILLED"),
    ]  # fmt: skip
    assert calls[5:] == [("conclude", "s1-0-1-1", mark, make.quote, False)]
    assert len(observer.done) == 2


async def test_the_time_of_a_venue_counts_for_orders_that_it_accepted(
    executor, intent, port, clock, observer
):
    send = port.send
    port.script = {"s1-0-1-1-a0": [("REJECTED", 0)]}

    async def take_time(order):
        result = await send(order)
        clock.advance_ms(30)
        return result

    port.send = take_time
    await executor.execute(intent)
    assert sorted(venue for venue, _ in observer.answers) == [
        "binance",
        "upbit",
    ]  # the rejected one: its hedge
    assert all(30_000_000 <= waited_ns <= 60_000_000 for _, waited_ns in observer.answers)


async def test_refused_intent_sends_nothing(executor, intent, risk, calls, observer):
    risk.answer = Refused(Refusal.BALANCE, "not enough")
    outcome = await executor.execute(intent)
    assert outcome == IntentOutcome(risk.answer, None)
    assert names(calls) == ["submit"]
    assert not observer.waited_ns


async def test_a_refused_exit_is_made_as_risk_says_from_then_on(executor, make, risk):
    """A leg that has to go first must go first the next time, or risk refuses that exit too."""
    leaving = make.intent("exit", "buy_away", "0.00999")
    held = replace(make.position("buy_home", "0.00999"), position_id=leaving.position_id)
    executor.take_over([held])
    wanted = Retry("exit", 2, 4000, "away", is_small=True, why="the venue refuses orders")
    risk.answer = Refused(Refusal.EXIT_WAITS, "the away leg has to go first", (), wanted)
    await executor.execute(leaving)
    assert executor.exit_retry == wanted
    risk.answer = Refused(Refusal.EXIT_WAITS, "a pause")  # without news of it, it stays
    await executor.execute(leaving)
    assert executor.exit_retry == wanted
    terms, books = terms_of(make.pair, "buy_away"), (make.home_book(), make.away_book())
    closing = close_now(held_of(held), *books, make.fx, terms)
    trade = Exit(make.pair, leaving.position_id, "buy_away", "manual", closing, make.fx)
    again = executor.plan_exit(trade, executor.get_position(leaving.position_id), "s1-0-1-2", make.now_ms)
    assert again.lead == "away"
    assert again.home.quantity < leaving.home.quantity


async def test_a_position_that_is_not_open_cannot_be_left(executor):
    with pytest.raises(KeyError):
        executor.get_position("s1-0-1-1")


async def test_rules_that_change_hold_for_the_intent_under_way(executor, intent, make, port, calls):
    """A lot that has become larger: the hedge is rounded to it, or the venue would refuse it for ever."""
    larger = replace(make.away, rules=replace(make.away.rules, lot=Decimal("0.0001")))
    legs = []
    port.add_legs = legs.extend
    port.script = {"s1-0-1-1-a0": [("REJECTED", 0)]}
    send, sent = port.send, []

    async def change_meanwhile(order):
        sent.append(order)
        if order.client_id.endswith("a0"):
            executor.revise(replace(make.pair, away=larger))
        return await send(order)

    port.send = change_meanwhile
    await executor.execute(intent)
    assert legs == [make.home, larger]
    assert executor.pair.away == larger
    (hedge,) = (order for order in sent if order.role == "hedge")
    assert hedge.quantity == Decimal("0.0099")


def test_rules_that_change_while_nothing_is_under_way_are_used_from_the_next_intent_on(executor, make, port):
    port.add_legs = lambda legs: None
    executor.revise(replace(make.pair, away=replace(make.away, slot=9)))
    assert executor.pair.away.slot == 9
    executor.renew()  # nor is there anything to renew


async def test_approval_that_came_too_late_sends_nothing(executor, intent, risk, clock, calls, observer):
    risk.on_submit = lambda: clock.advance_ms(150.001)
    outcome = await executor.execute(intent)
    assert outcome.settled is not None
    assert "send" not in names(calls)
    assert [call for call in calls if call[0] == "report"] == [
        ("report", "s1-0-1-1-h0", "NOT_ACCEPTED"), ("report", "s1-0-1-1-a0", "NOT_ACCEPTED"),
    ]  # fmt: skip
    assert calls[-1][0] == "conclude"
    assert calls[-1][-1] is True
    assert observer.late_count == 1


async def test_approval_just_in_time_is_sent(executor, intent, risk, clock, calls, observer):
    risk.on_submit = lambda: clock.advance_ms(150)
    await executor.execute(intent)
    assert names(calls).count("send") == 2
    assert observer.waited_ns == [150_000_000]
    assert observer.late_count == 0


async def test_exit_is_never_too_late(executor, make, risk, clock, calls):
    """To be out matters more than the moment."""
    risk.on_submit = lambda: clock.advance_ms(60_000)
    leaving = make.intent("exit", "buy_away", "0.00999")
    executor.take_over([replace(make.position("buy_home", "0.00999"), position_id=leaving.position_id)])
    await executor.execute(leaving)
    assert names(calls).count("send") == 2
    assert calls[-1][-1] is True


async def test_hedge_is_known_to_risk_before_it_is_sent(executor, intent, port, calls):
    port.script = {"s1-0-1-1-a0": [("REJECTED", 0)]}
    await executor.execute(intent)
    assert calls[-4:-1] == [
        ("extend", "s1-0-1-1-a1"), ("send", "s1-0-1-1-a1"), ("report", "s1-0-1-1-a1", "FILLED"),
    ]  # fmt: skip
    assert calls[-1][0] == "conclude"
    assert not [
        call for call in calls if call[0] == "extend" and call[1].endswith("0")
    ]  # legs were submitted


async def test_a_hedge_is_made_as_small_as_what_can_be_paid_for(executor, intent, make, risk, port, calls):
    """On paper nothing is spent that is not there: the rest is hedged when there is more."""
    port.script = {"s1-0-1-1-a0": [("REJECTED", 0)]}
    sent = []
    send = port.send

    async def remember(order):
        sent.append(order)
        if order.role != "leg":
            risk.payable = None  # there is money again
        return await send(order)

    port.send = remember
    market = make.away.market
    risk.payable = ((market.venue, market.base, Decimal("0.004")),)
    await executor.execute(intent)
    hedges = [order for order in sent if order.role == "hedge"]
    assert [order.client_id[-2:] for order in hedges] == ["a1", "a2"]
    assert hedges[0].quantity == Decimal("0.004")
    assert sum(order.quantity for order in hedges) == Decimal("0.00999")
    assert [call for call in calls if call[0] == "extend"] == [
        ("extend", "s1-0-1-1-a1"), ("extend", "s1-0-1-1-a1"), ("extend", "s1-0-1-1-a2"),
    ]  # fmt: skip


async def test_a_hedge_that_cannot_be_paid_for_is_not_sent_and_not_reported(
    executor, intent, risk, port, calls
):
    """It is tried on the other venue, then a person is asked."""
    port.script = {"s1-0-1-1-a0": [("REJECTED", 0)]}
    risk.payable = ()
    running = asyncio.ensure_future(executor.execute(intent))
    while "set_apart" not in names(calls):
        await asyncio.sleep(0.001)
    tried = [call for call in calls if call[0] == "extend"]
    assert tried[:2] == [("extend", "s1-0-1-1-a1"), ("extend", "s1-0-1-1-h2")]
    assert not [call for call in calls[calls.index(tried[0]) :] if call[0] in ("send", "report")]
    risk.payable = None
    executor.renew()
    await running
    assert names(calls)[-1] == "conclude"


async def test_an_intent_that_a_person_has_ended_is_concluded(executor, intent, risk, port, calls):
    async def over(intent_id, result):
        calls.append(("report", result.order.client_id, result.state))
        raise IntentOver("i is over")

    risk.report = over
    outcome = await executor.execute(intent)
    assert outcome.settled is not None
    assert calls[-1][0] == "conclude"
    assert calls[-1][-1] is True


async def test_unknown_order_is_asked_about_until_it_is_known(executor, intent, port, calls, observer):
    port.script = {"s1-0-1-1-h0": [("UNKNOWN", 0), ("UNKNOWN", 0), ("ACCEPTED", 0), ("FILLED", "0.00999")]}
    await executor.execute(intent)
    about_home = [call for call in calls if len(call) > 1 and call[1] == "s1-0-1-1-h0"]
    assert [call[0] for call in about_home] == [
        "send", "report", "ask", "report", "ask", "report", "ask", "report",
    ]  # fmt: skip
    assert names(calls).count("conclude") == 1
    assert sorted(result.order.client_id for result in observer.done) == ["s1-0-1-1-a0", "s1-0-1-1-h0"]


@pytest.mark.parametrize("end", ["REJECTED", "CANCELED", "EXPIRED"])
async def test_follow_up_that_was_in_vain_is_not_repeated_at_once(
    executor, intent, port, calls, clock, monkeypatch, end
):
    """A venue in maintenance refuses in microseconds, and a book that was emptied stays so until the next frame:
    seven hedges went out within 400 ms, each reaching twice as far as the one before.
    """
    pauses = []

    async def pause(wait_s):
        pauses.append((len(calls), wait_s))
        clock.advance_ms(wait_s * 1000)

    monkeypatch.setattr(executor, "_pause", pause)
    port.script = {
        "s1-0-1-1-a0": [("REJECTED", 0)],
        "s1-0-1-1-a1": [(end, 0)],
        "s1-0-1-1-a2": [(end, 0)],
    }
    await executor.execute(intent)
    second, third = (calls.index(("extend", f"s1-0-1-1-a{n}")) for n in (2, 3))
    retry_s = EXECUTION.retry_ms / 1000
    assert pauses == [(second, retry_s), (third, 2 * retry_s)]


@pytest.mark.parametrize("missing", ["home", "away"])
@pytest.mark.parametrize("kind", ["entry", "exit"])
async def test_neither_leg_is_sent_without_both_books(executor, make, books, calls, kind, missing):
    """A venue without a book could not complete what the other one fills: a hedged position stays hedged."""
    intent = make.intent(kind, "buy_home" if kind == "entry" else "buy_away", "0.00999")
    if kind == "exit":
        executor.take_over([replace(make.position("buy_home", "0.00999"), position_id=intent.position_id)])
    books.books[getattr(make, missing).market] = None
    await executor.execute(intent)
    assert "send" not in names(calls)
    reported = [call for call in calls if call[0] == "report"]
    assert [call[2] for call in reported] == ["NOT_ACCEPTED"] * 2
    assert calls[-1][0] == "conclude"


async def test_an_entry_is_not_sent_without_an_fx_rate_that_is_young_enough(executor, make, books, calls):
    """The last known rate is no default: it values what is over, and nothing is entered at it."""
    books.rate, books.tradable_rate = FxQuote(Decimal(1390), Decimal(1391), 60_000), None
    await executor.execute(make.intent("entry", "buy_home", "0.00999"))
    assert "send" not in names(calls)
    assert [call[2] for call in calls if call[0] == "report"] == ["NOT_ACCEPTED"] * 2
    assert calls[-1][:1] + calls[-1][3:] == ("conclude", books.rate, True)


async def test_an_exit_is_sent_without_one(executor, make, books, calls):
    intent = make.intent("exit", "buy_away", "0.00999")
    executor.take_over([replace(make.position("buy_home", "0.00999"), position_id=intent.position_id)])
    books.rate, books.tradable_rate = FxQuote(Decimal(1390), Decimal(1391), 60_000), None
    await executor.execute(intent)
    assert names(calls).count("send") == 2
    assert calls[-1][3] == books.rate


async def test_the_rate_of_the_decision_has_its_age_when_it_values_what_is_over(
    executor, intent, clock, calls
):
    await executor.execute(replace(intent, decided_ms=clock.wall_ms() - 61_000))
    assert calls[-1][3] == replace(intent.fx, age_ms=61_000)


async def test_book_that_is_lost_with_one_leg_filled_has_the_other_take_it_back(
    executor, intent, make, port, books, calls, clock, monkeypatch
):
    async def pause(wait_s):
        clock.advance_ms(max(wait_s * 1000, 10.0))  # the pauses of this executor last for hardly any time

    monkeypatch.setattr(executor, "_pause", pause)
    port.script = {"s1-0-1-1-a0": [("REJECTED", 0)]}
    true_send = port.send

    async def send(order):
        books.books[make.away.market] = None
        return await true_send(order)

    port.send = send
    began_ns = clock.monotonic_ns()
    await executor.execute(intent)
    assert ("send", "s1-0-1-1-h1") in calls
    assert calls[-1][0] == "conclude"
    assert 2.0 <= (clock.monotonic_ns() - began_ns) / 1e9 < 3.0


async def test_stuck_intent_asks_for_a_person_once_and_is_renewed_by_one(
    executor, intent, port, calls, clock, monkeypatch
):
    waits_s = []

    async def pause(wait_s):
        clock.advance_ms(wait_s * 1000)
        waits_s.append(wait_s)
        if executor._machine.state == "stuck" and len(waits_s) > 12:
            port.script.clear()
            executor.renew()

    monkeypatch.setattr(executor, "_pause", pause)
    port.script = {f"s1-0-1-1-{leg}{n}": [("REJECTED", 0)] for leg in "ha" for n in range(1, 40)}
    port.script["s1-0-1-1-a0"] = [("REJECTED", 0)]
    await executor.execute(intent)
    assert calls.count(("set_apart", "BTC", "stuck")) == 1
    assert names(calls).count("send") < 20
    assert calls[-1][0] == "conclude"


async def test_renewing_wakes_a_stuck_intent(executor):
    """A person does not wait for the end of a pause of minutes."""
    pause = asyncio.ensure_future(executor._pause(3600))
    await asyncio.sleep(0)
    executor._renewed.set()
    await asyncio.wait_for(pause, 5)


async def test_settles_at_the_newest_rate(executor, intent, books, calls):
    books.rate = FxQuote(Decimal(1400), Decimal(1401))
    await executor.execute(intent)
    assert calls[-1][3] == books.rate


async def test_failing_venue_port_is_not_swallowed(executor, intent, port, calls):
    async def broken(order):
        raise RuntimeError("defect")

    port.send = broken
    with pytest.raises(RuntimeError, match="defect"):
        await executor.execute(intent)
    assert "conclude" not in names(calls)


class TestResume:
    async def test_orders_nobody_heard_of_are_asked_about_and_never_sent(self, executor, intent, port, calls):
        port.script = {"s1-0-1-1-h0": [("EXPIRED", 0)], "s1-0-1-1-a0": [("EXPIRED", 0)]}
        outcome = await executor.resume(OpenIntent(intent, ()))
        assert outcome.settled is not None
        assert "send" not in names(calls)
        assert "submit" not in names(calls)
        assert [call[1] for call in calls if call[0] == "ask"] == ["s1-0-1-1-h0", "s1-0-1-1-a0"]

    async def test_known_results_are_built_upon(self, executor, intent, make, port, calls):
        known = (make.result(intent.home, "FILLED", "0.00999"), make.result(intent.away, "REJECTED"))
        await executor.resume(OpenIntent(intent, known))
        assert calls[:3] == [
            ("extend", "s1-0-1-1-a1"), ("send", "s1-0-1-1-a1"), ("report", "s1-0-1-1-a1", "FILLED"),
        ]  # fmt: skip

    async def test_hedge_in_flight_is_asked_about(self, executor, intent, make, calls):
        hedge = make.order(make.away, "sell", "0.00999", 104_000, "s1-0-1-1-a1", "hedge")
        known = (
            make.result(intent.home, "FILLED", "0.00999"),
            make.result(intent.away, "REJECTED"),
            make.result(hedge, "INTENT"),
        )
        await executor.resume(OpenIntent(intent, known))
        assert calls[:2] == [("ask", "s1-0-1-1-a1"), ("report", "s1-0-1-1-a1", "FILLED")]
        assert "send" not in names(calls)


class TestFactory:
    @pytest.fixture
    def factory(self, risk, books, clock, observer):
        return ExecutorFactory(risk, books, EXECUTION, clock, observer)

    def test_one_executor_per_pair(self, factory, make):
        eth = make.other_pair()
        first = factory.create_paper_executor(make.pair, PaperConfig())
        second = factory.create_paper_executor(eth, PaperConfig())
        assert isinstance(first, PaperExecutor)
        assert factory.get_executor("BTC") is first
        assert factory.get_executor("ETH") is second
        assert factory.get_all_executors() == {"BTC": first, "ETH": second}
        assert factory.create_paper_executor(make.pair, PaperConfig()) is factory.get_executor("BTC")

    def test_what_is_removed_is_gone(self, factory, make):
        factory.create_paper_executor(make.pair, PaperConfig())
        factory.get_all_executors().clear()
        assert factory.get_executor("BTC") is not None
        factory.remove_executor("BTC")
        assert factory.get_executor("BTC") is None
        with pytest.raises(KeyError):
            factory.remove_executor("BTC")

    async def test_paper_executor_trades_on_the_books(self, factory, intent, make, calls):
        paper = PaperConfig(**KIND_PAPER | {"latency_ms": 0.01, "latency_sigma": 0.0, "depth_share": 1.0})
        outcome = await factory.create_paper_executor(make.pair, paper).execute(intent)
        assert outcome.settled is not None
        assert {call[2] for call in calls if call[0] == "report"} <= {"FILLED", "EXPIRED"}
        assert calls[-1][0] == "conclude"


class LatePort:
    """Of the first leg at home the last execution is told after the order's end; all other orders fill whole."""

    def __init__(self, make, late_fills, calls):
        self.make, self.late_fills, self.calls = make, late_fills, calls

    async def send(self, order):
        self.calls.append(("send", order.client_id, order.side))
        if not order.client_id.endswith("-h0"):
            return self.make.result(order, "FILLED", order.quantity)
        fills = tuple(self.make.fill(order, order.quantity / 2, order.limit, number) for number in range(2))
        self.late_fills.report_late(OrderResult(order, "EXPIRED", fills), is_held=False)
        return OrderResult(order, "EXPIRED", fills[:1])


async def test_what_is_told_late_of_another_intent_is_not_booked_on_the_one_under_way(
    make, risk, books, clock, observer, calls, intent
):
    """It would be hedged as if it were this intent's own."""
    late_fills = LateFills(risk, Random(1), asyncio.sleep)

    class Port(LatePort):
        async def send(self, order):
            other = replace(order, client_id="s1-0-1-9-h0")
            late_fills.on_late_report("s1-0-1-9", make.result(other, "FILLED", other.quantity))
            return self.make.result(order, "FILLED", order.quantity)

    executor = PaperExecutor(
        make.pair, Port(make, late_fills, calls), late_fills, books, EXECUTION, clock, observer
    )
    late_fills.on_late_report("s1-0-1-9", make.result(intent.home, "FILLED", intent.home.quantity))
    await executor.execute(intent)
    assert [call[1] for call in calls if call[0] == "extend"] == []
    assert names(calls)[-1] == "conclude"


async def test_what_a_venue_tells_after_the_end_is_taken_back_before_the_intent_is_concluded(
    make, risk, books, clock, observer, calls, intent
):
    may_tell = asyncio.Event()

    async def sleep(_seconds):
        await may_tell.wait()

    late_fills = LateFills(risk, Random(1), sleep)
    port = LatePort(make, late_fills, calls)
    executor = PaperExecutor(make.pair, port, late_fills, books, EXECUTION, clock, observer)
    running = asyncio.ensure_future(executor.execute(intent))
    while ("report", "s1-0-1-1-h1", "FILLED") not in calls:  # the hedge of what is not known to be filled
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert "conclude" not in names(calls)
    may_tell.set()
    await running
    sent = [call[1:] for call in calls if call[0] == "send"]
    assert sent[2:] == [("s1-0-1-1-h1", "buy"), ("s1-0-1-1-h2", "sell")]
    told = calls.index(("report", "s1-0-1-1-h0", "EXPIRED"), calls.index(("send", "s1-0-1-1-h1", "buy")))
    assert told < calls.index(("extend", "s1-0-1-1-h2"))
    assert names(calls)[-1] == "conclude"
