"""Headers are read where they are as known; blocks last as long as the venue says."""

import pytest

from arbshard.data.address_block import blocked_s
from arbshard.execution.live.limits import read_headers
from arbshard.venues.base.client import Answer
from arbshard.venues.base.limits import WindowUse
from arbshard.venues.registry import rate_windows


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("group=order; min=720; sec=11", [WindowUse("upbit_order", 1)]),
        ("group=default; min=1800; sec=29", [WindowUse("upbit_default", 1)]),
        ("group=order-test; min=480; sec=0", [WindowUse("upbit_order_test", 8)]),
        ("group=orderbook; min=600; sec=9", [WindowUse("upbit_orderbook", 1)]),
        ("group=market; min=600; sec=9", []),
        ("group=order; min=x", []),
        ("", []),
    ],
)
def test_upbit(header, said):
    assert list(read_headers("upbit", {"remaining-req": header})) == said


def test_binance():
    headers = {
        "x-mbx-used-weight-1m": "38",
        "x-mbx-order-count-10s": "3",
        "x-mbx-order-count-1d": "x",
        "date": "1",
    }
    assert list(read_headers("binance", headers)) == [
        WindowUse("binance_weight", 38),
        WindowUse("binance_orders_10s", 3),
    ]


def test_nothing_said():
    assert list(read_headers("binance", {})) == []
    assert list(read_headers("upbit", {})) == []


@pytest.mark.parametrize(
    ("status", "headers", "body", "seconds"),
    [
        (200, {"retry-after": "9"}, b"", 0.0),
        (429, {"retry-after": "9"}, b"", 9.0),
        (418, {"retry-after": "120"}, b"", 120.0),
        (429, {}, b"", 1.0),
        (429, {"retry-after": "0"}, b"", 1.0),
        (418, {}, b'{"error":{"name":"x","message":"blocked for 30 seconds"}}', 30.0),
        (418, {}, b"", 120.0),
        (418, {"retry-after": "99999999"}, b"", 259_200.0),
    ],
)
def test_blocks(status, headers, body, seconds):
    assert blocked_s("upbit", Answer(status, body, headers)) == seconds


@pytest.mark.parametrize("status", [200, 418, 429, 500])
@pytest.mark.parametrize(
    "headers", [{}, {"retry-after": "0"}, {"retry-after": "30"}, {"retry-after": "soon"}]
)
def test_orders_and_public_calls_pause_for_as_long_where_the_text_says_nothing(status, headers):
    answer = Answer(status, b"", headers)
    assert blocked_s("binance", answer) == blocked_s("upbit", answer) == answer.pause_s


def test_a_block_tells_its_end_in_one_way_per_venue():
    text = b'{"code":-1003,"msg":"banned for 30 seconds"}'
    assert blocked_s("binance", Answer(418, text)) == 120.0
    assert blocked_s("binance", Answer(418, text, {"retry-after": "7"})) == 7.0


def test_every_window_has_its_venue_in_its_name():
    assert all(window.name.startswith(f"{window.venue}_") for window in rate_windows())
