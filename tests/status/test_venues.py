"""What status says of venues and markets that take no orders: what, since when, for the money, and what to do."""

import pytest
from msgspec.structs import replace

from arbshard.model.risk_note import NO_NOTE, FeeNote, ShortageNote, VenueRefusalNote
from arbshard.status.venues import notices_of_fees, problems_of_orders

AT_MS = 1_795_000_000_000
AS_OF = "2026-11-18T11:06:40+00:00"


@pytest.mark.parametrize(
    ("fault", "what_to_do"),
    [
        ("venue", "check the key, its permissions and its addresses at the venue, then 'arbshard doctor'"),
        ("busy", "'arbshard halt --flatten'"),
        ("market", "'arbshard symbols remove BTC'"),
        ("order", "'arbshard symbols remove BTC'"),
    ],
)
def test_what_refuses_is_one_line_that_says_what_to_do(fault, what_to_do) -> None:
    symbol = "" if fault in ("venue", "busy") else "BTCUSDT"
    note = VenueRefusalNote("binance", symbol, ("BTC", "ETH"), fault, "-2015: Invalid API-key", AT_MS)
    (line,) = (one.text for one in problems_of_orders(replace(NO_NOTE, refusing=(note,))))
    where = "binance BTCUSDT" if symbol else "binance"
    assert line.startswith(f"{where} takes no orders since {AS_OF} (-2015: Invalid API-key): BTC, ETH enter ")
    assert what_to_do in line


def test_of_many_pairs_the_first_are_named() -> None:
    pairs = tuple(f"A{number}" for number in range(30))
    note = VenueRefusalNote("binance", "", pairs, "venue", "x", AT_MS)
    (line,) = (one.text for one in problems_of_orders(replace(NO_NOTE, refusing=(note,))))
    assert "A7, ... enter nothing" in line
    assert "A8" not in line


def test_a_market_that_no_pair_of_the_run_has() -> None:
    note = VenueRefusalNote("binance", "XUSDT", (), "market", "x", AT_MS)
    (line,) = (one.text for one in problems_of_orders(replace(NO_NOTE, refusing=(note,))))
    assert "nothing is entered" in line


def test_a_shortage_names_venue_and_currency() -> None:
    short = ShortageNote("upbit", "BTC", 3, AT_MS, "insufficient_funds_ask: ?")
    (line,) = (one.text for one in problems_of_orders(replace(NO_NOTE, short=(short,))))
    assert line.startswith(
        f"upbit has refused 3 orders for want of BTC since {AS_OF} (insufficient_funds_ask: ?)"
    )
    assert "'arbshard reconcile'" in line


def test_a_fee_that_is_not_the_configured_one_names_both_figures() -> None:
    fee = FeeNote("binance", "buy", "BTCUSDT", "10", "7.5", AT_MS)
    (line,) = (one.text for one in notices_of_fees(replace(NO_NOTE, fees=(fee,))))
    assert "charged 7.5 bps for a buy on BTCUSDT, configured are 10" in line
    assert "venues.binance.buy_fee_bps" in line
