"""Verification finds every kind of tampering, and nothing in an honest ledger."""

import json
import sqlite3
from decimal import Decimal

import pytest

from arbshard.ledger.events import (
    AccountOpened,
    DifferenceFound,
    DifferenceResolved,
    StrayFound,
    StrayGone,
    VenueStateChanged,
)
from arbshard.ledger.store import LedgerStore
from arbshard.ledger.verify import verify
from support import world as w


@pytest.fixture
def ledger(tmp_path):
    """Two coins, a round trip, an unwound entry, an open position, a refusal, a stop."""
    world = w.World()
    world.round_trip(home_out=Decimal(990_000))
    failed = world.entry("ETH")
    world.submit(failed)
    world.report(failed, w.expired(failed.home), w.filled(failed.away, Decimal("0.3")))
    unwind = w.Order(
        f"{failed.intent_id}-a1", failed.away.market, "sell", Decimal("0.2997"), Decimal(690), "unwind"
    )
    from arbshard.wire.messages import Extend

    world.ask(Extend(0, 1, failed.intent_id, unwind))
    world.report(failed, w.filled(unwind))
    world.conclude(failed, done=True)
    world.open_position("BTC")
    world.submit(world.entry("BTC"))
    world.stop()
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    return path


def tamper(path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement
    connection.close()


def edit(path, kind: str, change, which: int = 0) -> None:
    """Rewrite the body of one event of ``kind``."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT seq, body FROM events WHERE kind = ? ORDER BY seq", (kind,)).fetchall()
    connection.close()
    seq, body = rows[which]
    event = json.loads(body)
    change(event)
    tamper(path, f"UPDATE events SET body = '{json.dumps(event)}' WHERE seq = {seq}")


def found(path) -> str:
    report = verify(path)
    assert not report.is_clean
    return "\n".join(report.differences)


def test_an_honest_ledger_is_clean_and_counted(ledger) -> None:
    report = verify(ledger)
    assert report.differences == ()
    assert report.is_clean
    assert (report.fills, report.intents, report.positions, report.closed) == (8, 4, 3, 2)
    assert report.deposits == 6
    assert report.kinds["IntentRefused"] == 1
    assert report.events == sum(report.kinds.values())


def test_the_pnl_is_recomputed(tmp_path) -> None:
    world = w.World()
    position = world.round_trip(home_out=Decimal(990_000))
    world.write_ledger(tmp_path / "ledger.sqlite")
    assert verify(tmp_path / "ledger.sqlite").pnl == position.pnl != 0


def test_a_changed_posting_amount(ledger) -> None:
    tamper(ledger, "UPDATE postings SET amount = '1' WHERE seq = 10 AND line = 0")
    said = found(ledger)
    assert "add up to" in said
    assert "booked on" in said


def test_a_changed_balance(ledger) -> None:
    tamper(ledger, "UPDATE postings SET balance = '123' WHERE seq = 10 AND line = 0")
    assert "is stated as 123" in found(ledger)


def test_a_changed_pair_of_postings_that_still_adds_up_to_zero(ledger) -> None:
    tamper(
        ledger,
        "UPDATE postings SET amount = '-7' WHERE seq = 2 AND line = 0",
        "UPDATE postings SET amount = '7' WHERE seq = 2 AND line = 1",
    )
    assert "event 2: -7 KRW booked on upbit" in found(ledger)


def test_a_removed_posting(ledger) -> None:
    tamper(ledger, "DELETE FROM postings WHERE seq = 10 AND line = 1")
    assert "posting 10.1 is missing" in found(ledger)


def test_an_invented_posting(ledger) -> None:
    tamper(ledger, "INSERT INTO postings VALUES (9999, 0, 'venue:upbit', 'KRW', '5', '5')")
    assert "posting 9999.0 belongs to no event" in found(ledger)


def test_a_posting_that_is_no_amount(ledger) -> None:
    tamper(ledger, "UPDATE postings SET amount = 'much' WHERE seq = 10 AND line = 0")
    assert "is not an amount" in found(ledger)


def test_a_removed_event(ledger) -> None:
    tamper(ledger, "DELETE FROM events WHERE seq = 11")
    said = found(ledger)
    assert "events 11 to 11 are missing" in said
    assert "posting 11.0 belongs to no event" in said


def test_a_fill_removed_from_its_event(ledger) -> None:
    edit(ledger, "OrderReported", lambda event: event.update(fills=[]))
    said = found(ledger)
    assert "is FILLED with 0 executed" in said
    assert "home base of s1-0-1-1 is stated as" in said


def test_a_fill_with_another_price(ledger) -> None:
    edit(ledger, "OrderReported", lambda event: event["fills"][0].update(price="999999"))
    assert "KRW booked on upbit, its fills say" in found(ledger)


def test_a_fill_booked_twice(ledger) -> None:
    edit(ledger, "OrderReported", lambda event: event.update(fills=event["fills"] * 2))
    assert "is booked twice" in found(ledger)


def test_an_altered_pnl(ledger) -> None:
    edit(ledger, "PositionClosed", lambda event: event["position"].update(pnl="1000000"))
    assert "PnL of s1-0-1-1 is stated as 1000000, its fills make 3522.29035" in found(ledger)


def test_altered_fees(ledger) -> None:
    edit(ledger, "PositionOpened", lambda event: event["position"].update(fees="0"))
    assert "fees of s1-0-1-1 is stated as 0" in found(ledger)


def test_an_altered_reason(ledger) -> None:
    edit(ledger, "PositionClosed", lambda event: event["position"].update(reason="max_hold"))
    assert "reason of s1-0-1-1 is stated as max_hold, its fills make take_profit" in found(ledger)


def test_a_closed_position_stated_as_open(ledger) -> None:
    edit(ledger, "PositionClosed", lambda event: event["position"].update(state="OPEN"))
    assert "state of s1-0-1-1 is stated as OPEN, its fills make CLOSED" in found(ledger)


def test_a_position_closed_that_was_not_done(ledger) -> None:
    edit(ledger, "IntentConcluded", lambda event: event.update(done=False), which=1)
    assert "was closed though it was not done" in found(ledger)


def test_an_order_that_comes_back_from_its_end(ledger) -> None:
    edit(
        ledger, "OrderReported", lambda event: event.update(client_id="s1-0-1-1-h0", state="EXPIRED"), which=1
    )
    assert "s1-0-1-1-h0 was FILLED and became EXPIRED" in found(ledger)


def test_a_stop_that_states_other_balances(ledger) -> None:
    edit(ledger, "Stopped", lambda event: event["balances"][0].__setitem__(2, "5"))
    assert "the stop states 5" in found(ledger)


def test_a_deposit_of_another_amount(ledger) -> None:
    edit(ledger, "Deposited", lambda event: event.update(amount="1"))
    said = found(ledger)
    assert "its fills say 1" in said
    assert "deposits and fills come to" in said


def test_an_intent_approved_twice(ledger) -> None:
    edit(ledger, "IntentApproved", lambda event: event["intent"].update(intent_id="s1-0-1-1"), which=1)
    assert "s1-0-1-1 was approved before" in found(ledger)


def test_a_removed_statement(ledger) -> None:
    connection = sqlite3.connect(ledger)
    row = connection.execute("SELECT body FROM events WHERE kind = 'IntentRefused'").fetchone()
    connection.close()
    tamper(
        ledger, f"UPDATE events SET body = '{row[0]}', kind = 'IntentRefused' WHERE kind = 'PositionOpened'"
    )
    assert "the position that s1-0-1-1 left is not stated" in found(ledger)


def test_columns_that_are_not_what_the_body_says(ledger) -> None:
    tamper(ledger, "UPDATE events SET pair = 'XRP' WHERE kind = 'IntentApproved'")
    assert "its columns are not what its body says" in found(ledger)


def test_a_body_that_cannot_be_read(ledger) -> None:
    tamper(ledger, "UPDATE events SET body = '{}' WHERE seq = 10")
    assert "event 10: an event cannot be read" in found(ledger)


def test_a_heap_of_damage_is_not_listed_row_by_row(ledger) -> None:
    connection = sqlite3.connect(ledger)
    last = connection.execute("SELECT MAX(seq) FROM events").fetchone()[0]
    connection.close()
    tamper(
        ledger,
        *(
            f"INSERT INTO postings VALUES ({last + n}, 0, 'venue:upbit', 'KRW', '5', '5')"
            for n in range(1, 151)
        ),
    )
    report = verify(ledger)
    assert len(report.differences) == 100
    assert report.suppressed >= 50


def test_a_running_ledger_can_be_verified(tmp_path) -> None:
    world = w.World()
    path = tmp_path / "ledger.sqlite"
    store = LedgerStore.open(path, name="sim", mode="sim-paper", now_ms=1)
    try:
        store.append(world.events)
        before = len(world.events)
        world.open_position()
        assert verify(path).events == before
        store.append(world.events[before:])
        assert verify(path).is_clean
    finally:
        store.abandon()


def test_the_sums_do_not_depend_on_the_callers_precision(ledger) -> None:
    from decimal import Context, localcontext

    with localcontext(Context(prec=4)):
        assert verify(ledger).is_clean


class TestReconciliation:
    """What venues said, and what was done about it."""

    def said(self, tmp_path, *events, entry=True) -> str:
        world = w.World()
        world.events += events
        if entry:
            # Risk itself would have refused it: approved elsewhere, laid over.
            other = w.World()
            before = len(other.events)
            other.open_position("BTC")
            world.events += other.events[before:]
        world.write_ledger(tmp_path / "ledger.sqlite")
        return "\n".join(verify(tmp_path / "ledger.sqlite").differences)

    def test_an_entry_of_a_blocked_pair(self, tmp_path) -> None:
        found = DifferenceFound(
            at_ms=1, venue="upbit", currency="KRW", stated=Decimal(7), booked=Decimal(100_000_000)
        )
        assert self.said(tmp_path, found) == (
            "event 10: s1-0-1-1 was approved though upbit KRW was not reconciled"
        )

    def test_an_entry_while_an_order_was_astray(self, tmp_path) -> None:
        given = {"at_ms": 1, "venue": "upbit", "client_id": "x", "symbol": "KRW-BTC", "remaining": Decimal(1)}
        assert "approved though x was astray at upbit" in self.said(tmp_path, StrayFound(pair="BTC", **given))

    @pytest.mark.parametrize(
        ("symbol", "what"),
        [("", "the venue refused orders at upbit"), ("KRW-BTC", "KRW-BTC refused orders at upbit")],
    )
    def test_an_entry_while_its_venue_or_market_refused_orders(self, tmp_path, symbol, what) -> None:
        given = {"at_ms": 1, "venue": "upbit", "symbol": symbol, "why": "x"}
        refuses = VenueStateChanged(state="refuses", fault="venue", **given)
        assert f"s1-0-1-1 was approved though {what}" in self.said(tmp_path, refuses)

    def test_an_entry_after_a_refusal_or_beside_it(self, tmp_path) -> None:
        given = {"at_ms": 1, "venue": "upbit", "why": "x"}
        refuses = VenueStateChanged(state="refuses", symbol="", fault="venue", **given)
        ended = VenueStateChanged(state="unknown", symbol="", **given)
        other = VenueStateChanged(state="refuses", symbol="KRW-ETH", fault="market", **given)
        assert self.said(tmp_path, refuses, ended, other) == ""

    def test_one_of_another_pair(self, tmp_path) -> None:
        given = {"at_ms": 1, "venue": "upbit", "client_id": "x", "symbol": "KRW-ETH", "remaining": Decimal(1)}
        assert self.said(tmp_path, StrayFound(pair="ETH", **given)) == ""

    def test_resolved_it_blocks_nothing(self, tmp_path) -> None:
        found = DifferenceFound(
            at_ms=1, venue="upbit", currency="KRW", stated=Decimal(7), booked=Decimal(100_000_000)
        )
        resolved = DifferenceResolved(at_ms=2, venue="upbit", currency="KRW", how="agrees")
        assert self.said(tmp_path, found, resolved) == ""

    def test_a_comparison_with_another_balance(self, tmp_path) -> None:
        found = DifferenceFound(at_ms=1, venue="upbit", currency="BTC", stated=Decimal(7), booked=Decimal(5))
        said = self.said(tmp_path, found, entry=False)
        assert said.endswith(
            "5 BTC on upbit was compared with what the venue said, deposits and fills come to 4"
        )

    def test_what_contradicts_itself(self, tmp_path) -> None:
        opened = AccountOpened(at_ms=1, venue="upbit")
        same = DifferenceFound(at_ms=1, venue="upbit", currency="BTC", stated=Decimal(4), booked=Decimal(4))
        said = self.said(
            tmp_path,
            opened,
            same,
            DifferenceResolved(at_ms=2, venue="upbit", currency="ETH", how="agrees"),
            StrayGone(at_ms=2, venue="upbit", client_id="x", pair="BTC"),
            entry=False,
        )
        for part in (
            "upbit BTC differs by nothing",
            "upbit ETH did not differ",
            "x was not astray at upbit",
        ):
            assert part in said
