"""The end of a run in numbers: sums over shards and venues, and whether it was a clean run."""

import json

import msgspec
import pytest
from msgspec.structs import replace

from arbshard.status.summary import summarise


def test_sums(status):
    summary = summarise(status, alive=None, failure="")
    assert (summary.ticks, summary.conflated) == (940, 980)
    assert (summary.orders, summary.rejected_orders, summary.partial_orders) == (1040, 106, 108)
    assert summary.bad_frames == 162
    assert summary.restarts == 9
    assert summary.data_refusals == {"BOOK_STALE": 102, "LEG_SKEW": 4, "FX_STALE": 62}


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
        return replace(status, restarts=0, errors=0)

    def test_clean_run(self, clean):
        assert summarise(clean, alive=None, failure="").ok

    def test_any_failure_error_or_restart_is_not(self, clean):
        assert not summarise(clean, alive=None, failure="gone").ok
        assert not summarise(replace(clean, errors=1), alive=None, failure="").ok
        assert not summarise(replace(clean, restarts=1), alive=None, failure="").ok


def test_goes_into_a_file_as_json(status):
    summary = summarise(status, alive=None, failure="why")
    decoded = json.loads(msgspec.json.encode(summary))
    assert decoded["portfolio"]["pnl"] == "-106106.4"
    assert decoded["latency_us"]["p999"] == 1504
    assert decoded["failure"] == "why"
