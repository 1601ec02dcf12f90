"""Latencies, refusals and fills of a tape, by venue and hour."""

from decimal import Decimal
from random import Random

import pytest

from arbshard.backtest.measured import LEAST, MeasuredVenues
from arbshard.ledger.events import IntentApproved, OrderReported
from arbshard.model.intent import FxQuote, Intent
from arbshard.model.market import Market
from arbshard.model.order import Fill, Order

HOUR_MS = 3_600_000
HOME, AWAY = Market("upbit", "KRW-BTC", "BTC", "KRW"), Market("binance", "BTCUSDT", "BTC", "USDT")


def intent_events(number, at_ms, *, latency_ms, share, state="FILLED", is_timed=True):
    """An approval, and how its home leg stood in two reports."""
    name = f"s1-0-1-{number}"
    home = Order(f"{name}-h0", HOME, "buy", Decimal(10), Decimal(100))
    away = Order(f"{name}-a0", AWAY, "sell", Decimal(10), Decimal(100))
    intent = Intent(
        name, "entry", "BTC", "buy_home", name, home, away, "net_edge", 30.0, FxQuote(Decimal(1), Decimal(1)),
        at_ms, decided_ns=at_ms * 1_000_000 if is_timed else 0,
    )  # fmt: skip

    def report(told_ms, told, quantity):
        fill = Fill(
            f"{name}:{told_ms}", home.client_id, HOME, "buy", quantity, Decimal(100), Decimal(0), "KRW"
        )
        return OrderReported(
            at_ms=told_ms, intent_id=name, pair="BTC", client_id=home.client_id, state=told, detail="",
            decision_price=Decimal(0), fills=(fill,) if quantity else (),
            matched_ns=(at_ms + latency_ms) * 1_000_000 if is_timed else 0,
        )  # fmt: skip

    first = Decimal(10) * Decimal(str(share)) / 2
    told_ms = at_ms + latency_ms + (5 if is_timed else 0)
    yield IntentApproved(at_ms=at_ms, intent=intent, holds=())
    yield report(told_ms, "PARTIAL", first)
    yield report(told_ms + 1, state, first)


def events(count, at_ms, start=0, **figures):
    return [event for n in range(count) for event in intent_events(start + n, at_ms, **figures)]


def test_an_order_takes_what_orders_took_in_its_hour():
    early = events(LEAST, HOUR_MS, latency_ms=30, share=0.5, state="EXPIRED")
    late = events(LEAST, 2 * HOUR_MS, LEAST, latency_ms=90, share=1.0)
    measured = MeasuredVenues(early + late)
    assert measured.orders == 2 * LEAST
    assert measured.latency_s("upbit", HOUR_MS + 7, Random(1)) == pytest.approx(0.03)
    assert measured.latency_s("upbit", 25 * HOUR_MS + HOUR_MS, Random(1)) == pytest.approx(0.09)
    assert measured.share("upbit", HOUR_MS, Random(1)) == pytest.approx(0.5)
    assert measured.share("upbit", 2 * HOUR_MS, Random(1)) == pytest.approx(1.0)


def test_an_hour_with_few_orders_takes_those_of_its_venue():
    measured = MeasuredVenues(
        events(LEAST - 1, HOUR_MS, latency_ms=30, share=1.0)
        + events(1, 5 * HOUR_MS, LEAST, latency_ms=30, share=1.0)
    )
    assert measured.latency_s("upbit", 5 * HOUR_MS, Random(1)) == pytest.approx(0.03)
    assert measured.latency_s("binance", 5 * HOUR_MS, Random(1)) is None
    assert measured.share("binance", 5 * HOUR_MS, Random(1)) is None


def test_too_few_orders_say_nothing():
    measured = MeasuredVenues(events(LEAST - 1, HOUR_MS, latency_ms=30, share=1.0))
    assert measured.latency_s("upbit", HOUR_MS, Random(1)) is None
    assert measured.refused_share("upbit") is None


def test_a_real_order_is_timed_from_its_approval_to_its_first_report():
    measured = MeasuredVenues(events(LEAST, HOUR_MS, latency_ms=44, share=1.0, is_timed=False))
    assert measured.latency_s("upbit", HOUR_MS, Random(1)) == pytest.approx(0.044)


def test_refused_orders_are_counted_apart_from_fills():
    refused = events(5, HOUR_MS, latency_ms=30, share=0, state="REJECTED")
    measured = MeasuredVenues(refused + events(LEAST, HOUR_MS, 5, latency_ms=30, share=1.0))
    assert measured.refused_share("upbit") == pytest.approx(5 / (LEAST + 5))
    assert measured.share("upbit", HOUR_MS, Random(1)) == 1.0
