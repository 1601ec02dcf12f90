"""What people tell risk: halt, resume, close, limits; and that it outlives whatever happens."""

from decimal import Decimal

import pytest

from arbshard.ledger.events import (
    ClosesOrdered,
    Halted,
    IntentApproved,
    LimitsChanged,
    PairReleased,
    PairSetApart,
    Resumed,
    decode_event,
    encode_event,
)
from arbshard.ledger.verify import verify
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import (
    Approved,
    Close,
    Denied,
    Done,
    Halt,
    Instructed,
    Instructions,
    Limits,
    Noted,
    Positions,
    Refused,
    Resume,
    SetApart,
    SetLimits,
    ShowLimits,
    ShowPositions,
)
from support import world as w


@pytest.fixture
def world():
    return w.World()


def instructed(world) -> Instructed:
    return world.ask(Instructions(0, 1))


class TestHalt:
    def test_entries_are_refused_and_exits_pass(self, world) -> None:
        position = world.open_position()
        assert world.tell(Halt("lunch", flatten=False)) == Done(
            "halted: no new entries until a person resumes; exits go on"
        )
        reply = world.submit(world.entry("ETH"))
        assert (reply.reason, reply.detail) == (Refusal.HALTED, "lunch")
        assert isinstance(world.submit(world.exit_of(position)), Approved)
        assert (world.events[-3].cause, world.events[-3].reason) == ("operator", "lunch")

    def test_workers_are_told(self, world) -> None:
        before = instructed(world)
        world.tell(Halt("", flatten=False))
        after = instructed(world)
        assert (before.halted, after.halted) == (False, True)
        assert after.serial != before.serial
        welcome = world.ask(world.hello(epoch=2))
        assert (welcome.halted, welcome.serial) == (True, after.serial)

    def test_it_outlives_restarts_of_everything(self, world) -> None:
        world.tell(Halt("", flatten=False))
        world.stop()
        again = world.restart(run="run-2")
        again.ask(again.hello())
        assert again.submit(again.entry()).reason is Refusal.HALTED

    def test_a_second_one_changes_nothing(self, world) -> None:
        world.tell(Halt("lunch", flatten=False))
        events = len(world.events)
        assert "halted already, since 2026-11-18" in world.tell(Halt("tea", flatten=False)).text
        assert len(world.events) == events
        assert world.state.standing.halt.reason == "lunch"

    def test_flatten_closes_what_is_open_and_under_way(self) -> None:
        world = w.World(("A", "B", "C"))
        world.open_position("B")
        entry = world.entry("A")
        world.submit(entry)
        answer = world.tell(Halt("", flatten=True))
        assert answer.pairs == ("A", "B")
        assert instructed(world).closing == (("A", "kill_switch"), ("B", "kill_switch"))
        world.report(entry, w.filled(entry.home), w.filled(entry.away))
        opened = world.conclude(entry).position
        assert dict(instructed(world).closing).keys() == {"A", "B"}  # it opened after the order
        world.carry_out(world.exit_of(opened, reason="kill_switch"), done=True)
        assert dict(instructed(world).closing).keys() == {"B"}

    def test_flatten_after_a_halt(self, world) -> None:
        world.open_position()
        world.tell(Halt("", flatten=False))
        assert world.tell(Halt("", flatten=True)).pairs == ("BTC",)
        assert isinstance(world.events[-1], ClosesOrdered)

    def test_a_long_reason_is_cut(self, world) -> None:
        world.tell(Halt("x" * 5000, flatten=False))
        assert len(world.state.standing.halt.reason) == 200


class TestResume:
    def test_entries_again(self, world) -> None:
        world.tell(Halt("lunch", flatten=False))
        assert world.tell(Resume("back")).text.startswith("resumed; it was halted since 2026-11-18")
        assert isinstance(world.events[-1], Resumed)
        assert isinstance(world.submit(world.entry()), Approved)
        assert not instructed(world).halted

    def test_nothing_to_resume(self, world) -> None:
        events = len(world.events)
        assert world.tell(Resume("")) == Done("nothing is halted")
        assert len(world.events) == events

    def test_not_while_the_books_do_not_balance(self, world) -> None:
        world.events += world.core.note_break("upbit KRW: 1 by the fills, 2 by the ledger", world.now_ms)
        world.core.commit()
        answer = world.tell(Resume(""))
        assert isinstance(answer, Denied)
        assert "do not balance" in answer.why
        assert world.submit(world.entry()).reason is Refusal.HALTED

    def test_a_halt_by_hand_hides_no_break(self, world) -> None:
        world.tell(Halt("lunch", flatten=False))
        assert world.core.note_break("x", world.now_ms) == []
        assert isinstance(world.tell(Resume("")), Denied)


def set_apart(world, cause, pair="BTC"):
    return world.ask(SetApart(0, world.epoch, pair, cause, "as it was seen", "s1-0-1-1"))


class TestSetApart:
    def test_it_enters_nothing_and_everything_else_goes_on(self, world) -> None:
        position = world.open_position()
        before = instructed(world)
        assert set_apart(world, "stuck") == Noted("s1-0-1-1")
        refused = world.submit(world.entry("BTC"))
        assert refused.reason is Refusal.PAIR_SET_APART
        assert refused.detail == "BTC is set apart (stuck): as it was seen"
        assert isinstance(world.submit(world.entry("ETH")), Approved)
        assert isinstance(world.submit(world.exit_of(position)), Approved)
        after = instructed(world)
        assert (before.apart, after.apart) == ((), ("BTC",))
        assert after.serial != before.serial
        assert world.ask(world.hello(epoch=2)).apart == ("BTC",)

    @pytest.mark.parametrize("cause", ["exits_fail", "position_loss"])
    @pytest.mark.parametrize("reason", ["take_profit", "stop_loss", "max_hold", "shutdown"])
    def test_some_causes_leave_exits_to_a_person(self, world, cause, reason) -> None:
        position = world.open_position()
        set_apart(world, cause)
        refused = world.submit(world.exit_of(position, reason=reason))
        assert refused.reason is Refusal.PAIR_SET_APART
        assert "is closed only by hand" in refused.detail

    @pytest.mark.parametrize("cause", ["exits_fail", "position_loss"])
    @pytest.mark.parametrize("reason", ["manual", "kill_switch"])
    def test_a_person_closes_it_for_every_cause(self, world, cause, reason) -> None:
        position = world.open_position()
        set_apart(world, cause)
        closed = world.carry_out(world.exit_of(position, reason=reason), done=True)
        assert closed.state == "CLOSED"
        assert world.submit(world.entry("BTC")).reason is Refusal.PAIR_SET_APART  # flat, and still apart

    def test_saying_it_again_changes_nothing(self, world) -> None:
        set_apart(world, "stuck")
        events = len(world.events)
        assert set_apart(world, "stuck") == Noted("s1-0-1-1")
        assert len(world.events) == events

    def test_it_outlives_restarts_of_everything_until_a_person_releases_it(self, world) -> None:
        set_apart(world, "stuck")
        world.stop()
        again = world.restart(run="run-2")
        assert again.ask(again.hello()).apart == ("BTC",)
        assert again.submit(again.entry()).reason is Refusal.PAIR_SET_APART
        answer = again.tell(Resume("looked into", ("KRW-BTC",)))
        assert answer.text.startswith("released; BTC was set apart since 2026-11-18")
        assert answer.text.endswith("as it was seen")
        assert again.events[-1] == PairReleased(at_ms=again.now_ms, pair="BTC", reason="looked into")
        assert instructed(again).apart == ()
        assert isinstance(again.submit(again.entry()), Approved)

    def test_all_that_are_named_are_released_or_none(self, world) -> None:
        set_apart(world, "stuck")
        events = len(world.events)
        assert world.tell(Resume("", ("BTC", "ETH"))) == Denied("ETH is not set apart")
        assert len(world.events) == events
        set_apart(world, "bad_report", "ETH")
        world.tell(Resume("", ("btc", "BTC", "ETHUSDT")))
        assert world.state.standing.apart == {}

    def test_a_pair_that_has_left_the_run_is_released_by_its_name(self, world) -> None:
        set_apart(world, "stuck")
        world.core.set_universe(w.make_universe("ETH"), world.now_ms)
        assert isinstance(world.tell(Resume("", ("BTC",))), Done)

    def test_a_halt_is_another_matter(self, world) -> None:
        set_apart(world, "stuck")
        assert world.tell(Resume("")) == Done("nothing is halted")
        world.tell(Halt("lunch", flatten=False))
        world.tell(Resume("", ("BTC",)))
        assert instructed(world).halted
        assert instructed(world).apart == ()

    def test_a_name_that_is_no_pair_is_refused(self, world) -> None:
        refused = set_apart(world, "stuck", pair="NOPE")
        assert isinstance(refused, Refused)
        assert refused.reason is Refusal.UNKNOWN_PAIR

    def test_a_long_reason_is_cut(self, world) -> None:
        world.ask(SetApart(0, 1, "BTC", "stuck", "x" * 5000, "y" * 5000))
        assert len(world.state.standing.apart["BTC"].reason) == 200

    def test_the_ledger_notices_an_entry_of_a_pair_apart(self, world, tmp_path) -> None:
        world.open_position()
        at = next(n for n, event in enumerate(world.events) if isinstance(event, IntentApproved))
        world.events.insert(at, PairSetApart(at_ms=world.now_ms, pair="BTC", cause="stuck", reason="x"))
        world.stop()
        world.write_ledger(tmp_path / "ledger.sqlite")
        (difference,) = verify(tmp_path / "ledger.sqlite").differences
        assert difference.endswith("was approved though BTC was set apart")


class TestClose:
    @pytest.fixture(autouse=True)
    def opened(self, world):
        self.btc = world.open_position("BTC")
        self.eth = world.open_position("ETH")

    @pytest.mark.parametrize("name", ["BTC", "btc", "KRW-BTC", "BTCUSDT"])
    def test_one_by_any_name(self, world, name) -> None:
        assert world.tell(Close((name,))) == Done("closing BTC", ("BTC",))
        assert instructed(world).closing == (("BTC", "manual"),)

    def test_all(self, world) -> None:
        assert world.tell(Close(())).pairs == ("BTC", "ETH")

    def test_until_it_is_flat_nothing_is_entered(self) -> None:
        world = w.World(config=w.with_limits(symbol_positions_max=2))
        first, second = world.open_position(), world.open_position()
        world.tell(Close(("BTC",)))
        assert world.submit(world.entry()).reason is Refusal.PAIR_CLOSING
        assert isinstance(world.submit(world.entry("ETH")), Approved)
        world.carry_out(world.exit_of(first, reason="manual"), done=True)
        assert instructed(world).closing == (("BTC", "manual"),)
        world.carry_out(world.exit_of(second), done=True)  # by whatever reason
        assert instructed(world).closing == ()
        assert isinstance(world.submit(world.entry()), Approved)

    def test_a_part_that_is_left_is_closed_too(self, world) -> None:
        world.tell(Close(("BTC",)))
        leave = world.exit_of(self.btc, reason="manual")
        world.submit(leave)
        world.report(leave, w.filled(leave.home, leave.home.quantity / 2), w.expired(leave.away))
        assert world.conclude(leave).position.state == "OPEN"
        assert instructed(world).closing == (("BTC", "manual"),)

    def test_it_outlives_a_restart_and_is_in_the_welcome(self, world) -> None:
        world.tell(Close(("BTC",)))
        again = world.restart()
        assert again.ask(again.hello(epoch=2)).closing == (("BTC", "manual"),)

    def test_each_order_is_stored(self, world) -> None:
        """Ordered again, it grants an intent that is stuck its budgets anew."""
        world.tell(Close(("BTC",)))
        serial = instructed(world).serial
        assert world.tell(Close(("BTC",))).pairs == ("BTC",)
        assert instructed(world).serial == serial + 1
        assert instructed(world).closing == (("BTC", "manual"),)

    def test_even_one_leg(self, world) -> None:
        world.tell(Close(("BTC",), one_leg=True))
        assert instructed(world).closing == (("BTC", "one_leg"),)

    def test_nothing_open(self, world) -> None:
        world.carry_out(world.exit_of(self.btc), done=True)
        assert world.tell(Close(("BTC",))) == Done("nothing is open")
        assert world.tell(Close(("BTC", "ETH"))).pairs == ("ETH",)

    def test_a_name_that_is_not_traded(self, world) -> None:
        assert world.tell(Close(("BTC", "XRP"))) == Denied("XRP is not traded in this run")
        assert instructed(world).closing == ()

    def test_positions_of_pairs_that_this_run_does_not_trade(self, world) -> None:
        smaller = w.World(("BTC",), ready=False, now_ms=world.now_ms)
        for event in world.events:
            smaller.state.apply(event)
        answer = smaller.tell(Close(()))
        assert answer == Done("closing BTC; not traded in this run, so left open: ETH", ("BTC",))

    def test_positions_are_shown(self, world) -> None:
        world.tell(Close(("ETH",)))
        assert world.tell(ShowPositions()) == Positions((self.btc, self.eth), (("ETH", "manual"),))


class TestLimits:
    def set(self, world, *changes, symbol=""):
        return world.tell(SetLimits(changes, symbol))

    def test_the_next_intent_feels_it(self, world) -> None:
        answer = self.set(world, ("portfolio_notional_max", "100000"))
        assert answer == Done("portfolio_notional_max = 100,000 (it was 100,000,000)")
        assert world.submit(world.entry()).reason is Refusal.PORTFOLIO_NOTIONAL
        said = self.set(world, ("portfolio_notional_max", "")).text
        assert said == "portfolio_notional_max = 100,000,000, as configured (it was 100,000)"
        assert isinstance(world.submit(world.entry()), Approved)

    @pytest.mark.parametrize(
        ("key", "value", "follows"),
        [
            ("order_notional_max", "5e5", "500,000 (it was 3,000,000): entries are sized down to it"),
            (
                "order_notional_max",
                "4000000",
                "(it was 3,000,000): entries have 1,000,000 at most, by sizing.",
            ),
            (
                "order_notional_max",
                "20000",
                "no entry is made any more, because sizing.entry_notional_min is 20,000",
            ),
            (
                "venue_notional_max",
                "5",
                "no entry is made any more, because sizing.entry_notional_min is 20,000",
            ),
            ("edge_bps_max", "25", "no entry is made any more, because strategy.entry_bps is 30"),
            ("edge_bps_min", "25", "it takes the place of strategy.min_edge_bps, which is 20"),
            ("portfolio_positions_max", "1", "1 of it are used, so entries are refused until it is less"),
        ],
    )
    def test_the_answer_says_what_follows(self, world, key, value, follows) -> None:
        world.open_position()
        said = self.set(world, (key, value)).text
        assert follows in said
        assert said.startswith(f"{key} = ")

    def test_the_answer_of_a_symbol_names_what_held_for_it(self, world) -> None:
        self.set(world, ("order_notional_max", "900000"))
        said = self.set(world, ("order_notional_max", "800000"), symbol="BTC").text
        assert said == "BTC: order_notional_max = 800,000 (it was 900,000): entries are sized down to it"
        said = self.set(world, ("order_notional_max", ""), symbol="BTC").text
        assert said.startswith("BTC: order_notional_max = 900,000, as for all pairs (it was 800,000)")

    def test_of_one_symbol(self, world) -> None:
        assert self.set(world, ("order_notional_max", "100000"), symbol="KRW-BTC").text.startswith("BTC: ")
        assert world.submit(world.entry("BTC")).reason is Refusal.ORDER_NOTIONAL
        assert isinstance(world.submit(world.entry("ETH")), Approved)

    def test_a_symbols_word_stands_above_that_for_all(self, world) -> None:
        self.set(world, ("order_notional_max", "3000000"), symbol="BTC")
        self.set(world, ("order_notional_max", "100000"))
        assert isinstance(world.submit(world.entry("BTC")), Approved)
        assert world.submit(world.entry("ETH")).reason is Refusal.ORDER_NOTIONAL

    def test_it_outlives_a_restart(self, world) -> None:
        self.set(world, ("order_notional_max", "100000"))
        assert world.restart().submit(world.entry()).reason is Refusal.ORDER_NOTIONAL

    @pytest.mark.parametrize(
        ("changes", "symbol", "said"),
        [
            ((), "", "names no limit"),
            ((("nope", "1"),), "", "unknown key 'limits.nope'; known here: symbol_notional_max"),
            ((("nope", ""),), "", "unknown key 'limits.nope'"),
            ((("nope", "1"),), "BTC", "unknown key 'limits.nope'"),
            (
                (("symbol_positions_max", "0"),),
                "",
                "limits.symbol_positions_max: must be a whole number of at least 1",
            ),
            (
                (("daily_loss_max", "much"),),
                "",
                "limits.daily_loss_max: must be a number such as 500000 or 1.5",
            ),
            ((("daily_loss_max", "NaN"),), "", "limits.daily_loss_max: must be a number"),
            ((("daily_loss_max", "-5"),), "", "limits.daily_loss_max: must be a number that is not negative"),
            ((("daily_loss_max", "5"),), "BTC", "limits.daily_loss_max: is not a limit of one symbol"),
            ((("time_zone", "UTC"),), "", "limits.time_zone: is read at the start only"),
            (
                (("order_notional_max", "5"), ("tighten_at", "2")),
                "",
                "limits.tighten_at: must be a number of at most 1",
            ),
        ],
    )
    def test_what_makes_no_sense_changes_nothing(self, world, changes, symbol, said) -> None:
        events = len(world.events)
        answer = self.set(world, *changes, symbol=symbol)
        assert isinstance(answer, Denied)
        assert answer.why.startswith("limits set: ")
        assert said in answer.why
        assert len(world.events) == events

    def test_an_unknown_symbol(self, world) -> None:
        assert self.set(world, ("order_notional_max", "5"), symbol="XRP") == Denied(
            "XRP is not traded in this run"
        )
        assert world.tell(ShowLimits("XRP")) == Denied("XRP is not traded in this run")

    def test_what_is_so_already_is_no_event(self, world) -> None:
        self.set(world, ("order_notional_max", "5"))
        events = len(world.events)
        assert self.set(world, ("order_notional_max", "5")) == Done("nothing changes")
        assert len(world.events) == events

    def test_shown_with_what_was_changed_and_what_is_used(self, world) -> None:
        world.open_position()
        self.set(world, ("portfolio_notional_max", "700000"))
        shown = world.tell(ShowLimits())
        assert isinstance(shown, Limits)
        lines = {line.key: line for line in shown.lines}
        assert set(lines) == set(type(world.config.limits).__struct_fields__)
        line = lines["portfolio_notional_max"]
        assert (line.value, line.configured, line.factor) == ("700000", "100000000", "1")
        assert Decimal(line.used) == world.state.exposure
        assert lines["portfolio_positions_max"].used == "1"
        assert lines["tighten_at"].value == "0.5"
        assert shown.day == "2026-11-18"
        assert shown.halted == ""

    def test_shown_of_one_symbol(self, world) -> None:
        self.set(world, ("symbol_positions_max", "4"), symbol="BTC")
        world.round_trip("BTC")
        lines = {line.key: line for line in world.tell(ShowLimits("BTCUSDT")).lines}
        assert (lines["symbol_positions_max"].value, lines["symbol_positions_max"].configured) == ("4", "1")
        assert Decimal(lines["symbol_daily_loss_max"].used) > 1000
        assert lines["loss_streak_max"].used == "1"
        other = {line.key: line for line in world.tell(ShowLimits("ETH")).lines}
        assert (other["symbol_positions_max"].value, other["loss_streak_max"].used) == ("1", "0")

    def test_a_halt_is_shown(self, world) -> None:
        world.tell(Halt("lunch", flatten=False))
        assert world.tell(ShowLimits()).halted.startswith("operator: lunch; halted: no new entries")


def test_the_ledger_has_it_all_and_verifies(world, tmp_path) -> None:
    world.open_position()
    world.tell(SetLimits((("order_notional_max", "3000000"),)))
    world.tell(Halt("", flatten=True))
    world.carry_out(
        world.exit_of(world.state.get_symbol_positions("BTC")[0], reason="kill_switch"), done=True
    )
    world.tell(Resume(""))
    world.open_position()
    world.stop()
    kinds = {type(event) for event in world.events}
    assert {Halted, Resumed, ClosesOrdered, LimitsChanged} <= kinds
    world.write_ledger(tmp_path / "ledger.sqlite")
    report = verify(tmp_path / "ledger.sqlite")
    assert report.differences == ()
    assert report.kinds["Halted"] == 1


def test_an_entry_while_halted_does_not_verify(world, tmp_path) -> None:
    world.tell(Halt("", flatten=False))
    halted = world.events.pop()
    world.events.insert(1, halted)  # as if it had been ignored
    world.tell(Resume(""))
    resumed = world.events.pop()
    assert isinstance(resumed, Resumed)
    world.open_position()
    world.write_ledger(tmp_path / "ledger.sqlite")
    (difference,) = verify(tmp_path / "ledger.sqlite").differences
    assert difference.endswith("was approved while everything was halted")


def test_the_ledger_says_who_ordered_what(world) -> None:
    world.open_position()
    who = "anna, command line"
    world.tell(SetLimits((("order_notional_max", "3000000"),), by=who))
    world.tell(Halt("lunch", flatten=True, by=who))
    world.tell(Resume("", by="x" * 500))
    world.tell(Close(()))
    ordered = [event for event in world.events if hasattr(event, "by")]
    assert [(type(event), event.by) for event in ordered] == [
        (LimitsChanged, who),
        (Halted, who),
        (ClosesOrdered, who),
        (Resumed, "x" * 80),
        (ClosesOrdered, ""),
    ]
    assert [decode_event(encode_event(event)) for event in ordered] == ordered


def test_an_order_that_was_stored_without_its_author_is_read() -> None:
    assert decode_event('{"type":"Halted","at_ms":1,"cause":"operator","reason":"lunch"}').by == ""
