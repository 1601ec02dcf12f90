"""The end of a run in numbers: sums over shards and venues, and whether it was a clean run."""

import json

import msgspec
import pytest
from msgspec.structs import replace

from arbshard.model.notes import JournalNote
from arbshard.model.risk_note import HaltSpan
from arbshard.status.model import RuleWorth
from arbshard.status.render_summary import render_summary
from arbshard.status.summary import summarise


def test_sums(status):
    summary = summarise(status, alive=None, failure="")
    assert (summary.ticks, summary.conflated) == (940, 980)
    assert (summary.orders, summary.rejected_orders, summary.partial_orders) == (1040, 106, 108)
    assert summary.bad_frames == 162
    assert summary.restarts == 9
    assert summary.data_refusals == {"BOOK_STALE": 102, "LEG_SKEW": 4, "FX_STALE": 62}


def test_what_the_rules_were_worth_is_summed_over_shards(status, row):
    first, *others = status.shards
    worth = {"DAILY_LOSS": RuleWorth(3, 1, -500), "NOT_FUNDED": RuleWorth(1, 1, 20)}
    more = {"DAILY_LOSS": RuleWorth(1, 1, 100)}
    shards = (replace(first, followed=worth), replace(others[0], followed=more), *others[1:])
    summary = summarise(replace(status, shards=shards), alive=None, failure="")
    assert summary.rules == {"DAILY_LOSS": RuleWorth(4, 2, -400), "NOT_FUNDED": RuleWorth(1, 1, 20)}
    assert row(render_summary(summary), "DAILY_LOSS") == ["DAILY_LOSS", "4", "50%", "-400"]


def test_what_is_taken_over(status):
    summary = summarise(status, alive=None, failure="")
    for name in (
        "name", "mode", "data", "portfolio", "symbols", "reasons", "latency_us", "approval_us", "messages",
        "errors", "alerts", "state_dir",
    ):  # fmt: skip
        assert getattr(summary, name) == getattr(status, name)
    assert summary.duration_s == status.uptime_s
    assert (summary.refusals, summary.commit_us) == (status.risk.refusals, status.risk.commit_us)


def test_memory_is_that_of_the_living(status):
    assert summarise(status, alive=None, failure="").memory_mb == 0
    assert summarise(status, alive=replace(status, memory_mb=7.0), failure="").memory_mb == 7.0


class TestOk:
    @pytest.fixture
    def clean(self, status):
        return replace(
            status,
            restarts=0,
            errors=0,
            portfolio=replace(status.portfolio, open=0),
            problems=(),
            differences=(),
            strays=(),
            unknown=(),
            passing=(),
        )

    def test_clean_run(self, clean):
        summary = summarise(clean, alive=clean, failure="")
        assert summary.ok
        assert summary.problems == ()

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"errors": 1}, "1 error was logged"),
            ({"errors": 2}, "2 errors were logged"),
            ({"restarts": 1}, "1 process was restarted"),
            ({"venues": ()}, "nothing was received from any venue"),
        ],
    )
    def test_not_clean(self, clean, changes, problem):
        summary = summarise(replace(clean, **changes), alive=clean, failure="")
        assert not summary.ok
        assert summary.problems == (problem,)

    def test_failure(self, clean):
        summary = summarise(clean, alive=clean, failure="risk is gone")
        assert (summary.ok, summary.problems) == (False, ("the run could not go on: risk is gone",))

    def test_positions_left_open_unless_that_was_wanted(self, clean):
        left = replace(clean, portfolio=replace(clean.portfolio, open=2))
        assert summarise(left, alive=clean, failure="").problems == ("2 positions were left open",)
        assert summarise(left, alive=clean, failure="", keeps_positions=True).ok

    def test_a_venue_from_which_nothing_came(self, clean):
        upbit, binance = clean.venues
        silent = replace(binance, frames=0, last_error="no route")
        summary = summarise(replace(clean, venues=(upbit, silent)), alive=clean, failure="")
        assert summary.problems == ("nothing was received from binance: no route",)

    def test_what_status_finds_wrong_at_the_end(self, clean):
        """By the very lines that make ``arbshard status`` say degraded; what is over by then is not among them."""
        degraded = replace(clean, state="degraded", problems=("binance is down", "shard 1 is quarantined"))
        summary = summarise(clean, alive=degraded, failure="")
        assert (summary.ok, summary.problems) == (False, degraded.problems)
        healed = replace(clean, venues=tuple(replace(venue, reconnects=9) for venue in clean.venues))
        assert summarise(healed, alive=healed, failure="").ok

    def test_what_the_end_itself_has_settled_makes_no_run_unclean(self, clean):
        """One leg was open for an instant when the end began, as happens where venues lose sight of orders."""
        naked = "392,251 are bought or sold on one venue alone (ETC)"
        alive = replace(clean, state="degraded", problems=("binance is down", naked), passing=(naked,))
        assert summarise(clean, alive=alive, failure="").problems == ("binance is down",)
        assert summarise(replace(clean, passing=(naked,)), alive=alive, failure="").problems == (
            "binance is down",
            naked,
        )


def test_goes_into_a_file_as_json(status):
    summary = summarise(status, alive=None, failure="why")
    decoded = json.loads(msgspec.json.encode(summary))
    assert decoded["portfolio"]["pnl"] == "-106106.4"
    assert decoded["latency_us"]["p999"] == 1504
    assert decoded["failure"] == "why"
    assert decoded["problems"][0] == "the run could not go on: why"


class TestHalts:
    OVER = HaltSpan(1_795_000_000_000, "operator", "lunch", "reduce_only", until_ms=1_795_000_060_000,
                    resumed_by="ann", resumed_why="back")  # fmt: skip

    def test_one_that_is_over_is_a_reason_for_exit_code_1(self, status):
        summary = summarise(replace(status, halts=(self.OVER,)), alive=None, failure="")
        assert not summary.ok
        said = "entries were halted from 2026-11-18 11:06:40 UTC to 2026-11-18 11:07:40 UTC (operator): lunch"
        said += "; resumed by ann: back"
        assert said in summary.problems
        assert summary.halts == (self.OVER,)

    def test_what_was_decided_is_shown_the_newest_last(self, status, drawn):
        journal = tuple(JournalNote(1_795_000_000_000 + n, "limits", f"decision {n}") for n in range(15))
        summary = summarise(replace(status, journal=journal), alive=None, failure="")
        assert summary.journal == journal
        text = drawn(render_summary(summary))
        assert "3 earlier ones are in the log and in --summary" in text
        assert "decision 2" not in text
        assert text.index("decision 3") < text.index("decision 14")
