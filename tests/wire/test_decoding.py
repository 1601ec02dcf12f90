"""What no message may be or hold, whatever decoder it comes to."""

from decimal import Decimal

import pytest

from arbshard.errors import ProtocolError
from arbshard.wire import control, messages, order_events
from arbshard.wire.messages import Fund, Hello, comparable, encode


@pytest.mark.parametrize("payload", [b"\x81\xa4type\xa4\xff\xfe\xfd\xfc", b"\x91" * 100_000, b"\xc1", b""])
@pytest.mark.parametrize(
    "decode",
    [
        messages.decode_request,
        messages.decode_reply,
        messages.decode_command,
        messages.decode_command_reply,
        control.decode_order,
        control.decode_answer,
        order_events.decode,
    ],
)
def test_no_message_at_all(decode, payload):
    with pytest.raises(ProtocolError):
        decode(payload)


@pytest.mark.parametrize("text", ["sNaN", "-snan7"])
def test_an_amount_that_signals_is_refused_before_anybody_compares_it(text):
    payload = encode(Fund(0, 1, "BTC", Decimal(text)))
    with pytest.raises(ProtocolError, match="signals"):
        messages.decode_request(payload)


def test_a_coin_may_be_called_so():
    hello = Hello(0, 1, 7, ("SNAN", "BTC"))
    assert messages.decode_request(encode(hello)) == hello


def test_what_can_be_compared_passes_as_it_is():
    """Whether it makes sense is for others to say."""
    fund = Fund(0, 1, "SNAN", Decimal("NaN"))
    assert comparable(encode(fund), fund) is fund
