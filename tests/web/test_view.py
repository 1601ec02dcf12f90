"""What the desk says of a status: one sentence, its mode, amounts as they are, and limits that are near."""

import pytest
from msgspec.structs import replace

from arbshard.alerts.store import AlertRecord
from arbshard.config import Config
from arbshard.model.funnel import EdgeFunnel
from arbshard.model.risk_note import (
    NO_NOTE,
    BalanceNote,
    EquityNote,
    FxNote,
    PortfolioTally,
    RunsOutNote,
    TightNote,
)
from arbshard.status.model import EntriesStatus
from arbshard.web import view
from support.made_status import made_cluster_status, made_status


def well(**changes):
    status = replace(made_status(), state="running", problems=())
    entries = EntriesStatus(pairs=30, free=28, barred={"NOT_REARMED": 1, "MARKET_WARNED": 2})
    return replace(status, **{"risk": replace(status.risk, entries=entries), **changes})


@pytest.mark.parametrize(
    ("status", "sentence", "tone"),
    [
        (well(), "desk runs well: 28 of 30 pairs may be entered", "good"),
        (well(order_mode="recording"), "desk records", "good"),
        (
            well(risk=replace(made_status().risk, entries=EntriesStatus(30, 0, {"A": 2, "B": 30}))),
            "desk runs, and no pair may be entered now: B bars 30 of 30",
            "good",
        ),
        (well(state="starting"), "desk starts", "warn"),
        (well(state="draining", problems=("shard 0 ends",)), "desk stops", "warn"),
        (well(state="degraded", problems=("a", "b")), "desk runs with 2 problems", "bad"),
        (
            well(state="degraded", problems=("a",), passing=("a",)),
            "desk runs with 1 problem, which orders under way will end",
            "warn",
        ),
        (
            well(state="degraded", problems=("h", "b", "c"), passing=("c",), halted="h"),
            "desk is HALTED: it enters nothing, and 1 other problem",
            "bad",
        ),
        (
            well(cluster=made_cluster_status()),
            "desk (host a, led by host b) runs well: 28 of 30 pairs may be entered",
            "good",
        ),
        (
            well(cluster=made_cluster_status(leader="a"), state="degraded", problems=("a",)),
            "desk (host a, which leads) runs with 1 problem",
            "bad",
        ),
        (
            well(cluster=made_cluster_status(leader=""), state="degraded", problems=("a",)),
            "desk (host a, no leader is known) runs with 1 problem",
            "bad",
        ),
        (well(state="dead", problems=("it was cut off",)), "desk has ended: it was cut off", "bad"),
    ],
)
def test_health_is_one_sentence(status, sentence, tone):
    head = view.head_of(status)
    assert (head.sentence, head.tone) == (sentence, tone)


@pytest.mark.parametrize(
    ("data", "orders", "mode"),
    [
        ("sim", "paper", "SIMULATED"),
        ("sim", "live", "SIMULATED"),
        ("public", "paper", "PAPER"),
        ("public", "dry run", "DRY RUN"),
        ("public", "live", "LIVE"),
        ("public", "recording", "RECORDING"),
    ],
)
def test_the_mode_says_what_orders_cost(data, orders, mode):
    assert view.head_of(well(data=data, order_mode=orders)).mode == mode


def test_the_halt_comes_first_and_what_ends_by_itself_last():
    status = well(
        state="degraded", problems=("one", "passes", "halt", "two"), passing=("passes",), halted="halt"
    )
    assert view.head_of(status).problems == (
        ("bad", "halt"),
        ("bad", "one"),
        ("bad", "two"),
        ("warn", "passes"),
    )


def test_an_instance_that_shows_nothing_has_a_head():
    head = view.absent("desk", "its pages cannot be read")
    assert (head.sentence, head.state) == ("desk is not running: its pages cannot be read", "not running")
    assert view.absent("desk").sentence == "desk is not running"


def test_amounts_are_those_of_the_status():
    status = made_status()
    money = view.money_of(status, NO_NOTE, Config())
    assert (money.run, money.ledger) == (status.portfolio, status.lifetime)
    assert (money.equity, money.realised, money.unrealised) == ("-201201.4", "202202", "-203203.4")
    assert (money.today, money.week) == ("-206206", "207207")
    assert (money.run_trade, money.account_value) == (status.portfolio.trade, "987654321")
    assert money.fx == "1,451.50 per USDT; coins imply -16 bps (usually -3)"


def test_limits_are_drawn_as_changed_and_tightened():
    note = replace(
        NO_NOTE,
        portfolio=PortfolioTally(exposure="40000000", open=3),
        equity=EquityNote(drawdown="4000001", day_loss="-5", naked="25000000"),
        fx=FxNote(worth="0"),
        limits_changed={"drawdown_max": "5000000"},
        tightened={"": TightNote("0.5", "drawdown", 1)},
    )
    bars = {bar.key: bar for bar in view.money_of(made_status(), note, Config()).bars}
    assert (bars["portfolio_notional_max"].limit, bars["portfolio_notional_max"].share) == ("50000000", 0.8)
    assert bars["portfolio_notional_max"].tone == "warn"
    assert (bars["drawdown_max"].limit, bars["drawdown_max"].tone) == ("5000000", "warn")
    assert (bars["daily_loss_max"].used, bars["daily_loss_max"].share) == ("0", 0.0)
    assert (bars["naked_notional_max"].share, bars["naked_notional_max"].tone) == (1.25, "bad")
    assert (bars["portfolio_positions_max"].used, bars["portfolio_positions_max"].tone) == ("3", "good")


def test_money_comes_before_coins():
    balances = {"upbit": {name: BalanceNote("1", "0") for name in ("BTC", "USDT", "ADA", "KRW")}}
    note = replace(NO_NOTE, runs_out=(RunsOutNote("upbit", "BTC", 5), RunsOutNote("binance", "ADA", 6)))
    (venue,) = view.balances_of(replace(made_status(), balances=balances), note)
    assert [row[0] for row in venue.rows] == ["KRW", "USDT", "BTC", "ADA"]
    assert (venue.runs_out, venue.currencies) == (("BTC",), 4)


def test_the_funnel_counts_the_run_and_the_last_minute():
    one, two = (
        EdgeFunnel(wanted=10, wanted_bps=300.0, sized=4, sized_bps=90.0),
        EdgeFunnel(wanted=5, wanted_bps=150.0),
    )
    total = view.total_of([one, two])
    assert (total.wanted, total.wanted_bps, total.sized) == (15, 450.0, 4)
    assert view.total_of([]) == EdgeFunnel()
    shown = view.funnel_of(well(), total, EdgeFunnel(wanted=12, sized=9))
    assert [(one.key, one.run, one.minute, one.mean_bps) for one in shown.stages] == [
        ("wanted", 15, 3, 30.0),
        ("sized", 4, 0, 22.5),  # a worker that began anew counts from 0
        ("decided", 0, 0, None),
        ("approved", 0, 0, None),
    ]
    assert shown.barred == (("MARKET_WARNED", 2), ("NOT_REARMED", 1))
    assert shown.refused == (("DAILY_LOSS", 93), ("BALANCE", 92))


def test_alerts_that_are_kept_come_before_what_the_supervisor_said():
    record = AlertRecord("naked", "BTC", "critical", "BTC is naked", "arbshard close BTC", 5, None, True, 0)
    shown = view.events_of(replace(made_status(), alerts=("first", "second")), [record])
    assert (shown.kept, shown.alerts) == ((record,), ("second", "first"))
