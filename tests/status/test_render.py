"""Tables for a terminal: every number in its place."""

import pytest
from msgspec.structs import replace

from arbshard.model.risk_note import PositionNote
from arbshard.status.model import LedgerStatus, SeriesStatus
from arbshard.status.render import render_status
from arbshard.status.render_summary import render_summary
from arbshard.status.summary import summarise


class TestStatus:
    def test_headline(self, status, drawn):
        line = drawn(render_status(status)).splitlines()[0]
        for part in (
            "desk", "degraded", "SIMULATED exchanges", "paper orders", "1234 s", "190 MB",
            "1,700,000 messages", "18 errors",
        ):  # fmt: skip
            assert part in line

    def test_public_feeds_are_not_called_simulated(self, status, drawn):
        text = drawn(render_status(replace(status, data="public")))
        assert "public feeds" in text
        assert "SIMULATED" not in text

    def test_a_run_that_only_records_shows_its_feeds_and_no_trading(self, status, drawn):
        text = drawn(render_status(replace(status, order_mode="recording")))
        assert "records only, no orders" in text.splitlines()[0]
        assert "Venues" in text
        assert "Portfolio" not in text
        assert "Shards" not in text
        assert all(f"! {line}" in text for line in status.problems)

    def test_weather_and_what_it_means(self, status, drawn):
        calm = replace(status, problems=(), alerts=())
        line = drawn(render_status(calm)).splitlines()[1]
        assert line.startswith(
            "mixed: every gap closes within seconds, so nearly every trade wins; this shows the"
        )
        assert "mixed" not in drawn(render_status(replace(status, data="public", regime="")))

    def test_portfolio(self, status, row):
        drawing = render_status(status)
        assert row(drawing, "this run") == [
            "this", "run", "101", "102", "103", "49.8%", "-106,106", "KRW", "+6,007", "107,108", "-5,006",
            "109,110",
        ]  # fmt: skip
        assert row(drawing, "ledger") == [
            "ledger",
            "111",
            "112",
            "113",
            "-",
            "+116,116",
            "KRW",
            "+233,233",
            "117,117",
            "0",
            "0",
        ]

    def test_equity(self, status, drawn):
        lines = drawn(render_status(status)).splitlines()
        (at,) = [number for number, line in enumerate(lines) if line.startswith("Equity")]
        assert lines[at].rstrip() == (
            "Equity -201,201 KRW: realised +202,202, unrealised -203,203; 205,205 below the high-water mark of "
            "204,204; today -206,206, this week +207,207"
        )
        assert lines[at + 1].startswith(
            "Naked exposure 208,208; account value 987,654,321 at the bids of now"
        )
        text = " ".join(" ".join(lines[at:]).split())
        assert (
            "Account value at the start 980,000,001; since then trading +1,100,001, inventory prices +7,654,320, "
            "FX -3,300,003, moved in or out +2,200,002"
        ) in text

    def test_equity_names_what_has_no_price_and_what_has_no_book(self, status, drawn):
        text = drawn(render_status(status))
        assert "without XYZ (no price)" in text
        assert "Not valued" not in text
        equity = replace(status.equity, unpriced=(), unvalued=("s1-0-1-9",))
        text = drawn(render_status(replace(status, equity=equity)))
        assert "no price" not in text
        assert "Not valued, because no book has come yet: s1-0-1-9" in text

    def test_shards(self, status, row):
        drawing = render_status(status)
        assert row(drawing, "0 ") == [
            "0", "running", "30001", "31", "2", "33", "3,434", "3,501", "3,503", "3,601", "BOOK_STALE", "41",
        ]  # fmt: skip
        assert row(drawing, "1 ") == [
            "1", "quarantined", "-", "51", "3", "53", "0", "0", "0", "0", "FX_STALE", "62",
        ]  # fmt: skip

    def test_venues(self, status, row):
        drawing = render_status(status)
        assert row(drawing, "upbit") == [
            "upbit", "(simulated)", "connected", "ws", "x2,", "touch", "71", "of", "70", "72", "7,373", "7,778", "ms",
            "7,474", "ms", "33", "ms", "75", "78", "79", "76",
        ]  # fmt: skip
        assert row(drawing, "binance ")[:9] == [
            "binance",
            "down",
            "ws",
            "81",
            "82",
            "8,383",
            "8,787",
            "ms",
            "-",
        ]

    def test_a_venue_whose_frames_come_late_has_its_limit_beside_its_lag(self, status, row, drawn):
        upbit = replace(status.venues[0], lag_ms=9_495)
        text = drawn(render_status(replace(status, venues=(upbit,))))
        assert "9,495 of 9,494 ms" in text

    def test_nothing_lost_today_is_no_negative_zero(self, status, drawn):
        equity = replace(status.equity, day_loss="0", week_loss="0")
        assert "today +0, this week +0" in drawn(render_status(replace(status, equity=equity)))

    def test_rest_is_well_only_where_it_was_asked_for(self, status):
        fallen_back = replace(status.venues[0], state="rest", source="rest")
        assert not fallen_back.is_well
        assert replace(fallen_back, wanted=0).is_well

    def test_risk(self, status, drawn):
        (line,) = [line for line in drawn(render_status(status)).splitlines() if line.startswith("Risk ")]
        for part in (
            "running",
            "30009",
            "session 95",
            "91 approved",
            "DAILY_LOSS 93, BALANCE 92",
            "9,401 µs",
        ):
            assert part in line

    def test_series_are_shown_with_what_they_lack(self, status, drawn):
        assert "Series" not in drawn(render_status(status))
        kept = SeriesStatus("running", 30_010, 0, samples=4_321, missed=0, lost_rows=0, kept_mb=12.3)
        line = "Series running  4,321 samples  12.3 MB kept\n"
        assert line in drawn(render_status(replace(status, series=kept)))
        worse = replace(kept, restarts=2, missed=5, lost_rows=6_000, trouble="no room")
        line = "Series running  4,321 samples, 5 missed, 6,000 rows lost, 2 restarts  12.3 MB kept  no room"
        assert line in drawn(render_status(replace(status, series=worse)))

    def test_symbols_busiest_first(self, status, row, drawn):
        drawing = render_status(status)
        assert row(drawing, "BTC") == ["BTC", "121", "122", "123", "12.6%", "+127,127", "128", "0"]
        assert row(drawing, "ETH") == ["ETH", "131", "132", "133", "13.6%", "-137,137", "138", "0"]
        assert row(drawing, "SOL") == ["SOL", "0", "0", "0", "-", "0", "0", "0"]
        text = drawn(drawing)
        assert text.index("ETH") < text.index("BTC") < text.index("SOL")

    def test_only_as_many_symbols_as_there_is_room_for(self, status, drawn):
        text = drawn(render_status(status, symbols_shown=1))
        assert "the 1 busiest of 3" in text
        assert "ETH" in text
        assert "BTC" not in text

    def test_problems_and_alerts(self, status, drawn):
        text = drawn(render_status(status))
        for line in ("! shard 1 is quarantined", "! binance is down", "12:00:00 UTC worker-1 given up"):
            assert line in text

    def test_the_halt_problems_and_alerts_come_before_every_table(self, status, drawn):
        halted = "halted (operator): lunch; exits go on; 'arbshard resume' ends it"
        closing = "BTC is being closed (stop_loss)"
        drawing = render_status(
            replace(
                status,
                problems=(closing, *status.problems, halted),
                passing=(closing,),
                halted=halted,
                alerts=("12:00:00 older", "12:00:01 newest"),
            )
        )
        lines = [line.rstrip() for line in drawn(drawing).splitlines()]
        assert "HALTED" in lines[0]
        assert lines[1:7] == [
            f"! {halted}", "! shard 1 is quarantined", "! binance is down", f"! {closing}", "  12:00:01 UTC newest",
            "  12:00:00 UTC older",
        ]  # fmt: skip

    def test_a_run_that_is_not_halted_does_not_say_so(self, status, drawn):
        assert "HALTED" not in drawn(render_status(status))

    def test_what_children_say_is_shown_as_it_is(self, status, drawn):
        """Brackets in an error text are no markup."""
        said = "worker-0: [red]KeyError[/] [/nothing"
        assert said in drawn(render_status(replace(status, alerts=(said,), problems=(said,))))

    def test_before_anything_has_happened(self, status, drawn):
        empty = replace(status, shards=(), venues=(), symbols={}, problems=(), alerts=())
        assert "desk" in drawn(render_status(empty))


@pytest.mark.parametrize(
    ("state", "code"),
    [("running", 0), ("degraded", 1), ("starting", 1), ("draining", 1), ("ended", 2), ("dead", 2)],
)
def test_exit_code(status, state, code):
    assert replace(status, state=state).exit_code == code


class TestSummary:
    def test_every_number(self, status, drawn):
        text = drawn(render_summary(summarise(status, alive=status, failure="")))
        for part in (
            "arbshard 'desk': 1234 s on SIMULATED exchanges, paper orders",
            "101 entries, 102 exits, 103 open; 104 won, 105 lost, win rate 49.8%",
            "-106,106 KRW realised: trade +6,007, fees -107,108, FX -5,006",
            "1,451.50; 21 coins imply 1,449.25 (-16 bps, usually -3); open positions owe 12,346 USDT (17,919,000)",
            "max_hold 142, take_profit 141",
            "1040, 108 partly filled, 106 rejected",
            "DAILY_LOSS 93, BALANCE 92",
            "BOOK_STALE 102, FX_STALE 62, LEG_SKEW 4",
            "p50 1,501  p90 1,502  p99 1,503  p99.9 1,504  max 1,505 µs  (1,506)",
            "p50 1,601  p90 1,602  p99 1,603  p99.9 1,604  max 1,605 µs  (1,606)",
            "p50 9,401  p90 9,402  p99 9,403  p99.9 9,404  max 9,405 µs  (9,406)",
            "1,700,000 received, 940 evaluated, 980 superseded unread, 162 bad",
            "18 logged, 9 restarts",
            "/state/desk",
            "12:00:00 UTC worker-1 given up",
            "BTC", "ETH", "SOL",
        ):  # fmt: skip
            assert part in text, part
        assert text.count("Not a clean run: shard 1 is quarantined; binance is down; 18 errors") == 1

    def test_failure_is_said(self, status, drawn):
        text = drawn(render_summary(summarise(status, alive=None, failure="risk is gone")))
        assert "Not a clean run: the run could not go on: risk is gone; " in text

    def test_a_halt_that_was_not_shown_before_the_end_began_counts(self, status):
        halted = "halted (operator): a look at it; 'arbshard resume' ends it"
        calm = replace(status, problems=())
        before = summarise(calm, alive=calm, failure="")
        after = summarise(replace(calm, halted=halted), alive=calm, failure="")
        assert halted not in before.problems
        assert after.problems.count(halted) == 1
        assert not after.ok
        shown = replace(calm, problems=(halted,), halted=halted)
        assert summarise(shown, alive=shown, failure="").problems.count(halted) == 1
        assert halted not in summarise(calm, alive=shown, failure="").problems  # it was resumed since

    def test_nothing_is_none(self, status, drawn):
        bare = summarise(replace(status, reasons={}), alive=None, failure="")
        text = drawn(render_summary(replace(bare, refusals={}, data_refusals={})))
        assert text.count("none") == 3


LEDGER = LedgerStatus(
    path="/state/desk/ledger.sqlite", tag="abcde", last_seq=123_456, begun="2026-11-18T08:26:40+00:00",
    is_new=False, is_there=True, is_closed=True, disk_free_mb=151_515, reserve_kept=True,
)  # fmt: skip
HELD = PositionNote("s1-0-1-4", "BTC", "buy_home", "0.5", "1", "1", "999888", 1, 0, None, None)


class TestLedger:
    def test_in_status(self, status, drawn):
        text = drawn(render_status(replace(status, ledger=LEDGER)))
        assert "Ledger /state/desk/ledger.sqlite  event 123,456  151,515 MB free" in text
        assert "new ledger" not in text

    def test_a_new_one_says_so(self, status, drawn):
        text = drawn(render_status(replace(status, ledger=replace(LEDGER, is_new=True))))
        assert "Ledger new ledger, begun 2026-11-18T08:26:40+00:00" in text

    def test_one_that_is_not_there_says_so(self, status, drawn):
        text = drawn(
            render_status(replace(status, ledger=replace(LEDGER, is_there=False, reserve_kept=False)))
        )
        assert "IS NOT THERE" in text
        assert "no reserve" in text

    @pytest.mark.parametrize(
        ("ledger", "said"),
        [
            (LEDGER, "/state/desk/ledger.sqlite, 123,456 events"),
            (replace(LEDGER, is_closed=False), "NOT closed in order; the last event written was 123,456"),
            (
                replace(LEDGER, is_there=False),
                "NOT THERE any more: /state/desk/ledger.sqlite; the last event",
            ),
            (None, "was not opened"),
        ],
    )
    def test_at_the_end(self, status, drawn, ledger, said):
        text = drawn(render_summary(summarise(replace(status, ledger=ledger), alive=None, failure="")))
        assert said in text
        assert "/state/desk/logs" in text
        assert "ledger and logs" not in text


class TestAsOf:
    def test_in_status(self, status, drawn):
        assert "as of" not in drawn(render_status(status))
        text = drawn(render_status(replace(status, as_of="12:01")))
        assert "Portfolio as of 12:01: risk says nothing newer" in text

    def test_at_the_end(self, status, drawn):
        last = replace(status, as_of="12:01", positions=(HELD,))
        summary = summarise(last, alive=None, failure="")
        assert not summary.ok
        text = drawn(render_summary(summary))
        assert "103 open; 104 won, 105 lost, win rate 49.8%; as of 12:01, when risk last reported" in text
        assert "Still open, as of 12:01" in text
        assert "s1-0-1-4" in text
        assert "999,888" in text
