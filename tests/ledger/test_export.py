"""Exports: every row once, amounts exact, times with their zone."""

import csv
import io
import json
import sqlite3
from decimal import Decimal

import pytest
from hypothesis import given, settings

from arbshard.errors import LedgerDamaged
from arbshard.ledger.export import COLUMNS, rows_of, write_rows
from arbshard.ledger.reader import LedgerReader
from support import world as w
from support.effort import effort
from support.paper_chaos import Chaos, steps


@pytest.fixture
def world():
    """A round trip, an open position, a refusal, a stop."""
    world = w.World()
    world.round_trip(home_out=Decimal(990_000))
    world.open_position("ETH")
    world.submit(world.entry("ETH"))
    world.stop()
    return world


@pytest.fixture
def ledger(world, tmp_path):
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    return path


def exported(path, what, form="jsonl", **given):
    """The rows as a program would read them."""
    target = io.StringIO()
    with LedgerReader(path) as reader:
        count = write_rows(target, COLUMNS[what], rows_of(reader, what, **given), form)
    target.seek(0)
    rows = list(csv.DictReader(target)) if form == "csv" else [json.loads(line) for line in target]
    assert len(rows) == count
    return rows


@pytest.mark.parametrize("what", COLUMNS)
def test_both_formats_hold_the_same(ledger, what) -> None:
    as_csv, as_json = exported(ledger, what, "csv"), exported(ledger, what)
    assert as_csv
    assert [tuple(row) for row in as_csv] == [COLUMNS[what]] * len(as_csv)
    for row in as_json:
        if "body" in row:
            row["body"] = json.dumps(row["body"], separators=(",", ":"))
    assert as_csv == [{key: "" if one is None else str(one) for key, one in row.items()} for row in as_json]


@pytest.mark.parametrize("what", COLUMNS)
def test_an_empty_ledger_is_a_header(what, tmp_path) -> None:
    world = w.World(ready=False)
    world.write_ledger(tmp_path / "ledger.sqlite")
    assert exported(tmp_path / "ledger.sqlite", what, "csv") == []


def test_fills_add_up_to_the_balances(world, ledger) -> None:
    fills = exported(ledger, "fills", "csv")
    assert len(fills) == 6
    first = fills[0]
    assert (first["venue"], first["market"], first["side"]) == ("upbit", "KRW-BTC", "sell")
    assert (first["quantity"], first["price"], first["value"]) == ("0.5", "1000000", "500000")
    assert (first["fee"], first["fee_currency"], first["quote"]) == ("250", "KRW", "KRW")
    assert first["time"] == "2026-11-18T11:06:40.005+00:00"
    paid = {"buy": -1, "sell": 1}
    krw = sum(
        paid[one["side"]] * Decimal(one["value"]) - Decimal(one["fee"])
        for one in fills
        if one["quote"] == "KRW"
    )
    assert krw == world.state.balance("upbit", "KRW").total - world.config.paper.quote_home


def test_positions_closed_and_open(ledger) -> None:
    closed, still_open = exported(ledger, "positions")
    assert (closed["position_id"], closed["state"], closed["reason"]) == ("s1-0-1-1", "CLOSED", "take_profit")
    assert closed["pnl"] == "3522.29035"
    assert closed["closed"] > closed["opened"]
    assert (still_open["pair"], still_open["state"], still_open["pnl"]) == ("ETH", "OPEN", None)
    assert still_open["closed"] is None


def test_balances_are_where_every_account_stands(world, ledger) -> None:
    rows = {(one["account"], one["currency"]): one["balance"] for one in exported(ledger, "balances")}
    for (venue, currency), balance in world.state.balances.items():
        assert Decimal(rows.pop((f"venue:{venue}", currency))) == balance.total
    assert {account.split(":")[0] for account, _ in rows} == {"trade", "fees", "deposits"}


def test_events_are_as_they_were_stored(world, ledger) -> None:
    from arbshard.ledger.events import decode_event

    rows = exported(ledger, "events")
    assert [decode_event(json.dumps(one["body"])) for one in rows] == world.events
    assert [one["seq"] for one in rows] == list(range(1, len(world.events) + 1))


def test_postings_come_with_their_time(ledger) -> None:
    sums = {}
    for row in exported(ledger, "postings"):
        assert row["time"].endswith("+00:00")
        sums[row["currency"]] = sums.get(row["currency"], Decimal(0)) + Decimal(row["amount"])
    assert set(sums.values()) == {Decimal(0)}


def test_since(world, ledger) -> None:
    at_ms = next(event.at_ms for event in world.events if type(event).__name__ == "PositionClosed")
    assert [one["state"] for one in exported(ledger, "positions", since_ms=at_ms)] == ["CLOSED", "OPEN"]
    assert [one["state"] for one in exported(ledger, "positions", since_ms=at_ms + 1)] == ["OPEN"]
    assert len(exported(ledger, "fills", since_ms=at_ms + 1)) == 2
    assert {one["currency"] for one in exported(ledger, "balances", since_ms=at_ms + 1)} == {
        "KRW",
        "ETH",
        "USDT",
    }
    assert len(exported(ledger, "events", since_ms=at_ms)) < len(world.events)
    assert exported(ledger, "postings", since_ms=world.now_ms + 1) == []


def test_a_row_at_a_time(ledger, monkeypatch) -> None:
    monkeypatch.setattr("arbshard.ledger.reader._PIECE_ROWS", 1)
    assert len(exported(ledger, "fills")) == 6
    with LedgerReader(ledger) as reader:
        rows = rows_of(reader, "fills")
        first = next(rows)
        assert first[1] < reader.last_seq  # long before the end


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("fills", "UPDATE events SET body = '{}' WHERE kind = 'OrderReported'"),
        ("fills", "UPDATE events SET kind = 'OrderReported' WHERE kind = 'Deposited'"),
        ("fills", 'UPDATE events SET body = replace(body, \'"quantity":"0.5\', \'"quantity":"sNaN\')'),
        ("positions", "UPDATE events SET kind = 'PositionClosed' WHERE kind = 'Deposited'"),
        ("events", "UPDATE events SET ts_ms = 9223372036854775807 WHERE seq = 3"),
        ("postings", "UPDATE postings SET amount = x'ff' WHERE seq = 3"),
        ("balances", "UPDATE events SET ts_ms = 'x' WHERE seq = 3"),
    ],
)
def test_damage_is_a_clear_line(ledger, what, statement) -> None:
    connection = sqlite3.connect(ledger)
    with connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        assert connection.execute(statement).rowcount
    connection.close()
    with pytest.raises(LedgerDamaged) as raised:
        exported(ledger, what)
    assert str(raised.value).startswith(f"{ledger}: damaged: ")
    assert "\n" not in str(raised.value)


def test_deposits_say_why(tmp_path) -> None:
    from arbshard.ledger.events import Deposited

    world = w.World(bases=("BTC",))
    given = {"at_ms": world.now_ms, "venue": "upbit", "currency": "KRW", "why": "adjustment"}
    world.events.append(Deposited(amount=Decimal("-1.50"), reason="sent away", **given))
    world.write_ledger(tmp_path / "ledger.sqlite")
    rows = exported(tmp_path / "ledger.sqlite", "deposits")
    assert [row["why"] for row in rows] == ["opening", "opening", "inventory", "inventory", "adjustment"]
    assert (rows[2]["pair"], rows[2]["currency"]) == ("BTC", "BTC")
    assert (rows[-1]["amount"], rows[-1]["reason"], rows[-1]["venue"]) == ("-1.5", "sent away", "upbit")


def recomputed(row):
    """The result of a closed position, by nothing but its row."""
    away_quote = Decimal(row["away_quote"])
    rate = Decimal(row["exit_fx_bid"] if away_quote >= 0 else row["exit_fx_ask"])
    left_over = Decimal(row["home_base"]) + Decimal(row["away_base"])
    return (
        Decimal(row["home_quote"])
        + away_quote * rate
        + left_over * Decimal(row["mark"])
        - Decimal(row["other_fees"])
    )


def flows_of(fills, home):
    """What the fills of a position have left on both venues, fees included."""
    flows = dict.fromkeys(("home_base", "home_quote", "away_base", "away_quote"), Decimal(0))
    for fill in fills:
        side = "home" if fill["venue"] == home else "away"
        sign = 1 if fill["side"] == "buy" else -1
        flows[f"{side}_base"] += sign * Decimal(fill["quantity"])
        flows[f"{side}_quote"] -= sign * Decimal(fill["value"])
        fee = "quote" if fill["fee_currency"] == fill["quote"] else "base"
        flows[f"{side}_{fee}"] -= Decimal(fill["fee"])
    return flows


class TestRecomputed:
    @pytest.fixture
    def traded(self, tmp_path):
        world = w.World()
        for direction, home_out in (("buy_home", 990_000), ("buy_away", 1_030_000), ("buy_home", 1_010_000)):
            world.round_trip(direction=direction, home_out=Decimal(home_out))
        world.open_position("ETH")
        world.write_ledger(tmp_path / "ledger.sqlite")
        return world, tmp_path / "ledger.sqlite"

    def test_each_result_follows_from_its_row(self, traded) -> None:
        world, path = traded
        closed = [row for row in exported(path, "positions", "csv") if row["state"] == "CLOSED"]
        assert len(closed) == 3
        assert [recomputed(row) for row in closed] == [Decimal(row["pnl"]) for row in closed]
        assert sum(map(recomputed, closed)) == world.state.realised != 0

    def test_each_row_follows_from_its_fills(self, traded) -> None:
        world, path = traded
        home = world.pairs["BTC"].home.market.venue
        fills = exported(path, "fills", "csv")
        for row in exported(path, "positions", "csv"):
            own = [fill for fill in fills if fill["position_id"] == row["position_id"]]
            assert {fill["kind"] for fill in own} == (
                {"entry", "exit"} if row["state"] == "CLOSED" else {"entry"}
            )
            assert flows_of(own, home) == {name: Decimal(row[name]) for name in flows_of([], home)}
            for side in ("home", "away"):
                exits = [
                    fill
                    for fill in own
                    if fill["kind"] == "exit" and (fill["venue"] == home) == (side == "home")
                ]
                quantity = sum(Decimal(fill["quantity"]) for fill in exits)
                price = row[f"exit_{side}_price"]
                if quantity:
                    value = sum(Decimal(fill["value"]) for fill in exits)
                    assert abs(Decimal(price) - value / quantity) < Decimal("1e-11")
                else:
                    assert price == ""
        assert all(fill["position_id"] for fill in fills)

    def test_what_is_open_has_no_exit(self, traded) -> None:
        _, path = traded
        (row,) = (row for row in exported(path, "positions") if row["state"] == "OPEN")
        names = ("exit_home_price", "exit_away_price", "exit_fx_bid", "exit_fx_ask", "mark")
        assert [row[name] for name in names] == [None] * 5

    def test_since_later_fills_still_name_their_position(self, traded) -> None:
        _, path = traded
        fills = exported(path, "fills", since_ms=w.NOW_MS + 1)
        assert fills
        assert all(fill["position_id"] for fill in fills)

    @given(steps)
    @settings(max_examples=effort(25, 125), deadline=None)
    def test_whatever_workers_report_each_result_follows_from_its_row(self, tmp_path_factory, moves) -> None:
        chaos = Chaos(w.World())
        for move in moves:
            chaos.do(*move)
        path = tmp_path_factory.mktemp("chaos") / "ledger.sqlite"
        chaos.world.write_ledger(path)
        home = chaos.world.pairs["BTC"].home.market.venue
        fills = exported(path, "fills", "csv")
        for row in exported(path, "positions", "csv"):
            own = [fill for fill in fills if fill["position_id"] == row["position_id"]]
            assert flows_of(own, home) == {name: Decimal(row[name]) for name in flows_of([], home)}
            if row["state"] == "CLOSED":
                assert recomputed(row) == Decimal(row["pnl"])
