"""What accounts pay compared with what is configured: a larger fee refuses entries, a smaller one is shown."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.model.refusal import Refusal
from arbshard.model.risk_note import decode_risk_note
from arbshard.risk.note import NoteWriter
from arbshard.status.venues import notices_of_fees
from arbshard.wire.messages import AccountFees
from support import world as w


def tell(desk, venue, *fees, paid_in=""):
    """``venue`` states its fees with the next statement; configured are 5 bps at home, 10 away."""
    desk.world.now_ms += 1
    said = desk.venues.statement(venue, desk.world.now_ms)
    stated = AccountFees("KRW-BTC", Decimal(fees[0]), Decimal(fees[1]), paid_in)
    desk.world.tell(replace(said, fees=stated))


def shown(desk):
    note = decode_risk_note(NoteWriter(desk.world.core, "KRW").encode(desk.world.now_ms))
    return [one.text for one in notices_of_fees(note)]


def test_the_configured_fee_says_nothing(desk) -> None:
    tell(desk, w.HOME, "5", "5")
    tell(desk, w.AWAY, "10", "10")
    assert shown(desk) == []
    assert desk.refusal(desk.world.entry()) is None


@pytest.mark.parametrize(("fees", "side"), [(("25", "5"), "buy"), (("5", "25"), "sell")])
def test_a_larger_fee_refuses_entries_and_no_exits(desk, fees, side) -> None:
    position = desk.trade(desk.world.entry())
    tell(desk, w.HOME, *fees)
    reply = desk.world.submit(desk.world.entry("ETH"))
    assert reply.reason is Refusal.FEE_ABOVE_CONFIGURED
    assert reply.detail == f"upbit states a fee of 25 bps for a {side}, configured are 5"
    assert desk.refusal(desk.world.exit_of(position)) is None
    (line,) = shown(desk)
    assert line.startswith(f"{reply.detail}: pairs of upbit enter nothing, exits go on; ")
    assert line.endswith(f"set venues.upbit.{side}_fee_bps and start again")
    tell(desk, w.HOME, "5", "5")  # the venue has taken it back
    assert shown(desk) == []
    assert desk.refusal(desk.world.entry("ETH")) is None


def test_a_smaller_fee_is_shown_and_edges_use_the_larger_one(desk) -> None:
    tell(desk, w.AWAY, "7", "10")
    (line,) = shown(desk)
    assert (
        "binance states a fee of 7 bps for a buy, configured are 10: edges are calculated with the conf"
        in line
    )
    assert desk.refusal(desk.world.entry()) is None


@pytest.mark.parametrize(
    ("fee", "is_refused"), [("10", False), ("13.3", False), ("13.4", True), ("20", True)]
)
def test_a_discount_may_explain_a_quarter(desk, fee, is_refused) -> None:
    tell(desk, w.AWAY, fee, fee, paid_in="BNB")
    reason = desk.refusal(desk.world.entry())
    assert (reason is Refusal.FEE_ABOVE_CONFIGURED) is is_refused
