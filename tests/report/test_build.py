"""The report of a small run, by figures that were computed by hand, and by what must add up."""

from decimal import Decimal

import msgspec
import pytest

from arbshard.cli.trades import closed_positions
from arbshard.ledger.verify import verify
from arbshard.model.verdict import Anomaly
from arbshard.report.build import build
from arbshard.report.model import RunReport
from arbshard.report.sources import read_sources
from support import world as w
from support.history import History

NOW_MS = w.NOW_MS + 3_600_000


def report_of(path, **more) -> RunReport:
    return build(read_sources(path), NOW_MS, **more)


@pytest.fixture
def report(run_dir):
    return report_of(run_dir)


def test_counts_are_those_of_the_run(report):
    total = report.total
    assert (total.approved, total.entries, total.exits, total.open) == (5, 4, 3, 1)
    assert (total.wins, total.losses, total.win_rate) == (1, 2, 1 / 3)
    assert total.reasons == {"take_profit": 2, "entry_unwound": 1}
    assert {one.symbol: (one.entries, one.exits) for one in report.symbols} == {"BTC": (2, 2), "ETH": (2, 1)}


def test_money_is_what_verify_finds(run_dir, report):
    found = verify(run_dir / "ledger.sqlite")
    assert found.is_clean
    assert report.events == found.events
    assert report.pnl.total == found.pnl + found.beside
    positions = closed_positions(run_dir / "ledger.sqlite", "", 100)
    assert report.pnl.total == sum(one.pnl for one in positions)
    assert report.pnl.fees == -sum(one.fees for one in positions)
    assert report.pnl.fx == sum(one.fx_pnl for one in positions)


def test_the_parts_of_the_result_add_up(report):
    parts = report.pnl
    assert (
        parts.total
        == parts.trade + parts.fees + parts.fx + parts.transfers + parts.unexplained + parts.not_split
    )
    assert sum(one.pnl for one in report.symbols) == report.total.pnl
    assert parts.fees < 0


def test_the_steps_of_edges_add_up_to_what_was_kept(report):
    steps = report.edges
    losses = (steps.not_filled, steps.one_legged, steps.arrival, steps.exit_fees, steps.fx, steps.way_out)
    assert steps.sent + sum(losses) == steps.kept == report.total.pnl
    sent, *rest = report.funnel
    assert (sent.name, sent.count) == ("sent", 4)
    assert sum((step.lost for step in rest), sent.money) == report.funnel[-1].money == steps.kept


def test_an_entry_by_hand(tmp_path):
    """0.5 coins cost 350 USDT at 1,401 KRW and a fee of 0.0005 coins; they are sold for 500,000 KRW less 250."""
    world = w.World()
    world.round_trip("BTC", "buy_away", Decimal(990_000))
    world.write_ledger(tmp_path / "ledger.sqlite")
    report = report_of(tmp_path)
    # The coins that are short are bought at the price that was paid.
    cost = Decimal(350 * 1401) * Decimal("0.5") / Decimal("0.4995")
    arrived = (Decimal(499_750) / cost - 1) * 10_000
    notional = Decimal("0.4995") * 700 * 1401
    assert report.total.arrived_bps == pytest.approx(float(arrived), abs=1e-6)
    assert report.total.decided_bps == pytest.approx(25.0)
    assert report.edges.filled_notional == notional
    # Entry: 250 KRW at home and 0.0005 coins of 700 USDT away. Exit: as paid by what was sold and bought back.
    entry_fees = 250 + Decimal("0.0005") * 700 * 1401
    assert report.edges.exit_fees == -(report.total.fees - entry_fees)
    assert report.total.kept_bps == pytest.approx(float(report.total.pnl / notional * 10_000))
    held = report.total.held_s
    assert held.count == 1
    assert held.median > 0


def test_what_is_missed_costs_the_edge_and_what_is_taken_back_costs_its_result(tmp_path):
    world = w.World()
    missed = world.entry("BTC")
    world.carry_out(missed, w.expired(missed.home), w.expired(missed.away), done=True)
    world.write_ledger(tmp_path / "ledger.sqlite")
    report = report_of(tmp_path)
    # 25 bps of 0.5 coins at 700 USDT and 1,401 KRW.
    assert report.edges.sent == Decimal("1225.875")
    assert report.edges.not_filled == Decimal("-1225.875")
    assert (report.edges.kept, report.total.entries, report.total.exits) == (0, 0, 0)


def test_orders_are_counted_by_venue(report):
    away, home = report.venues
    assert (away.venue, away.orders, away.filled, away.unfilled) == (w.AWAY, 8, 7, 1)
    assert (home.venue, home.orders, home.filled, home.unfilled) == (w.HOME, 7, 5, 2)
    assert away.fees + home.fees >= report.total.fees


def test_fills_worse_than_promised_are_slippage(tmp_path):
    world = w.World()
    entry = world.entry("BTC")
    home = msgspec.structs.replace(w.filled(entry.home), decision_price=Decimal(1_001_000))
    away = msgspec.structs.replace(w.filled(entry.away), decision_price=Decimal(700))
    world.carry_out(entry, home, away)
    world.write_ledger(tmp_path / "ledger.sqlite")
    away_venue, home_venue = report_of(tmp_path).venues
    assert home_venue.slippage_bps == pytest.approx(1000 / 1_001_000 * 10_000)
    assert away_venue.slippage_bps == 0


def test_sessions_that_were_cut_off_are_seen(tmp_path):
    world = w.World()
    world.open_position()
    again = world.restart("run-2")
    again.tick(10_000)
    again.stop()
    again.write_ledger(tmp_path / "ledger.sqlite")
    report = report_of(tmp_path)
    assert [(one.session, one.in_order) for one in report.sessions] == [(1, False), (2, True)]
    assert any("1 of 2 sessions were cut off" in one.text for one in report.findings)
    assert report.active_s < 10.1


def test_since_counts_only_what_came_later(run_dir):
    first = report_of(run_dir)
    later = build(read_sources(run_dir, w.NOW_MS + 30_000), NOW_MS)
    assert later.total.exits == first.total.exits - 1
    assert later.since_ms == w.NOW_MS + 30_000
    assert later.edges.kept == later.total.pnl


def test_archived_periods_are_read(tmp_path):
    from arbshard.risk.portfolio.snapshot import PortfolioCodec
    from ledger.conftest import close_period_at

    path = tmp_path / "ledger.sqlite"
    last = History(5).write(path, 2000, positions=2, intents=1)
    before = report_of(tmp_path)
    close_period_at(path, last // 2, PortfolioCodec())
    assert msgspec.json.encode(report_of(tmp_path)) == msgspec.json.encode(before)


def test_too_good_results_are_doubted(tmp_path):
    world = w.World()
    for _ in range(31):
        world.round_trip("BTC", "buy_away", Decimal(950_000))
        world.tick(60_000)
    world.write_ledger(tmp_path / "ledger.sqlite")
    said = [one for one in report_of(tmp_path).findings if one.kind == "bad"]
    assert any("All 31 closed positions won" in one.text for one in said)


def test_entries_that_fill_as_decided_are_doubted(tmp_path):
    """Each fill is exactly at the price that makes the edge of the decision."""
    world = w.World()
    for _ in range(12):
        # (home price x 0.9995) / (700 USDT x 1401 / 0.999) - 1 is 25 basis points.
        price = round(Decimal("1.0025") * 700 * 1401 / Decimal("0.999") / Decimal("0.9995"), 4)
        position = world.carry_out(world.entry("BTC", home_limit=price))
        world.carry_out(world.exit_of(position), done=True)
        world.tick(60_000)
    world.write_ledger(tmp_path / "ledger.sqlite")
    report = report_of(tmp_path)
    assert (report.total.arrived_as_decided, report.total.measured) == (12, 12)
    assert any("exactly at the edge of their decision" in one.text for one in report.findings)


def test_an_anomaly_is_linked_to_its_log_line(run_dir):
    line = '{"event": "stalled", "level": "warning", "timestamp": "2026-11-28T07:00:01Z", "process": "supervisor"}'
    (run_dir / "logs").mkdir()
    (run_dir / "logs" / "supervisor.jsonl").write_text(line + "\n")
    anomaly = Anomaly(
        rule="log_error", severity="stop", first_ms=1, last_ms=2, subject="x", text="It stalled.", log=line
    )
    report = report_of(run_dir, anomalies=[anomaly])
    shown = next(one for one in report.timeline if one.source == "monitor")
    assert shown.anchor == report.logs[0].anchor
    assert "stalled" in report.logs[0].event


def test_a_summary_says_what_rules_cost(run_dir):
    summary = {
        "data_refusals": {"BOOK_STALE": 7},
        "rules": {"SPREAD_USUAL": {"followed": 4, "won": 1, "pnl": -900}},
        "refusals": {},
    }
    (run_dir / "summary.json").write_bytes(msgspec.json.encode(summary))
    rules = {one.reason: one for one in report_of(run_dir).rules}
    assert rules["BOOK_STALE"].by_workers == 7
    assert (rules["SPREAD_USUAL"].followed, rules["SPREAD_USUAL"].pnl) == (4, -900)


def test_the_json_reads_back(report):
    assert msgspec.json.decode(msgspec.json.encode(report), type=RunReport) == report


def test_a_ledger_without_trades_says_so(tmp_path):
    world = w.World()
    world.stop()
    world.write_ledger(tmp_path / "ledger.sqlite")
    report = report_of(tmp_path)
    assert report.total.win_rate is None
    assert report.findings[0].text == "It closed no position, so it earned and lost nothing."
