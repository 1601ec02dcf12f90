"""Statements and what comes of them, as bytes and back."""

from decimal import Decimal

import pytest

from arbshard.errors import ProtocolError
from arbshard.wire.messages import (
    Statement,
    decode_command,
    decode_command_reply,
    decode_request,
    encode,
)
from arbshard.wire.reconciliation import (
    AcceptDifference,
    Difference,
    Reconciliation,
    ShowReconciliation,
    StrayOrder,
    UnknownOrder,
    VenueStatement,
)

TINY = Decimal("0.000000010000000000001")


@pytest.mark.parametrize(
    "command",
    [
        Statement(
            "upbit", 7, (("KRW", TINY, Decimal(0)),), (("ab1cd-s1-0-1-1-h0", "KRW-BTC", TINY),), True, 9
        ),
        Statement("upbit", 7, (), (), False, 9),
        ShowReconciliation(),
        AcceptDifference("upbit", "KRW", "seen"),
    ],
)
def test_commands_come_back_as_they_were_and_are_no_requests(command) -> None:
    assert decode_command(encode(command)) == command
    with pytest.raises(ProtocolError):
        decode_request(encode(command))


def test_the_answer_too() -> None:
    answer = Reconciliation(
        "ab1cd",
        (VenueStatement("upbit", 7, True, 6, 1),),
        (Difference("upbit", "KRW", TINY, Decimal(2), 3, ("BTC",)),),
        (StrayOrder("upbit", "s1-0-1-1-h0", "KRW-BTC", TINY, 4, "BTC"),),
        (UnknownOrder("upbit", "s1-0-1-2-h0", "KRW-BTC", "BTC", 5),),
    )
    assert decode_command_reply(encode(answer)) == answer
