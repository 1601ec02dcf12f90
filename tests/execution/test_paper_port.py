"""The way to the paper venue: an order meets the book of its arrival, not the one it was decided on."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.config import PaperConfig
from arbshard.execution.paper_port import PaperPort

FAST = PaperConfig(latency_ms=0.01, latency_sigma=0.0, reject_share=0.0, depth_share=1.0)


@pytest.fixture
def paper(make, books):
    return PaperPort(make.pair, FAST, books)


async def test_fills_against_the_book_of_its_arrival(make, books, paper, monkeypatch):
    book = books.books[make.home.market]
    order = make.order(make.home, "buy", "0.001", Decimal(str(book.best_ask)))

    async def moves(seconds):
        assert seconds == pytest.approx(0.01 / 1000)
        books.books[make.home.market] = make.home_book(gap_bps=50.0)

    monkeypatch.setattr("asyncio.sleep", moves)
    result = await paper.send(order)
    assert result.state == "EXPIRED"  # the price has run away
    assert result.decision_price == Decimal(str(book.best_ask))  # what it had promised


@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_promised_price_is_the_average_of_the_walk(make, books, paper, side):
    book = make.book(make.home, [(99e6, 0.001), (98e6, 1.0)], [(100e6, 0.001), (101e6, 1.0)])
    books.books[make.home.market] = book
    order = make.order(make.home, side, "0.002", 101_000_000 if side == "buy" else 98_000_000)
    result = await paper.send(order)
    assert result.state == "FILLED"
    assert result.decision_price == (Decimal(100_500_000) if side == "buy" else Decimal(98_500_000))


async def test_both_venues_have_their_own(make, books, paper):
    home = await paper.send(make.order(make.home, "sell", "0.001", 140_000_000, "x-h0"))
    away = await paper.send(make.order(make.away, "buy", "0.001", 110_000, "x-a0"))
    assert home.fills[0].fee_currency == "KRW"
    assert away.fills[0].fee_currency == "BTC"


async def test_without_a_book_the_order_is_refused(make, books, paper):
    books.books[make.home.market] = None
    result = await paper.send(make.order(make.home, "buy", "0.001", 146_000_000))
    assert (result.state, result.decision_price) == ("REJECTED", 0)


async def test_order_of_a_dead_process_has_ended(make, paper):
    result = await paper.ask(make.order(make.home, "buy", "0.001", 146_000_000))
    assert (result.state, result.fills) == ("EXPIRED", ())
    assert result.detail


async def test_changed_rules_and_fees_hold_from_the_next_order_on(make, paper):
    rules = replace(make.home.rules, notional_min=Decimal(10_000_000))
    fees = replace(make.away.fees, buy_bps=Decimal(20))
    paper.add_legs((replace(make.home, rules=rules), replace(make.away, fees=fees)))
    refused = await paper.send(make.order(make.home, "sell", "0.001", 140_000_000, "x-h0"))
    assert (refused.state, refused.fault) == ("REJECTED", "order")
    filled = await paper.send(make.order(make.away, "buy", "0.001", 110_000, "x-a0"))
    assert filled.fills[0].fee == filled.filled * Decimal("0.002")
