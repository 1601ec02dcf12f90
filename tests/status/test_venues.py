"""What status says of venues and markets that take no orders: what, since when, for the money, and what to do."""

import pytest
from msgspec.structs import replace

from arbshard.model.risk_note import NO_NOTE, FeeNote, ShortageNote, VenueRefusalNote
from arbshard.status.model import Problem
from arbshard.status.venues import notices_of_fees, problems_of_feeds, problems_of_orders

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


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("down", "binance is down: HTTP 418: this address is refused for 15 s"),
        ("connecting", "binance is connecting: HTTP 418: this address is refused for 15 s"),
        ("rest", "binance is on REST: HTTP 418: this address is refused for 15 s"),
        ("stale", "binance is stale"),
        ("partly", "binance is partly"),
    ],
)
def test_a_venue_without_a_connection_has_its_reason(status, state, said) -> None:
    """The last error of one whose streams are up may be of yesterday."""
    upbit, binance = status.venues
    error = "HTTP 418: this address is refused for 15 s"
    troubled = replace(binance, state=state, last_error=error, wanted=1)
    (problem,) = problems_of_feeds((upbit, troubled))
    assert problem == Problem("feed", "binance", said)


def test_late_books_are_a_problem_of_a_venue_that_is_connected(status) -> None:
    upbit, binance = status.venues
    binance = replace(binance, state="connected")
    late = replace(binance, late=("BTCUSDT",), lag_ms_max=500)
    assert list(problems_of_feeds((upbit, binance))) == []
    (problem,) = problems_of_feeds((upbit, late))
    assert (problem.kind, problem.subject) == ("late", "binance")
    assert "BTCUSDT; more than 500 ms after they were sent" in problem.text
