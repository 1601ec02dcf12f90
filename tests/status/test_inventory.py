"""Proposals of what to move, over figures; and the lines of status."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.model.risk_note import NO_NOTE, OverdueNote, RunsOutNote
from arbshard.status.inventory import line_of_status, problems_of_transfers, propose, with_refusals
from arbshard.status.render import render_status
from arbshard.wire.inventory import Ends, Inventory, InventoryLine

DAY_MS = 86_400_000
NOW_MS = 1_795_910_400_000  # 2026-11-29 00:00 UTC
D = Decimal
PRICES = {"KRW": D(1), "USDT": D(1400), "BTC": D(140_000_000)}


def line(venue: str, currency: str, free: str, per_day: str = "0", **changes) -> InventoryLine:
    amount, rate = D(free), D(per_day)
    runs_out_ms = NOW_MS + int(amount / -rate * DAY_MS) if rate < 0 else 0
    made = InventoryLine(
        venue, currency, amount, amount, D(0), D(0), rate, runs_out_ms, amount * PRICES[currency]
    )
    return replace(made, **changes)


def inventory(*lines: InventoryLine, **changes) -> Inventory:
    ends = Ends("upbit", "binance", "USDT", "KRW")
    return replace(Inventory(NOW_MS, 24.0, ends, D(500_000), 7.0, lines, ()), **changes)


def test_nothing_is_proposed_where_nothing_runs_out() -> None:
    lines = (line("upbit", "KRW", "100000000", "1121779"), line("binance", "USDT", "70000", "-774"))
    assert propose(inventory(*lines)) == ()


def test_money_that_runs_out_is_bought_where_krw_has_piled_up() -> None:
    """Thirty pairs that drift as the one of the docs: 70,000 USDT last three days."""
    lines = (line("upbit", "KRW", "100000000", "33653370"), line("binance", "USDT", "70000", "-23228.7"))
    (proposal,) = propose(inventory(*lines))
    assert proposal == (
        "Buy 71,000 USDT on upbit for about 99,000,000 KRW and move them to binance: it runs out on 2026-12-02 "
        "at the present rate."
    )


def test_money_that_is_there_is_moved_and_not_bought() -> None:
    lines = (
        line("upbit", "KRW", "100000000"),
        line("upbit", "USDT", "25000"),
        line("binance", "USDT", "1000", "-3000"),
    )
    assert propose(inventory(*lines)) == (
        "Move 20,000 USDT to binance: it runs out on 2026-11-29 at the present rate.",
    )


def test_krw_that_runs_out_comes_from_the_away_venues_money() -> None:
    lines = (line("upbit", "KRW", "2000000", "-1000000"), line("binance", "USDT", "70000", "774"))
    assert propose(inventory(*lines)) == (
        "Move 3,500 USDT to upbit and sell them there: KRW runs out on 2026-12-01 at the present rate.",
    )


def test_coins_that_entries_lack_are_shared_by_both_venues() -> None:
    lines = (line("upbit", "BTC", "3"), line("binance", "BTC", "0.1"))
    shown = with_refusals(inventory(*lines), {"binance BTC": 31, "binance ETH": 4})
    assert [one.refused for one in shown.lines] == [0, 31]
    assert propose(shown) == ("Move 1.4 BTC to binance: 31 entries were not made for want of it.",)


def test_the_other_venue_keeps_what_it_uses_itself() -> None:
    lines = (line("upbit", "BTC", "1", "-0.1"), line("binance", "BTC", "0", "-0.1"))
    assert propose(inventory(*lines)) == ("Move 0.3 BTC to binance: nothing of it is free.",)


@pytest.mark.parametrize(
    "lines",
    [
        (line("upbit", "BTC", "0.003", "-1"), line("binance", "BTC", "0.003")),  # worth less than the least
        (line("upbit", "BTC", "0.1", "-1"), line("binance", "BTC", "0")),  # nothing is there to be moved
        (line("binance", "USDT", "0", "-1000"), line("upbit", "KRW", "0", "0")),
        (line("binance", "BTC", "0", "-1", worth=None), line("upbit", "BTC", "9", worth=None)),  # no price
        (line("binance", "KRW", "0", "-1"), line("upbit", "KRW", "9e9")),  # which cannot go there
    ],
)
def test_what_makes_no_sense_is_not_proposed(lines) -> None:
    assert propose(inventory(*lines)) == ()


def test_the_line_of_status_names_what_runs_out_first_and_what_is_missing_most() -> None:
    note = replace(NO_NOTE, runs_out=(RunsOutNote("binance", "USDT", NOW_MS + 5 * 3_600_000),))
    missing = {"upbit BTC": 2, "upbit KRW": 31, "binance ETH": 1, "binance XRP": 1}
    assert line_of_status(note, missing, NOW_MS) == (
        "USDT on binance runs out in 5 h; 31 entries were not made for want of upbit KRW; 2 entries were not made "
        "for want of upbit BTC; 1 entries were not made for want of binance ETH; and 1 more: 'arbshard inventory' "
        "shows what to move"
    )
    assert line_of_status(NO_NOTE, {}, NOW_MS) == ""


def test_a_transfer_that_should_have_ended_is_a_problem() -> None:
    one = OverdueNote("t3", "t3, BTC from upbit to binance", "1.5", 26.0)
    (problem,) = (one.text for one in problems_of_transfers(replace(NO_NOTE, overdue=(one,))))
    assert "announced 26 h ago: 1.5 has not arrived" in problem
    assert "arbshard transfer lost t3" in problem


def test_status_shows_what_no_position_brought(status, drawn) -> None:
    assert "Under way" not in drawn(render_status(status))
    lifetime = replace(status.lifetime, beside="-100500")
    text = drawn(render_status(replace(status, lifetime=lifetime, under_way_worth="7000", inventory="X")))
    assert "-100,500 KRW are fees and losses of transfers" in text
    assert "Under way between venues: 7,000 KRW" in text
    assert "Inventory: X" in text
