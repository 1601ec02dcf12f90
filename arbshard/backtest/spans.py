"""Describes a span of a tape by columns: its rows by market, and what is seen of each market at each tick. Pure."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from arbshard.backtest.fusing import FusedRows
from arbshard.backtest.screening import ScreenedLane
from arbshard.venues.base.fusion import BookFuser

Prices = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class SpanRows(NamedTuple):
    """Holds the rows of a block that put a frame into a slot and may be passed over, sorted by their markets, by
    columns.
    """

    order: npt.NDArray[np.intp]
    """Their numbers in the block."""
    markets: npt.NDArray[np.int64]
    starts: npt.NDArray[np.intp]
    """Position of the first row of each market, and the count of all."""
    due_ns: Numbers
    received_ns: Numbers
    bids: Prices
    asks: Prices
    parts: "dict[int, FusedRows]"
    """What the frames of markets are joined of, by the number of the market."""
    size: int
    """Number of all rows of the block up to the first one that must be fed."""


class SpanGrid(NamedTuple):
    """Holds what is seen at each tick of each market: rows are markets, columns are ticks."""

    newest: npt.NDArray[np.intp]
    """Position of the newest row; -1 for none in this block."""
    bids: Prices
    asks: Prices
    received_ns: Numbers
    highest_bids: Prices
    """The highest bid since the tick before, of what was seen then and of all rows since."""
    lowest_asks: Prices


class SpanStream(NamedTuple):
    """Is a market on a connection."""

    connection: str
    lane: ScreenedLane
    fuser: BookFuser | None
    """Joins levels and touches before the lane; None where they do not come in two streams."""


class SpanPlan(NamedTuple):
    """Is a span that was found to be quiet."""

    rows: SpanRows
    grid: SpanGrid
    ticks: list[int]
    """Ticks up to the end of the span, and those after it up to which the rows are known."""
    length: int
    """Number of ticks in the span; the next one is its end."""
    samples: dict[str, list[tuple[int, float]]]
    """Samples of each pair, by base, as (position of the tick, gap)."""
    implied: Prices
    """FX rate that each pair implies at each tick, NaN where it is not sampled: rows are pairs, columns are ticks."""
    streams: dict[int, SpanStream]
    """By the number of the market."""


class LaterFrame(NamedTuple):
    """Is a frame that may be needed later."""

    message: Callable[[], bytes]
    received_ns: int


def due_of(rows: SpanRows, streams: Mapping[int, SpanStream], names: Collection[str]) -> Numbers:
    """Return when the rows of these connections are due, in their order."""
    is_of = np.zeros(rows.size, np.bool_)
    due_ns = np.empty(rows.size, np.int64)
    for number, stream in streams.items():
        if stream.connection in names:
            mine = slice(rows.starts[number], rows.starts[number + 1])
            is_of[rows.order[mine]] = True
            due_ns[rows.order[mine]] = rows.due_ns[mine]
    return due_ns[is_of]


def settled_ns(
    rows: SpanRows, jumped: Flags, since_ns: int, settle_ns: int, place: int, number: int | None = None
) -> int:
    """Return when the engine trusts the price of a market again that has jumped at ``since_ns``: at one of the rows
    from ``place`` on. A price must have lasted for ``settle_ns``.
    """
    end = int(rows.starts[(rows.markets[place] if number is None else number) + 1])
    received_ns = rows.received_ns[place:end]
    is_settled = ~jumped[place:end] & (received_ns - since_ns >= max(settle_ns, 1))
    is_settled[1:] &= np.diff(received_ns) != 0
    return int(rows.due_ns[place + int(is_settled.argmax())]) if is_settled.any() else 1 << 62


def grid_of(
    rows: SpanRows, due_ns: Numbers, ticks: Numbers, before: tuple[Prices, Prices], received_ns: Numbers
) -> SpanGrid:
    """Return what is seen at each tick, and in the column after the last tick what follows it.

    ``due_ns`` are those of all rows of the block; best prices of all markets ``before`` it, and when they came.
    """
    shape = len(received_ns), len(ticks) + 1
    seen = np.searchsorted(due_ns, ticks)  # at the same instant, timers come before frames
    bins = np.repeat(np.arange(shape[1]), np.diff(np.concatenate(((0,), seen, (len(due_ns),)))))
    keys = rows.markets * shape[1] + bins[rows.order]
    ends = np.append(np.flatnonzero(np.diff(keys)), len(keys) - 1)
    begins = np.concatenate(((0,), ends[:-1] + 1))
    newest = np.full(shape, -1, np.intp)
    newest.flat[keys[ends]] = ends
    newest = np.maximum.accumulate(newest, axis=1)
    is_before = newest < 0
    bids = np.where(is_before, before[0][:, None], rows.bids[newest])
    asks = np.where(is_before, before[1][:, None], rows.asks[newest])
    highest = np.concatenate((before[0][:, None], bids[:, :-1]), axis=1)
    lowest = np.concatenate((before[1][:, None], asks[:, :-1]), axis=1)
    places = keys[ends]
    highest.flat[places] = np.maximum(highest.flat[places], np.maximum.reduceat(rows.bids, begins))
    lowest.flat[places] = np.minimum(lowest.flat[places], np.minimum.reduceat(rows.asks, begins))
    newest_ns = np.where(is_before, received_ns[:, None], rows.received_ns[newest])
    return SpanGrid(newest, bids, asks, newest_ns, highest, lowest)


def implied_in(
    plan: SpanPlan, before: Sequence[tuple[float, int] | None], fresh_ns: int, pairs_min: int
) -> list[tuple[float | None, int]]:
    """Return the median of the rates that fresh samples imply at each tick, and their number.

    ``before`` is what each pair has implied before the span, and when. The median of fewer than ``pairs_min`` rates
    is None.
    """
    length = plan.length
    ticks = np.array(plan.ticks[:length])
    earlier = [one or (np.nan, -fresh_ns * 2) for one in before]
    implied = plan.implied[:, :length]
    is_new = ~np.isnan(implied)
    places = np.maximum.accumulate(np.where(is_new, np.arange(length), -1), axis=1)
    rows = np.arange(len(before))[:, None]
    rates = np.where(places < 0, np.array([rate for rate, _ in earlier])[:, None], implied[rows, places])
    seen_ns = np.where(places < 0, np.array([at_ns for _, at_ns in earlier])[:, None], ticks[places])
    rates[seen_ns < ticks - fresh_ns] = np.nan
    ordered = np.sort(rates, axis=0)
    counts = np.count_nonzero(~np.isnan(rates), axis=0)
    columns = np.arange(length)
    low, high = (
        ordered[np.maximum(counts - 1, 0) // 2, columns],
        ordered[np.minimum(counts // 2, len(before) - 1), columns],
    )
    medians = np.where(counts % 2 == 1, high, (low + high) / 2)
    return [
        (median if count >= pairs_min else None, count)
        for median, count in zip(medians.tolist(), counts.tolist(), strict=True)
    ]
