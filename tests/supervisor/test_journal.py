"""Halts, what was decided, and trades: what a run logs and keeps of the notes of risk."""

import msgspec
import pytest
from structlog.testing import capture_logs

from arbshard.model.risk_note import NO_NOTE, ApartNote, HaltSpan, PositionNote, TightNote
from supervisor.journal import RunJournal

STARTED_MS = 1_000_000


def position(number, opened_ms=STARTED_MS + 1, direction="buy_home", **changes):
    return PositionNote(
        f"s1-0-1-{number}", "BTC", direction, "0.5", "1400000", "1000.5", "700000", opened_ms,
        **({"closed_ms": 0, "reason": None, "pnl": None} | changes),
    )  # fmt: skip


def closed(number, closed_ms=STARTED_MS + 2001, **changes):
    given = {"closed_ms": closed_ms, "reason": "take_profit", "pnl": "1400"}
    return position(number, **(given | changes))


class Followed:
    def __init__(self, logs_trades=True):
        self.journal = RunJournal(STARTED_MS, ("home", "away"), logs_trades=logs_trades)

    def show(self, at_ms=STARTED_MS + 5000, **note):
        """What is logged because of a note with these fields."""
        with capture_logs() as logged:
            self.journal.follow(msgspec.json.encode(msgspec.structs.replace(NO_NOTE, at_ms=at_ms, **note)))
        return logged


@pytest.fixture
def run():
    return Followed()


class TestHalts:
    HALT = HaltSpan(STARTED_MS + 10, "errors", "30 orders of unknown fate", "reduce_only")
    ENDED = msgspec.structs.replace(
        HALT, until_ms=STARTED_MS + 900, resumed_by="ann (command line)", resumed_why="all are known"
    )

    def test_a_halt_its_cause_and_its_end(self, run):
        run.show()
        (line,) = run.show(halts=(self.HALT,))
        assert (line["event"], line["log_level"]) == ("halted", "warning")
        assert line["what"] == "halted (errors): 30 orders of unknown fate; no entries, exits go on"
        assert run.journal.halts == (self.HALT,)
        assert run.show(halts=(self.HALT,)) == []
        (line,) = run.show(at_ms=STARTED_MS + 990, halts=(self.ENDED,))
        assert line["event"] == "resumed"
        assert line["what"] == "resumed by ann (command line): all are known; entries are allowed again"
        assert run.journal.halts == (self.ENDED,)
        assert [(one.at_ms, one.kind) for one in run.journal.decisions] == [
            (STARTED_MS + 10, "halted"), (STARTED_MS + 900, "resumed"),
        ]  # fmt: skip
        assert run.show(at_ms=STARTED_MS + 991, halts=(self.ENDED,)) == []

    def test_a_halt_that_began_and_ended_between_two_notes(self, run):
        run.show()
        lines = run.show(halts=(self.ENDED,))
        assert [line["event"] for line in lines] == ["halted", "resumed"]
        assert run.journal.halts == (self.ENDED,)

    def test_a_run_that_starts_halted_says_so(self, run):
        (line,) = run.show(halts=(HaltSpan(STARTED_MS - 5, "operator", "", "reduce_only", by="ann"),))
        assert line["what"].startswith(
            "halted before this start by ann (operator): no reason given; no entries"
        )
        assert run.journal.halts[0].since_ms == STARTED_MS - 5

    def test_a_halt_that_was_over_before_this_start_is_no_news(self, run):
        over = HaltSpan(STARTED_MS - 90, "errors", "old", "reduce_only", until_ms=STARTED_MS - 10)
        raised = msgspec.structs.replace(over, since_ms=STARTED_MS - 95, is_raised=True)
        lasting = HaltSpan(STARTED_MS - 5, "operator", "", "reduce_only")
        (line,) = run.show(halts=(raised, over, lasting))
        assert line["what"].startswith("halted before this start")
        assert run.show(at_ms=STARTED_MS + 5001, halts=(raised, over, lasting)) == []

    def test_a_halt_from_before_this_start_that_has_ended_since(self, run):
        ended = HaltSpan(STARTED_MS - 5, "operator", "", "reduce_only", until_ms=STARTED_MS + 5)
        lines = run.show(halts=(ended,))
        assert [line["event"] for line in lines] == ["halted", "resumed"]
        assert lines[0]["what"].startswith("halted before this start")

    def test_a_raised_level_is_another_halt_and_no_resumption(self, run):
        run.show(halts=(self.HALT,))
        raised = HaltSpan(STARTED_MS + 50, "operator", "worse", "stopped")
        first = msgspec.structs.replace(self.HALT, until_ms=STARTED_MS + 50, is_raised=True)
        (line,) = run.show(at_ms=STARTED_MS + 60, halts=(first, raised))
        assert line["what"].endswith("exits are stopped too")
        assert run.journal.halts == (first, raised)


def test_what_was_decided(run):
    run.show()
    decided = {
        "limits_changed": {"order_notional_max": "500000"},
        "tightened": {"": TightNote("0.5", "the drawdown is 60 % of its limit", 1)},
        "apart": {"ETH": ApartNote(1, "stuck", "no way out")},
        "closing": {"BTC": "manual"},
    }
    lines = run.show(**decided)
    assert [line["what"] for line in lines] == [
        "limit order_notional_max is 500000, by hand",
        "limits of all pairs are tightened to 0.5: the drawdown is 60 % of its limit",
        "ETH is set apart (stuck): no way out",
        "BTC is being closed (manual)",
    ]
    assert run.show(**decided, at_ms=STARTED_MS + 6000) == []
    assert [line["what"] for line in run.show()] == [
        "limit order_notional_max is as configured again",
        "limits of all pairs are no longer tightened",
        "ETH is released",
    ]


def test_what_was_decided_before_the_start_says_so(run):
    (line,) = run.show(limits_changed={"BTC order_notional_max": "5"})
    assert line["what"] == "limit BTC order_notional_max is 5 since before this start, by hand"


class TestTrades:
    def test_one_line_for_each_entry_and_each_exit(self, run):
        run.show()
        (line,) = run.show(positions=(position(1),))
        assert line == {
            "event": "entry", "log_level": "info", "pair": "BTC", "how": "buy on home, sell on away",
            "quantity": "0.5", "home_price": "1400000", "away_price": "1000.5", "notional": "700,000",
            "position": "s1-0-1-1",
        }  # fmt: skip
        assert run.show(at_ms=1, positions=(position(1),)) == []
        (line,) = run.show(closed=(closed(1),))
        assert line == {
            "event": "exit", "log_level": "info", "pair": "BTC", "reason": "take_profit", "pnl": "+1,400",
            "bps": 20.0, "held_s": 2.0, "position": "s1-0-1-1",
        }  # fmt: skip
        assert run.show(at_ms=2, closed=(closed(1),)) == []

    def test_one_that_was_opened_and_closed_between_two_notes_has_both_lines(self, run):
        run.show()
        lines = run.show(closed=(closed(2, direction="buy_away"),))
        assert [line["event"] for line in lines] == ["entry", "exit"]
        assert lines[0]["how"] == "buy on away, sell on home"

    def test_what_is_from_before_the_start_was_taken_over(self, run):
        old = position(1, opened_ms=STARTED_MS - 9)
        (line,) = run.show(positions=(old,), closed=(closed(0, closed_ms=STARTED_MS - 1),))
        assert (line["event"], line["positions"]) == ("positions taken over", ["BTC s1-0-1-1"])
        (line,) = run.show(closed=(closed(1, opened_ms=STARTED_MS - 9), closed(0, closed_ms=STARTED_MS - 1)))
        assert (line["event"], line["position"]) == ("exit", "s1-0-1-1")

    def test_can_be_switched_off(self):
        run = Followed(logs_trades=False)
        run.show()
        assert run.show(positions=(position(1),), closed=(closed(2),)) == []
        assert [line["event"] for line in run.show(halts=(TestHalts.HALT,))] == ["halted"]


def test_an_empty_note_changes_nothing(run):
    run.journal.follow(b"")
    assert (run.journal.halts, run.journal.decisions) == ((), ())
