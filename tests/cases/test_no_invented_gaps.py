"""Frames as exchanges send them, through codec, book and engine: no gap in the book, no opportunity invented.

A market is set against itself: two views of one book, a moment apart, with an FX rate of 1 to 1. Whatever opportunity
shows there is a false one. The frames are written for the tests (``support.frames``); where frames that real
exchanges sent lie beside the repository, the same is asked of them.
"""

from decimal import Decimal

import msgspec
import pytest
from msgspec.structs import replace

from arbshard.config import Config, DataConfig, StrategyConfig
from arbshard.engine.engine import ArbitrageEngine
from arbshard.engine.quality import View
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.market import MarketRules, TickBand
from arbshard.model.refusal import Refusal
from arbshard.venues.base.diff import DiffBook, DiffOutcome
from arbshard.venues.base.market import FrameKind
from arbshard.venues.binance.diff import BinanceDiff
from arbshard.venues.registry import get_venue
from support import frames
from support.funds import Funds, give

RICH = Funds(1e12, 1e9, 1e12, 1e9)


@pytest.fixture
def engine(make):
    """A pair whose two legs have the same loose rules, and the loosest settings: only the edge decides."""
    rules = MarketRules(
        (TickBand(Decimal(0), Decimal("1e-8")),), Decimal("1e-8"), Decimal(0), Decimal(0), Decimal(10**12)
    )
    pair = replace(make.pair, home=replace(make.home, rules=rules), away=replace(make.away, rules=rules))
    config = Config(
        strategy=StrategyConfig(
            entry_bps=0.1, min_edge_bps=0.0, round_trip_bps=-1000, stop_room_bps=0, stop_loss_bps=9999
        ),
        data_quality=DataConfig(max_book_age_ms=1e9, max_leg_skew_ms=1e9, max_fx_age_ms=1e9),
        sizing=replace(Config().sizing, entry_notional_min=Decimal("1e-9")),
    )
    one = ArbitrageEngine([pair], make.fx_leg, config)
    give(one, one.pairs["BTC"], RICH)
    return one


def show(engine, slot, bids, asks, at):
    rate = OrderBookSnapshot("any", "fx", ((0.9999, 1e9),), ((1.0001, 1e9),), None, int(at * 1e9))
    engine.observe(0, View(rate, live=True, bad=False))
    book = OrderBookSnapshot("any", "any", bids, asks, None, int(at * 1e9))
    state = engine.observe(slot, View(book, live=True, bad=False))
    trade = engine.evaluate(state, int(at * 1e9))
    assert state.refusal in (None, Refusal.BOOK_MISSING), "the data must be judged good, or None says nothing"
    return trade


def follow_binance(engine, rows, depths, symbol):
    """Rebuild the book of ``symbol`` and set it against its best prices; returns (events, best prices compared)."""
    book = DiffBook()
    snapshot = next(row.body for row in depths if symbol in row.query)
    applied = compared = 0
    for at, frame in rows:
        if f"{symbol.lower()}@depth".encode() in frame:
            outcome = book.apply_event(BinanceDiff().update_of(frame))
            if applied == 0 and book.needs_snapshot:
                assert book.apply_snapshot(BinanceDiff().snapshot_of(snapshot)) is DiffOutcome.APPLIED
            assert outcome in (DiffOutcome.APPLIED, DiffOutcome.HELD, DiffOutcome.IGNORED), outcome
            applied += 1
            bids, asks = book.top(20)
            assert show(engine, 1, bids, asks, at) is None
        elif f"{symbol.lower()}@bookTicker".encode() in frame and applied:
            best = msgspec.json.decode(frame)["data"]
            bid, ask = (float(best["b"]), float(best["B"])), (float(best["a"]), float(best["A"]))
            assert show(engine, 2, (bid,), (ask,), at) is None
            compared += 1
    return applied, compared


def follow_upbit(engine, rows, symbol):
    """Set each frame of ``symbol`` against the one before it; returns how many there were."""
    upbit = get_venue("upbit")
    seen = 0
    for at, frame in rows:
        if upbit.route(frame) != symbol:
            continue
        book = upbit.decode(frame, int(at * 1e9))
        assert show(engine, 1 + seen % 2, book.bids, book.asks, at) is None
        seen += 1
    return seen


def test_binance_diffs_rebuild_the_book_and_never_disagree_with_the_book_ticker(engine):
    applied, compared = follow_binance(engine, frames.binance_rows(), frames.binance_depths(), "MOSSUSDT")
    assert applied == 150
    assert compared > 50


def test_upbit_frames_a_moment_apart_make_no_opportunity(engine):
    assert follow_upbit(engine, frames.upbit_rows(), "KRW-MOSS") == 87


def test_the_same_frames_do_make_one_when_a_gap_is_put_in(engine):
    """The two tests above can fail: 2 % between the same books is seen."""
    at, frame = frames.upbit_rows()[0]
    book = get_venue("upbit").decode(frame, int(at * 1e9))
    show(engine, 1, book.bids, book.asks, at)
    dearer = [tuple((price * 1.02, size) for price, size in side) for side in (book.bids, book.asks)]
    trade = show(engine, 2, *dearer, at)
    assert trade is not None, engine.pairs["BTC"].refusal


with_captures = pytest.mark.skipif(
    not frames.CAPTURES.is_dir(), reason="no frames of real exchanges lie beside the repository"
)


@with_captures
def test_frames_that_the_real_upbit_sent(engine):
    upbit = get_venue("upbit")
    rows = list(frames.captured_rows("upbit_ws_simple.tsv"))
    books = [frame for _, frame in rows if upbit.route(frame) is not None]
    assert len(books) > 100
    for frame in books:
        plain = msgspec.json.decode(frame)
        book = upbit.decode(frame, 1)
        assert (book.symbol, book.exchange_ms) == (plain["cd"], plain["tms"])
        assert book.bids == tuple((unit["bp"], unit["bs"]) for unit in plain["obu"])
        assert book.asks == tuple((unit["ap"], unit["as"]) for unit in plain["obu"])
        assert upbit.top_of_book(frame, 1) == book.top
    assert follow_upbit(engine, rows, "KRW-LAMB") > 50


@with_captures
def test_frames_that_the_real_binance_sent(engine):
    binance = get_venue("binance")
    rows = list(frames.captured_rows("binance_ws_combined.tsv"))
    assert all(binance.classify(frame).kind is FrameKind.OTHER for _, frame in rows)
    depths = list(frames.captured_depths("binance_rest_depth.tsv"))
    applied, compared = follow_binance(engine, rows, depths, "NKNUSDT")
    assert applied > 100
    assert compared > 50
