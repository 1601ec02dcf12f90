"""Each way to fail the verdict, over facts that are written down."""

from decimal import Decimal

import msgspec
import pytest

from arbshard.campaign.facts import TradingFacts
from arbshard.campaign.file import VerdictConfig
from arbshard.campaign.verdict import CampaignFacts, could_not_run, judge
from arbshard.model.verdict import Anomaly

GOOD = TradingFacts(
    entries=100,
    exits=100,
    wins=90,
    losses=10,
    pnl=Decimal(200_000),
    fees=Decimal(300_000),
    turnover=Decimal(100_000_000),
    decided=Decimal(400_000),
    arrived=Decimal(390_000),
    promised=Decimal(210_000),
    kept=Decimal(200_000),
    measured=100,
    same=40,
)
RULES = VerdictConfig()


def verdict(rules=RULES, *, course=None, **changes):
    ledger = msgspec.structs.replace(GOOD, **changes)
    usual = {"ledger": ledger, "wanted_s": 180.0, "ran_s": 182.0, "watched_s": 179.0}
    return judge(CampaignFacts(**{**usual, **(course or {})}), rules)


def failed(*arguments, **changes):
    found = verdict(*arguments, **changes)
    names = {check.name for check in found.checks if not check.passed}
    assert (found.outcome, found.exit_code) == (("failed", 1) if names else ("passed", 0))
    return names


def test_a_sound_campaign_passes_with_one_line():
    found = verdict()
    assert (found.outcome, found.exit_code) == ("passed", 0)
    assert found.reasons == ("100 entries, 100 exits, 90.0 % won, PnL 200,000; all 14 checks hold",)


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"entries": 0, "exits": 0, "wins": 0, "losses": 0, "measured": 0, "same": 0}, "trades"),
        ({"wins": 100, "losses": 0}, "losses"),
        ({"open_count": 1, "open": ("s1-0-1-1",)}, "exits"),
        ({"exits": 0, "wins": 0, "losses": 0}, "exits"),
        ({"arrived": Decimal(500_000)}, "edges"),
        ({"kept": Decimal(500_000), "pnl": Decimal(500_000)}, "edges"),
        ({"same": 81}, "arrival"),
        ({"not_finite": ("the fee of x is NaN",)}, "finite"),
        ({"differences": ("event 3: no",)}, "ledger_verified"),
        ({"unreadable": "not a ledger"}, "ledger_readable"),
    ],
)
def test_each_way_to_fail_by_the_ledger(changes, check):
    assert failed(**changes) == {check}
    assert verdict(**changes).exit_code == 1


@pytest.mark.parametrize(
    ("course", "check"),
    [
        ({"ran_s": 161.0}, "time"),
        ({"watched_s": 132.0}, "watched"),
        ({"stopped": ("restart: one",)}, "attempts"),
        ({"run_problems": ("1 error was logged",)}, "end"),
        ({"violations": ("naked: too long",)}, "invariants"),
    ],
)
def test_each_way_to_fail_by_its_course(course, check):
    assert failed(course=course) == {check}


def test_thirty_wins_in_a_row_are_believed_and_one_more_is_not():
    few = {"entries": 30, "measured": 30, "same": 3, "losses": 0}
    assert failed(**few, exits=30, wins=30) == set()
    assert failed(**few, exits=31, wins=31) == {"losses"}


REFUSED = {"REVERTS_TOO_SLOWLY": 1200, "BASELINE_UNKNOWN": 30, "BOOK_STALE": 9000, "SYMBOL_TRADES": 0}


def test_without_trades_it_says_what_kept_it_from_trading():
    none = {"entries": 0, "exits": 0, "wins": 0, "losses": 0, "measured": 0, "same": 0}
    (why,) = verdict(**none, course={"refused": REFUSED}).reasons
    assert why.startswith("0 positions were opened, 1 are wanted; evaluations with an edge were refused by ")
    assert why.endswith(" REVERTS_TOO_SLOWLY 1,200, BASELINE_UNKNOWN 30")
    (why,) = verdict(**none, course={"refused": {"BOOK_STALE": 9000}}).reasons
    assert why.endswith("; no rule refused an edge, so there was none to enter on")


def test_a_pass_says_which_rules_refused_most():
    refused = {**REFUSED, "DRAWDOWN": 5, "SPREAD_USUAL": 20, "VENUE_NOTIONAL": 10}
    (_, most) = verdict(course={"refused": refused}).reasons
    assert most.endswith(" REVERTS_TOO_SLOWLY 1,200, BASELINE_UNKNOWN 30, SPREAD_USUAL 20, VENUE_NOTIONAL 10")


def test_worse_fills_of_entries_do_not_make_good_better_exits():
    assert failed(arrived=Decimal(0), kept=Decimal(600_000)) == {"edges"}


def test_a_single_trade_may_have_luck():
    one = {"entries": 1, "exits": 1, "wins": 1, "losses": 0, "measured": 1, "turnover": Decimal(1_000_000)}
    one |= {"decided": Decimal(4000), "promised": Decimal(2000), "kept": Decimal(1900), "same": 0}
    assert failed(**one, arrived=Decimal(5000)) == set()
    assert failed(**one, arrived=Decimal(9000)) == {"edges"}


def test_few_entries_may_all_fill_as_decided():
    assert failed(measured=9, same=9) == set()
    assert failed(measured=10, same=10) == {"arrival"}


def test_real_orders_are_not_asked_for_the_books_of_their_arrival():
    assert failed(course={"is_paper": False}, same=100) == set()


def test_warnings_fail_only_beyond_what_the_file_allows():
    some = tuple(
        Anomaly(rule="no_entry", severity="warn", first_ms=0, last_ms=0, subject="", text="nothing")
        for _ in range(3)
    )
    assert failed(course={"anomalies": some}) == set()
    assert failed(VerdictConfig(warnings_max=2), course={"anomalies": some}) == {"warnings"}


def test_the_simulation_has_no_monitor():
    assert "watched" not in {check.name for check in verdict(course={"watched_s": None}).checks}


def test_what_could_not_run_says_why():
    found = could_not_run("no disk")
    assert (found.exit_code, found.reasons) == (2, ("no disk",))


def test_facts_add_up():
    both = GOOD.add(msgspec.structs.replace(GOOD, unreadable="x", reasons={"max_hold": 2}))
    assert (both.entries, both.pnl, both.unreadable, both.reasons) == (
        200,
        Decimal(400_000),
        "x",
        {"max_hold": 2},
    )
