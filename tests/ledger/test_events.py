"""Events as text: whole, readable, and the same when read back."""

import json
from decimal import Decimal

import pytest

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import (
    AccountOpened,
    ClosesOrdered,
    CoinConfirmed,
    Deposited,
    DifferenceFound,
    DifferenceResolved,
    Event,
    Halted,
    LeaderBegan,
    LimitsChanged,
    LimitsScaled,
    OrderReported,
    PairReleased,
    PairSetApart,
    RefusalsCounted,
    Resumed,
    ShardGranted,
    Started,
    Stopped,
    StrayFound,
    StrayGone,
    TransferAnnounced,
    TransferEnded,
    VenueStateChanged,
    decode_event,
    encode_event,
    kind_of,
    subject_of,
)
from arbshard.model.refusal import Refusal
from support import world as w

ORDERED = (
    Halted(at_ms=1, cause="daily_loss", reason="lost 5,000,000 KRW today"),
    Resumed(at_ms=2, reason="looked into", acknowledged=("daily_loss 20778",)),
    ClosesOrdered(at_ms=3, pairs=("BTC", "ETH"), reason="manual"),
    LimitsChanged(at_ms=4, symbol="ETH", changes=(("symbol_notional_max", "5"), ("daily_loss_max", ""))),
    LimitsScaled(at_ms=5, symbol="", factor=Decimal("0.5"), cause="drawdown"),
    PairSetApart(at_ms=5, pair="ETH", cause="stuck", reason="no venue takes the hedge", intent_id="s1-0-1-5"),
    VenueStateChanged(
        at_ms=6, venue="upbit", symbol="KRW-ETH", state="refuses", why="market_offline", fault="market"
    ),
    PairReleased(at_ms=6, pair="ETH", reason="traded by hand"),
    CoinConfirmed(at_ms=6, pair="ETH", ratio=Decimal("1.5"), reason="one contract"),
    RefusalsCounted(at_ms=6, counts=(("BTC", Refusal.PAIR_BUSY, 7),)),
    TransferAnnounced(
        at_ms=7,
        transfer_id="t1",
        source="upbit",
        target="binance",
        currency="BTC",
        amount=Decimal("1.5"),
        fee=Decimal("0.0005"),
        price=Decimal(140_000_000),
        reason="to have coins there",
    ),
    TransferEnded(at_ms=8, transfer_id="t1", currency="BTC", how="arrived", value=Decimal(-70_000), day=2),
)
"""What people and rules order."""

RECONCILED = (
    AccountOpened(at_ms=1, venue="upbit"),
    DifferenceFound(at_ms=2, venue="upbit", currency="KRW", stated=Decimal(7), booked=Decimal(8)),
    DifferenceResolved(at_ms=3, venue="upbit", currency="KRW", how="accepted"),
    StrayFound(
        at_ms=4, venue="binance", client_id="s1-0-1-9-a0", symbol="ETHUSDT", remaining=Decimal(2), pair="ETH"
    ),
    StrayGone(at_ms=5, venue="binance", client_id="s1-0-1-9-a0", pair="ETH"),
)
"""What venues say."""


CLUSTERED = (
    LeaderBegan(at_ms=1, term=3, host="a"),
    ShardGranted(at_ms=2, shard=0, host="b", grant=7),
)
"""What happens in a cluster."""


@pytest.fixture
def events() -> list[Event]:
    """Of every kind at least one."""
    world = w.World()
    world.round_trip()
    position = world.open_position("ETH")
    world.submit(world.entry("ETH"))  # refused: one position per symbol
    leg = world.exit_of(position)
    world.submit(leg)
    world.report(leg, w.filled(leg.home, leg.home.quantity / 2), w.expired(leg.away))
    hedge = w.Order(
        f"{leg.intent_id}-a1", leg.away.market, leg.away.side, Decimal("0.2"), leg.away.limit, "hedge"
    )
    world.ask(w_extend(world, leg.intent_id, hedge))
    world.report(leg, w.filled(hedge))
    world.conclude(leg)
    world.events += world.core.fence(world.shard, "no beat for 1.02 s", world.now_ms)
    world.stop()
    return [*world.events, *ORDERED, *RECONCILED, *CLUSTERED]


def w_extend(world, intent_id, order):
    from arbshard.wire.messages import Extend

    return Extend(world.shard, world.epoch, intent_id, order)


def test_every_kind_reads_back_as_it_was_written(events) -> None:
    assert {kind_of(event) for event in events} == {kind.__name__ for kind in Event.__args__}
    for event in events:
        assert decode_event(encode_event(event)) == event


def test_amounts_are_text_so_that_no_reader_rounds_them() -> None:
    event = Deposited(
        at_ms=1, venue="upbit", currency="KRW", amount=Decimal("0.10000000000000000001"), why="opening"
    )
    assert json.loads(encode_event(event))["amount"] == "0.10000000000000000001"


def test_the_kind_stands_in_the_text() -> None:
    assert json.loads(encode_event(Stopped(at_ms=5, balances=())))["type"] == "Stopped"


@pytest.mark.parametrize(
    "body", ["", "{}", '{"type":"Nonsense","at_ms":1}', '{"type":"Stopped","at_ms":"x","balances":[]}']
)
def test_what_is_no_whole_event_is_damage(body) -> None:
    with pytest.raises(LedgerDamaged, match="cannot be read"):
        decode_event(body)


def test_events_say_what_they_are_about(events) -> None:
    subjects = {kind_of(event): subject_of(event) for event in events}
    assert subjects["IntentApproved"][0] == "ETH"
    assert subjects["PositionClosed"] == ("BTC", "s1-0-1-2")
    assert subjects["Started"] == ("", "")
    assert subjects["LimitsChanged"] == subjects["PairReleased"] == ("ETH", "")
    assert subjects["PairSetApart"] == ("ETH", "s1-0-1-5")
    assert subjects["Deposited"] == ("ETH", "")
    assert subjects["StrayFound"] == subjects["StrayGone"] == ("ETH", "")
    assert subjects["DifferenceFound"] == ("", "")
    for kind in ("OrderReported", "OrderExtended", "IntentConcluded", "PositionChanged"):
        assert subjects[kind] == ("ETH", "s1-0-1-5"), kind


def test_a_start_says_which_run_it_belongs_to() -> None:
    event = Started(at_ms=1, session=3, run="abc", mode="sim-paper", version="1", reporting="KRW")
    assert '"run":"abc"' in encode_event(event)


@pytest.mark.parametrize(
    ("detail", "state"),
    [
        ("not sent: no rate budget left", "NOT_ACCEPTED"),
        ("not sent: this worker has been replaced", "NOT_ACCEPTED"),
        ("not accepted: -1003: Too much request weight used", "NOT_ACCEPTED"),
        ("never accepted: -2013: Order does not exist.", "NOT_ACCEPTED"),
        ("approved too late", "NOT_ACCEPTED"),
        ("DRY RUN: not sent (would be accepted)", "NOT_ACCEPTED"),
        ("", "CANCELED"),
        ("EXCHANGE_CANCELED", "CANCELED"),
    ],
)
def test_orders_of_older_ledgers_are_read_as_they_were_meant(detail, state):
    """Before version 5 an order that no venue had accepted was called CANCELED, like one that a venue ended."""
    body = {
        "type": "OrderReported", "at_ms": 1, "intent_id": "s1-0-1-1", "pair": "BTC", "client_id": "s1-0-1-1-a1",
        "state": "CANCELED", "detail": detail, "decision_price": "0", "fills": [],
    }  # fmt: skip
    event = decode_event(json.dumps(body))
    assert isinstance(event, OrderReported)
    assert (event.state, event.detail) == (state, detail)
    assert decode_event(encode_event(event)) == event
