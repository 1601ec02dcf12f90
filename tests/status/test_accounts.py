"""What venues say of our accounts, as status shows it."""

import pytest
from msgspec.structs import replace

from arbshard.model.risk_note import NO_NOTE, DifferenceNote, StatementTimes, StrayNote
from arbshard.status.accounts import accounts_of, problems_of, unknown_orders
from arbshard.status.model import AccountStatus
from arbshard.status.render import render_status
from arbshard.status.render_summary import render_summary
from arbshard.status.summary import summarise

NOW_MS = 1_795_000_000_000
NOW_NS = 77_000_000_000_000
BTC = DifferenceNote("upbit", "BTC", "3", "4", NOW_MS, 1)
KRW = DifferenceNote("upbit", "KRW", "99", "100", NOW_MS, 30)
ORDER = StrayNote("binance", "s1-0-1-9-a0", "BTCUSDT", "BTC", NOW_MS)


def note(**words):
    return replace(NO_NOTE, orders="live", states_every_s=5.0, accounts=words)


class TestAccounts:
    def test_on_paper_there_are_none(self):
        assert accounts_of(NO_NOTE, NOW_NS) == ()
        assert [one.text for one in problems_of(NO_NOTE, ())] == []

    def test_ages(self):
        one, two = accounts_of(
            note(
                upbit=StatementTimes(NOW_NS - 2_500_000_000, NOW_NS - 9_000_000_000, True),
                binance=StatementTimes(NOW_NS, 0, False),
            ),
            NOW_NS,
        )
        assert (one.venue, one.statement_age_s, one.compared_age_s, one.settled) == ("upbit", 2.5, 9.0, True)
        assert (two.venue, two.statement_age_s, two.compared_age_s, two.settled) == (
            "binance",
            0.0,
            None,
            False,
        )

    @pytest.mark.parametrize(("age_s", "is_late"), [(34.0, False), (36.0, True)])
    def test_late_is_who_misses_five_turns_and_ten_seconds(self, age_s, is_late):
        at_ns = NOW_NS - int(age_s * 1e9)
        found = note(upbit=StatementTimes(at_ns, at_ns, True))
        (one,) = accounts_of(found, NOW_NS)
        assert one.is_late is is_late
        assert len(list(problems_of(found, (one,)))) == is_late

    def test_who_has_said_nothing_is_late(self):
        found = note(upbit=StatementTimes(0, 0, False))
        (one,) = accounts_of(found, NOW_NS)
        assert one.is_late
        assert [one.text for one in problems_of(found, (one,))] == [
            "upbit has not stated what we own there: no entries until it has"
        ]

    def test_a_comparison_that_is_too_old_is_shown_with_what_to_do(self):
        word = StatementTimes(NOW_NS - 200 * 10**9, NOW_NS - 200 * 10**9, True, "upbit stated it 200 s ago")
        found = note(upbit=word)
        (line,) = (one.text for one in problems_of(found, accounts_of(found, NOW_NS)))
        assert line.startswith("upbit stated it 200 s ago: pairs of upbit enter nothing, their exits go on; ")
        assert line.endswith("whether the key still works with 'arbshard doctor'")

    def test_a_line_for_everything_that_blocks(self):
        found = replace(
            NO_NOTE, differences=(BTC, KRW), strays=(ORDER, replace(ORDER, pair="")), unknown=(ORDER,)
        )
        assert [one.text for one in unknown_orders(found)] == [
            "order s1-0-1-9-a0 on binance BTCUSDT: its state at the venue is not known; BTC enters nothing meanwhile",
        ]
        assert [one.text for one in problems_of(found, ())] == [
            "upbit BTC: the venue says 3, the ledger 4; 1 pair blocked; 'arbshard reconcile' shows it",
            "upbit KRW: the venue says 99, the ledger 100; 30 pairs blocked; 'arbshard reconcile' shows it",
            "order s1-0-1-9-a0 on binance BTCUSDT is open and no intent owns it; BTC blocked",
            "order s1-0-1-9-a0 on binance BTCUSDT is open and no intent owns it; no pair blocked",
        ]


class TestRendering:
    @pytest.fixture
    def live(self, status):
        accounts = (
            AccountStatus("upbit", 1501.0, 1601.0, settled=True, is_late=False),
            AccountStatus("binance", None, None, settled=False, is_late=True),
        )
        return replace(
            status,
            mode="live",
            order_mode="live",
            accounts=accounts,
            differences=(BTC, KRW),
            strays=(ORDER,),
            unknown=(ORDER, ORDER, ORDER),
            passing=("the fate of an order is not known",),
        )

    @pytest.mark.parametrize(
        ("mode", "said"),
        [("paper", "paper orders"), ("dry run", "DRY RUN: no order is sent"), ("live", "LIVE ORDERS")],
    )
    def test_the_first_line_says_where_orders_go(self, live, drawn, mode, said):
        shown = replace(live, order_mode=mode)
        assert said in drawn(render_status(shown)).splitlines()[0]
        assert said in drawn(render_summary(summarise(shown, alive=None, failure=""))).splitlines()[0]

    def test_real_exchanges_are_called_so(self, live, drawn):
        assert "LIVE ORDERS on REAL exchanges" in drawn(render_status(replace(live, data="public")))
        assert "LIVE ORDERS on SIMULATED exchanges" in drawn(render_status(live))

    def test_accounts(self, live, row):
        drawing = render_status(live)
        assert row(drawing, "upbit  ") == ["upbit", "1,501", "s", "ago", "1,601", "s", "ago", "2", "0", "0"]

    def test_an_account_that_was_never_stated(self, live, drawn):
        lines = [line for line in drawn(render_status(live)).splitlines() if "not settled" in line]
        assert [line.split() for line in lines] == [
            ["binance", "not", "yet,", "not", "settled", "not", "yet", "0", "1", "3"]
        ]

    def test_on_paper_there_is_no_such_table(self, status, drawn):
        assert "Accounts" not in drawn(render_status(status))

    def test_the_summary_counts_them(self, live, drawn, status):
        text = drawn(render_summary(summarise(live, alive=None, failure="")))
        assert "2 differences from the venues, 1 stray orders, 3 of unknown fate" in text
        assert "unknown fate" not in drawn(render_summary(summarise(status, alive=None, failure="")))

    def test_a_run_with_anything_unreconciled_is_not_ok(self, live):
        clean = replace(live, errors=0, restarts=0, portfolio=replace(live.portfolio, open=0))
        assert not summarise(replace(clean, strays=(), passing=()), alive=None, failure="").ok
        assert not summarise(replace(clean, differences=(), passing=()), alive=None, failure="").ok
        assert not summarise(replace(clean, differences=(), strays=()), alive=None, failure="").ok
        assert summarise(replace(clean, differences=(), strays=(), passing=()), alive=None, failure="").ok
