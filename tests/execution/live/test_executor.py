"""The two-leg run over a port to real venues: both legs or none, unknown orders, dry runs."""

import asyncio

import pytest
from msgspec.structs import replace

from arbshard.config import ExecutionConfig
from arbshard.execution.executor import ExecutorFactory
from arbshard.execution.live.executor import LiveExecutor
from arbshard.execution.two_leg import TwoLeg
from arbshard.model.intent import OpenIntent
from arbshard.model.refusal import Refusal
from arbshard.venues.base.client import Answer
from arbshard.wire.messages import Refused

EXECUTION = ExecutionConfig(retry_ms=0.01)


class Observer:
    def __init__(self):
        self.sent_ns = []
        self.since_book_ns = {}
        self.done = []
        self.answers = []
        self.counts_of_late = 0

    def approved(self, waited_ns):
        pass

    def order_done(self, result):
        self.done.append(result)

    def answered(self, venue, waited_ns):
        self.answers.append((venue, waited_ns))

    def late(self):
        self.counts_of_late += 1

    def sent(self, venue, waited_ns, since_book_ns):
        self.sent_ns.append(waited_ns)
        self.since_book_ns[venue] = since_book_ns


@pytest.fixture
def observed():
    return Observer()


@pytest.fixture
def executor_in(make, risk, clock, observed):
    """An executor in a room, made as workers make it."""

    def build(room, asked=None):
        factory = ExecutorFactory(asked or risk, room.books, EXECUTION, clock, observed)
        executor = factory.create_live_executor(make.pair, room.port, room.live, observed)
        assert isinstance(executor, LiveExecutor)
        assert factory.get_executor("BTC") is executor
        return executor

    return build


@pytest.fixture
def entry(make):
    return make.intent("entry", "buy_home", "0.001")


def fill_both(room, said):
    room.upbit.says("orders", said.answer(said.upbit("wait", "0", "0"), 201))
    room.upbit.says("order", said.answer(said.upbit()))
    room.binance.says("order", said.answer(said.binance()))


def reports(calls):
    return [call[1:] for call in calls if call[0] == "report"]


async def test_entry(open_room, executor_in, said, entry, calls, observed):
    room = open_room(order_timeout_s=2.0)
    fill_both(room, said)
    await executor_in(room).execute(entry)
    assert sorted(reports(calls)) == [("s1-0-1-1-a0", "FILLED"), ("s1-0-1-1-h0", "FILLED")]
    assert calls[0] == ("submit", "s1-0-1-1")
    assert calls[-1][0] == "conclude"
    assert len(observed.sent_ns) == 2
    assert sorted(venue for venue, _ in observed.answers) == ["binance", "upbit"]


async def test_time_to_the_wire_counts_from_the_decision(
    open_room, executor_in, said, entry, observed, clock
):
    room = open_room(order_timeout_s=2.0)
    fill_both(room, said)
    decided_ns = clock.monotonic_ns() - 5_000_000
    await executor_in(room).execute(entry, decided_ns, decided_ns - 1_000_000)
    assert observed.sent_ns == [5_000_000, 5_000_000]
    assert observed.since_book_ns == {"upbit": 6_000_000, "binance": 6_000_000}


class SlowRisk:
    """Answers when a test wants it."""

    def __init__(self, risk):
        self.risk = risk
        self.decided = asyncio.Event()

    async def submit(self, intent):
        answer = await self.risk.submit(intent)
        await self.decided.wait()
        return answer

    def __getattr__(self, name):
        return getattr(self.risk, name)


@pytest.fixture
def slow_risk(risk):
    return SlowRisk(risk)


async def asked_in(room, executor_in, intent, risk):
    """An intent that risk has not decided on, and whose legs are signed."""
    executor = executor_in(room, risk)
    running = asyncio.create_task(executor.execute(intent))
    async with asyncio.timeout(5):
        while not (room.upbit.prepared and room.binance.prepared):
            await asyncio.sleep(0)
    return running


async def test_legs_are_signed_while_risk_decides_and_sent_only_then(
    open_room, executor_in, said, entry, slow_risk
):
    room = open_room(order_timeout_s=2.0)
    fill_both(room, said)
    running = await asked_in(room, executor_in, entry, slow_risk)
    await asyncio.sleep(0.02)
    assert room.upbit.calls == room.binance.calls == []
    slow_risk.decided.set()
    await running
    assert [one.request for one in room.binance.used] == room.binance.prepared
    assert [one.request for one in room.upbit.used] == room.upbit.prepared
    assert not room.port.prepared


async def test_what_was_signed_is_thrown_away_when_risk_refuses(
    open_room, executor_in, entry, risk, slow_risk
):
    risk.answer = Refused(Refusal.HALTED, "halted")
    room = open_room()
    running = await asked_in(room, executor_in, entry, slow_risk)
    slow_risk.decided.set()
    assert room.budget.usage("upbit_order", room.clock.monotonic_ns()).used == 1
    assert (await running).refused is not None
    assert room.upbit.calls == room.binance.calls == []
    assert not room.port.prepared
    assert room.budget.usage("upbit_order", room.clock.monotonic_ns()).used == 0


async def test_what_was_signed_is_thrown_away_when_risk_answers_too_late(
    open_room, executor_in, said, entry, slow_risk, clock, calls
):
    room = open_room(clock=clock)
    running = await asked_in(room, executor_in, entry, slow_risk)
    clock.advance_ms(EXECUTION.approval_expiry_ms + 1)
    slow_risk.decided.set()
    await running
    assert room.upbit.calls == room.binance.calls == []
    assert [state for _, state in reports(calls)] == ["NOT_ACCEPTED", "NOT_ACCEPTED"]
    assert not room.port.prepared


async def test_a_task_that_is_given_up_leaves_nothing_signed(open_room, executor_in, entry, slow_risk):
    room = open_room()
    running = await asked_in(room, executor_in, entry, slow_risk)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not room.port.prepared


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (lambda rules: replace(rules, lot=rules.lot * 7), "is off the lot"),
        (
            lambda rules: replace(rules, notional_min=rules.notional_min * 1_000_000),
            "outside the venue's minimum",
        ),
    ],
)
async def test_rules_that_changed_since_the_approval_keep_both_legs_back(
    open_room, executor_in, make, entry, slow_risk, calls, observed, changed, problem
):
    room = open_room(order_timeout_s=2.0)
    running = await asked_in(room, executor_in, entry, slow_risk)
    room.port.add_legs([replace(make.home, rules=changed(make.home.rules))])
    assert not room.port.prepared
    slow_risk.decided.set()
    outcome = await running
    assert room.upbit.calls == room.binance.calls == []
    assert reports(calls) == [("s1-0-1-1-h0", "NOT_ACCEPTED"), ("s1-0-1-1-a0", "NOT_ACCEPTED")]
    for result in observed.done:
        assert result.detail.startswith(f"not sent: {make.home.market}: ")
        assert problem in result.detail
        assert not result.fault
    assert calls[-1][0] == "conclude"  # risk releases what it held for the approval
    assert calls[-1][-1] is True
    assert outcome.settled is not None
    assert not room.port.prepared


def opens_after(clock, milliseconds):
    async def opens():
        await asyncio.sleep(0)
        clock.advance_ms(milliseconds)

    return opens


async def test_an_approval_that_grows_old_while_connections_are_opened_opens_nothing(
    open_room, executor_in, entry, clock, calls, observed
):
    room = open_room(clock=clock, order_timeout_s=2.0)
    room.upbit.opens = room.binance.opens = opens_after(clock, EXECUTION.approval_expiry_ms + 1)
    await executor_in(room).execute(entry)
    assert room.upbit.calls == room.binance.calls == []
    assert sorted(reports(calls)) == [("s1-0-1-1-a0", "NOT_ACCEPTED"), ("s1-0-1-1-h0", "NOT_ACCEPTED")]
    assert {(result.detail, result.fault) for result in observed.done} == {
        ("not accepted: not sent: approved too late", "")
    }
    assert observed.counts_of_late == 1
    assert room.counts["withheld"] == 2
    assert calls[-1][0] == "conclude"


async def test_a_leg_whose_partner_was_sent_is_sent_however_long_its_connection_took(
    open_room, executor_in, said, entry, clock, calls
):
    room = open_room(clock=clock, order_timeout_s=2.0)
    fill_both(room, said)
    room.binance.opens = opens_after(clock, EXECUTION.approval_expiry_ms + 1)
    await executor_in(room).execute(entry)
    assert sorted(reports(calls)) == [("s1-0-1-1-a0", "FILLED"), ("s1-0-1-1-h0", "FILLED")]


async def test_an_exit_is_sent_however_long_its_connections_took(
    open_room, executor_in, make, said, clock, calls
):
    room = open_room(clock=clock, order_timeout_s=2.0)
    fill_both(room, said)
    room.upbit.opens = room.binance.opens = opens_after(clock, EXECUTION.approval_expiry_ms + 1)
    leaving = make.intent("exit", "buy_home", "0.001")
    executor = executor_in(room)
    executor.take_over([replace(make.position("buy_away", "0.001"), position_id=leaving.position_id)])
    await executor.execute(leaving)
    assert sorted(reports(calls)) == [("s1-0-1-1-a0", "FILLED"), ("s1-0-1-1-h0", "FILLED")]


async def test_a_dry_run_signs_nothing(open_room, executor_in, entry):
    room = open_room(dry_run=True)
    room.upbit.says("orders/test", Answer(200, b"{}"))
    room.binance.says("order/test", Answer(200, b"{}"))
    await executor_in(room).execute(entry)
    assert room.upbit.prepared == room.binance.prepared == []


async def test_entry_without_budget_sends_neither_leg(open_room, executor_in, entry, calls):
    """Binance has room for it, Upbit has not."""
    room = open_room()
    assert room.gate.spare({"upbit_order": 8})
    await executor_in(room).execute(entry)
    assert room.upbit.calls == []
    assert room.binance.calls == []
    assert reports(calls) == [("s1-0-1-1-h0", "NOT_ACCEPTED"), ("s1-0-1-1-a0", "NOT_ACCEPTED")]
    assert calls[-1][0] == "conclude"


async def test_exit_uses_the_reserve(open_room, executor_in, make, said, calls):
    room = open_room(order_timeout_s=2.0)
    assert room.gate.spare({"upbit_order": 8})
    fill_both(room, said)
    leaving = make.intent("exit", "buy_home", "0.001")
    executor = executor_in(room)
    executor.take_over([replace(make.position("buy_away", "0.001"), position_id=leaving.position_id)])
    await executor.execute(leaving)
    assert sorted(reports(calls)) == [("s1-0-1-1-a0", "FILLED"), ("s1-0-1-1-h0", "FILLED")]


async def test_a_leg_that_is_sent_alone_counts_once_against_the_rate_limit(
    open_room, executor_in, make, said
):
    """The other leg of the exit is one lot, which its venue would refuse."""
    room = open_room(order_timeout_s=2.0)
    filled = said.answer(said.upbit(), 201)
    room.upbit.says("orders", filled)
    room.upbit.says("order", said.answer(said.upbit()))
    leaving = make.intent("exit", "buy_away", "0.001")
    leaving = replace(leaving, away=replace(leaving.away, quantity=make.away.rules.lot))
    executor = executor_in(room)
    position = replace(make.position("buy_home", "0.001"), position_id=leaving.position_id)
    executor.take_over([position], residue=leaving.home.quantity)
    await executor.execute(leaving)
    assert [call[0] for call in room.upbit.calls].count("POST") == 1
    assert room.binance.calls == []
    assert room.budget.usage("upbit_order", room.clock.monotonic_ns()).used == 1


async def test_two_orders_that_take_back_an_entry_use_the_reserve_and_count_once(
    open_room, executor_in, make, said, entry
):
    room = open_room(order_timeout_s=2.0)
    assert room.gate.spare({"upbit_order": 8})
    fill_both(room, said)
    machine = TwoLeg(entry, make.pair, None, EXECUTION)
    machine.state = "taking_back"
    back = tuple(
        replace(order, role="unwind", client_id=f"{order.client_id[:-1]}1")
        for order in (entry.home, entry.away)
    )
    await executor_in(room)._send_all(machine, back)
    assert {result.state for result in machine.results} == {"FILLED"}
    assert room.budget.usage("upbit_order", room.clock.monotonic_ns()).used == 8 + 1


async def test_unknown_leg_is_asked_about_and_told_once(open_room, executor_in, said, entry, calls):
    room = open_room(order_timeout_s=2.0)
    room.upbit.says("orders", said.answer(said.upbit("wait", "0", "0"), 201))
    room.upbit.says("order", said.answer(said.upbit()))
    room.binance.says("order", said.lost, *(said.not_found for _ in range(4)), said.answer(said.binance()))
    await executor_in(room).execute(entry)
    assert [state for name, state in reports(calls) if name.endswith("a0")] == [
        "UNKNOWN",
        "UNKNOWN",
        "FILLED",
    ]
    assert room.counts["asks"] == 1 + 5
    assert sum(call[0] == "POST" for call in room.binance.calls) == 1


async def test_leg_that_was_not_accepted_is_hedged(open_room, executor_in, said, entry, calls):
    room = open_room(order_timeout_s=2.0)
    room.upbit.says("orders", said.answer(said.upbit("wait", "0", "0"), 201))
    room.upbit.says("order", said.answer(said.upbit()))
    room.binance.says(
        "order",
        said.unsent,
        said.answer(said.binance(fills=[(6, "104900", "0.00100000", "0.1049", "USDT")])),
    )
    await executor_in(room).execute(entry)
    assert ("extend", "s1-0-1-1-a1") in calls
    assert ("s1-0-1-1-a1", "FILLED") in reports(calls)
    names = [call[2]["newClientOrderId"] for call in room.binance.calls]
    assert names == ["ab1cd-s1-0-1-1-a0", "ab1cd-s1-0-1-1-a1"]


async def test_dry_run_ends_flat(open_room, executor_in, said, entry, calls):
    room = open_room(dry_run=True)
    room.upbit.says("orders/test", said.answer({}, 201))
    room.binance.says("order/test", said.answer({}))
    await executor_in(room).execute(entry)
    assert {state for _, state in reports(calls)} == {"NOT_ACCEPTED"}
    assert calls[-1][-1] is True
    assert [call[1] for call in (*room.upbit.calls, *room.binance.calls)] == ["orders/test", "order/test"]


async def test_successor_asks_and_does_not_send(open_room, executor_in, said, entry, calls):
    room = open_room()
    room.upbit.says("order", said.answer(said.upbit()))
    room.binance.says("order", said.answer(said.binance()))
    await executor_in(room).resume(OpenIntent(entry, ()))
    assert sorted(reports(calls)) == [("s1-0-1-1-a0", "FILLED"), ("s1-0-1-1-h0", "FILLED")]
    assert not [call for call in (*room.upbit.calls, *room.binance.calls) if call[0] == "POST"]
