"""Books and listings as the ccxt client writes them."""

from decimal import Decimal

import msgspec
import pytest

from arbshard.errors import FrameError, VenueError
from arbshard.venues.unified import make_adapter

ADAPTER = make_adapter("kraken")
BOOK = b'{"book":"BTC/USDT","at_ms":7,"bids":[[59999.5,1.5],[59999,2]],"asks":[[60000.5,1],[60001,3]]}'


def row(**changes):
    precision, limits = (
        {"price": "0.1", "amount": "1e-8"},
        {"amount": {"min": "0.0001"}, "cost": {"min": "5"}},
    )
    return {
        "symbol": "BTC/USDT",
        "base": "BTC",
        "quote": "USDT",
        "precision": precision,
        "limits": limits,
        **changes,
    }


def listed(*rows):
    return ADAPTER.market.listing([msgspec.json.encode(rows)])


def test_a_book_is_a_frame():
    (call,) = ADAPTER.rest.calls(["BTC/USDT"], 20)
    assert call.path == "/order_book?symbol=BTC%2FUSDT&limit=20"
    assert list(ADAPTER.rest.frames(call, BOOK)) == [BOOK]
    ((symbol, book),) = ADAPTER.rest.decode(call, BOOK, 5)
    assert (symbol, book.venue, book.best_bid, book.best_ask) == ("BTC/USDT", "kraken", 59999.5, 60000.5)
    assert (ADAPTER.market.route(BOOK), ADAPTER.market.sequence_number(BOOK)) == ("BTC/USDT", 7)
    assert ADAPTER.market.top_of_book(BOOK, 5) == book.top


@pytest.mark.parametrize("body", [b"", b"{}", BOOK[:-1], BOOK.replace(b"BTC", b"ETH")])
def test_the_book_of_another_market_or_of_none_is_refused(body):
    (call,) = ADAPTER.rest.calls(["BTC/USDT"], 20)
    for read in (
        lambda: list(ADAPTER.rest.frames(call, body)),
        lambda: list(ADAPTER.rest.decode(call, body, 5)),
    ):
        with pytest.raises(FrameError):
            read()


def test_a_crossed_book_is_a_fault_of_its_market():
    (call,) = ADAPTER.rest.calls(["BTC/USDT"], 20)
    ((_, found),) = ADAPTER.rest.decode(call, BOOK.replace(b"60000.5", b"59000.5"), 5)
    assert isinstance(found, FrameError)


def test_rules_of_a_market():
    found = listed(
        row(), row(symbol="BTC/EUR", quote="EUR"), row(symbol="ETH/USDT", base="ETH", active=False)
    )
    assert set(found) == {"BTC/USDT", "ETH/USDT"}
    rules = found["BTC/USDT"].rules
    assert (rules.tick_at(Decimal(1)), rules.lot, rules.quantity_min, rules.notional_min) == (
        Decimal("0.1"), Decimal("1e-8"), Decimal("0.0001"), 5,
    )  # fmt: skip
    assert (found["BTC/USDT"].tradable, found["ETH/USDT"].tradable) == (True, False)


@pytest.mark.parametrize(
    "precision", [{}, {"price": "0.1"}, {"price": "0", "amount": "1"}, {"price": "NaN", "amount": "1"}]
)
def test_a_market_without_steps_is_not_traded(precision):
    assert listed(row(precision=precision)) == {}


def test_a_listing_of_another_form_is_refused():
    with pytest.raises(VenueError):
        ADAPTER.market.listing([b"{}"])
