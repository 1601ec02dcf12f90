"""The way to the paper venue: an order meets the book of its arrival, not the one it was decided on."""

import asyncio
from decimal import Decimal
from random import Random

import pytest
from msgspec.structs import replace

from arbshard.config import PaperConfig
from arbshard.execution.paper_port import LateFills, PaperPort
from arbshard.execution.ports import Fenced, IntentOver
from support.paper import KIND_PAPER

FAST = PaperConfig(**KIND_PAPER | {"latency_ms": 0.01, "latency_sigma": 0.0, "depth_share": 1.0})


class Clock:
    def __init__(self):
        self.ns = 0

    def monotonic_ns(self):
        return self.ns

    async def sleep(self, seconds):
        self.ns += int(seconds * 1e9)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def port(make, books, clock):
    """A port to a paper venue with changed settings, and what stands between its executor and risk."""

    def build(risk=None, sleep=clock.sleep, **changes):
        late_fills = LateFills(risk, Random(1), sleep)
        return PaperPort(make.pair, replace(FAST, **changes), books, clock, late_fills, sleep), late_fills

    return build


@pytest.fixture
def paper(port):
    return port()[0]


async def test_fills_against_the_book_of_its_arrival(make, books, port):
    book = books.books[make.home.market]
    order = make.order(make.home, "buy", "0.001", Decimal(str(book.best_ask)))

    async def moves(seconds):
        assert seconds == pytest.approx(0.01 / 1000)
        books.books[make.home.market] = make.home_book(gap_bps=50.0)

    paper, _ = port(sleep=moves)
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


async def test_a_worker_that_was_replaced_sends_nothing_on_paper_either(make, paper):
    paper.is_fenced = lambda: True
    order = make.order(make.home, "sell", "0.001", 140_000_000)
    result = await paper.send(order)
    assert (result.state, result.fills) == ("NOT_ACCEPTED", ())
    assert "may not trade" in result.detail
    paper.is_fenced = lambda: False
    assert (await paper.send(order)).state == "FILLED"


async def test_times_are_recorded_when_that_is_wanted(make, books, port, clock):
    paper, _ = port(record_times=True)
    order = make.order(make.home, "sell", "0.001", 140_000_000)
    clock.ns = 5_000_000
    result = await paper.send(order)
    assert result.matched_ns == clock.ns > 5_000_000
    assert result.book_ns == books.books[make.home.market].received_ns
    books.books[make.home.market] = None
    assert (await paper.send(order)).book_ns == 0


class TestNews:
    @pytest.fixture
    def order(self, make, books):
        books.books[make.home.market] = make.book(
            make.home, [(99e6, 1.0)], [(100e6, 0.01), (100_001_000.0, 0.01)]
        )
        return make.order(make.home, "buy", "0.02", 100_001_000, "s1-0-1-1-h0")

    async def test_how_an_order_ended_is_unknown_for_a_while(self, port, order, clock):
        paper, _ = port(unknown_share=1.0, unknown_s=5.0)
        assert (await paper.send(order)).state == "UNKNOWN"
        assert (await paper.ask(order)).state == "UNKNOWN"
        clock.ns += 50_000_000_001
        for _ in range(2):  # however often it is asked about
            known = await paper.ask(order)
            assert (known.state, known.filled) == ("FILLED", Decimal("0.02"))

    async def test_results_that_are_not_asked_for_do_not_pile_up(self, port, make, clock):
        paper, _ = port(unknown_share=1.0, unknown_s=5.0)
        orders = [
            make.order(make.home, "sell", "0.001", 140_000_000, f"s1-0-1-{number}-h0") for number in range(70)
        ]
        for order in orders:
            assert (await paper.send(order)).state == "UNKNOWN"
        clock.ns += 50_000_000_001
        known = [(await paper.ask(order)).state for order in orders]
        assert known == ["EXPIRED"] * 6 + ["FILLED"] * 64  # the newest are known

    async def test_last_execution_is_told_after_the_orders_end_and_before_the_intents(self, port, order):
        risk = Risk()
        paper, late_fills = port(risk, late_fill_share=1.0)
        told = await paper.send(order)
        assert (told.state, len(told.fills)) == ("EXPIRED", 1)
        await late_fills.conclude("s1-0-1-1", Decimal(1), None, done=True)
        late = [("report", "s1-0-1-1", "EXPIRED", 1), ("report", "s1-0-1-1", "EXPIRED", 2)]
        assert risk.said == [*late, ("conclude", "s1-0-1-1")]

    async def test_what_an_order_may_spend_stays_held_until_its_last_execution_is_told(self, port, order):
        """To risk the order is not over before."""
        risk = Risk()
        paper, late_fills = port(risk, late_fill_share=1.0)
        told = await paper.send(order)
        await late_fills.report("s1-0-1-1", told)
        await late_fills.conclude("s1-0-1-1", Decimal(1), None, done=True)
        await late_fills.report("s1-0-1-1", told)
        assert [one[2:] for one in risk.said if one[0] == "report"] == [
            ("PARTIAL", 1),
            ("EXPIRED", 1),
            ("EXPIRED", 2),
            ("EXPIRED", 1),
        ]

    async def test_another_intent_is_concluded_without_waiting(self, port, order):
        risk = Risk()
        paper, late_fills = port(risk, sleep=asyncio.sleep, late_fill_share=1.0)
        await paper.send(order)
        await late_fills.conclude("s1-0-1-2", Decimal(1), None, done=True)
        assert risk.said == [("conclude", "s1-0-1-2")]
        await late_fills.conclude("s1-0-1-1", Decimal(1), None, done=True)
        assert risk.said[-2:] == [("report", "s1-0-1-1", "EXPIRED", 2), ("conclude", "s1-0-1-1")]

    @pytest.mark.parametrize("error", [Fenced("newer"), IntentOver("by a person")])
    async def test_late_news_of_an_intent_that_is_not_ours_any_more_ends_nothing(self, port, order, error):
        risk = Risk(error)
        paper, late_fills = port(risk, late_fill_share=1.0)
        await paper.send(order)
        await late_fills.conclude("s1-0-1-1", Decimal(1), None, done=True)
        assert risk.said == [("conclude", "s1-0-1-1")]

    async def test_a_pair_that_is_stuck_is_told_to_risk(self, port):
        risk = Risk()
        _, late_fills = port(risk)
        await late_fills.set_apart("BTC", "stuck", "the venue refuses orders", "s1-0-1-1")
        assert risk.said == [("set_apart", "BTC", "stuck", "the venue refuses orders", "s1-0-1-1")]

    async def test_an_order_with_one_execution_is_told_whole(self, port, make):
        paper, _ = port(Risk(), late_fill_share=1.0)
        result = await paper.send(make.order(make.home, "sell", "0.001", 140_000_000, "x-h0"))
        assert result.state == "FILLED"


class Risk:
    def __init__(self, error=None):
        self.said = []
        self._error = error

    async def report(self, intent_id, result):
        if self._error is not None:
            raise self._error
        self.said.append(("report", intent_id, result.state, len(result.fills)))

    async def set_apart(self, *arguments):
        self.said.append(("set_apart", *arguments))

    async def conclude(self, intent_id, mark, fx, *, done):
        self.said.append(("conclude", intent_id))
