"""What the peers do in their callback: it must be what we do, or the comparison means nothing."""

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.engine.edge import terms_of, top_edge_bps
from arbshard.shm import pages
from perf.peers import measure
from perf.peers.measure import Desk, bucket_of, edges_bps
from perf.stamp import BASE, stamp_of

prices = st.floats(min_value=1e-6, max_value=1e9)


@given(ns=st.integers(min_value=-10, max_value=10**13))
def test_latencies_are_counted_in_the_same_buckets(ns):
    assert bucket_of(ns) == pages.bucket_of(ns)


def test_constants_are_the_same():
    assert measure.BUCKETS == pages.BUCKETS
    assert measure.STAMP_BASE == BASE


@given(hb=prices, ha=prices, ab=prices, aa=prices, fx_bid=prices, fx_ask=prices)
def test_the_edge_is_the_same(make, hb, ha, ab, aa, fx_bid, fx_ask):
    assert make.pair.home.fees.buy_bps == Decimal(5)
    assert make.pair.away.fees.sell_bps == Decimal(10)
    buy_home, buy_away = edges_bps(hb, ha, ab, aa, fx_bid, fx_ask)
    ours = top_edge_bps(ha, ab, terms_of(make.pair, "buy_home"), fx_bid)
    assert buy_home == pytest.approx(ours, rel=1e-6, abs=1e-3)
    ours = top_edge_bps(aa, hb, terms_of(make.pair, "buy_away"), fx_ask)
    assert buy_away == pytest.approx(ours, rel=1e-6, abs=1e-3)


def test_nothing_is_decided_before_both_books_and_fx_are_there():
    desk = Desk(["BTC"])
    stamp = float(stamp_of(time.monotonic_ns()))
    desk.on_home("BTC", 1.0, 2.0, stamp)
    desk.on_away("BTC", 1.0, 2.0, stamp)
    assert desk.decided == 0
    desk.on_fx(1.0, 1.1)
    desk.on_away("BTC", 1.0, 2.0, stamp)
    assert desk.decided == 1
    assert desk.is_complete


def test_a_desk_is_complete_when_every_book_moves():
    desk = Desk(["BTC", "ETH"])
    stamp = float(stamp_of(time.monotonic_ns()))
    desk.on_fx(1.0, 1.1)
    for base in ("BTC", "ETH"):
        desk.on_home(base, 1.0, 2.0, stamp)
    desk.on_away("BTC", 1.0, 2.0, stamp)
    desk.on_away("ETH", 1.0, 2.0, 3.0)  # the venue's first snapshot has no stamp
    assert not desk.is_complete
    assert desk.unstamped == 1
    desk.on_away("ETH", 1.0, 2.0, stamp)
    assert desk.is_complete


def test_latency_counts_from_the_intended_send():
    desk = Desk(["BTC"])
    desk.on_fx(1.0, 1.1)
    sent_ns = time.monotonic_ns() - 50_000_000
    desk.on_home("BTC", 1.0, 2.0, float(stamp_of(sent_ns)))
    desk.on_away("BTC", 1.0, 2.0, float(stamp_of(sent_ns)))
    assert sum(desk.buckets) == 1
    assert desk.max_ns >= 50_000_000
    assert desk.median_us >= 50_000


def test_a_reset_forgets_figures_and_keeps_books():
    desk = Desk(["BTC"])
    desk.on_fx(1.0, 1.1)
    desk.on_home("BTC", 1.0, 2.0, 3.0)
    desk.on_away("BTC", 1.0, 2.0, 3.0)
    assert desk.decided == 1
    desk.reset()
    assert (desk.decided, sum(desk.buckets), desk.max_ns) == (0, 0, 0)
    desk.on_away("BTC", 1.0, 2.0, 3.0)
    assert desk.decided == 1
