"""Works out by columns what ``venues.base.fusion.BookFuser`` makes of the levels and touches of a market.

A touch whose update id is greater than all before it is joined to the newest levels; a depth puts its own levels,
with the newest touch as long as that has a greater id. So what is put into a slot, and its best prices, follow from
the running maximum of the ids. ``join`` finds them without unpacking a frame; a frame is joined when it is needed.
Where ids are missing or go back, or one of the two streams is more than ``BEHIND_NS_MAX`` behind, other rules apply,
and ``FusedRows.refused`` says where that begins.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from arbshard.backtest.blocks import RowBlock
from arbshard.venues.base.fusion import BEHIND_NS_MAX, BookFuser, NewestParts

_Numbers = npt.NDArray[np.int64]
_Prices = npt.NDArray[np.float64]


class FusedBefore(NamedTuple):
    """Holds what a fuser knows of a market at one moment, as ``NewestParts`` does, with frames on demand."""

    fuser: BookFuser
    symbol: str
    depth: Callable[[], bytes]
    depth_id: int
    touch: Callable[[], bytes]
    """Returns the body of the newest touch; not to be called if that is not newer than the depth."""
    touch_id: int
    touch_ns: int
    behind_ns: int | None

    def restore(self) -> None:
        """Let the fuser know it."""
        touch = self.touch() if self.touch_id > self.depth_id else None
        parts = NewestParts(self.depth(), self.depth_id, touch, self.touch_id, self.touch_ns, self.behind_ns)
        self.fuser.restore(self.symbol, parts)

    def message(self) -> bytes:
        """Return the frame that was put into the slot last."""
        if self.touch_id <= self.depth_id:
            return self.depth()
        return self.fuser.joined(self.depth(), self.touch())


def known_to(fuser: BookFuser, symbol: str) -> FusedBefore | None:
    """Return what a fuser knows of a market; None where it has no levels of it."""
    parts = fuser.newest(symbol)
    if parts is None:
        return None
    return FusedBefore(
        fuser, symbol, partial(bytes, parts.depth), parts.depth_id, partial(bytes, parts.touch or b""),
        parts.touch_id, parts.touch_ns, parts.behind_ns,
    )  # fmt: skip


class FusedRows(NamedTuple):
    """Holds those rows of one market that put a frame into its slot."""

    before: FusedBefore
    rows: npt.NDArray[np.intp]
    """Their numbers in the block."""
    bids: _Prices
    asks: _Prices
    depths: npt.NDArray[np.intp]
    """Number of the row with the newest levels; -1 where those are from before the block."""
    touches: npt.NDArray[np.intp]
    """Number of the row with the newest touch; -1 where that is from before the block."""
    behind_ns: _Numbers
    """Since when the levels have been behind the touch; 0 while they are not."""
    refused: int | None
    """Number of the first row for which other rules apply; None for none."""

    def after(self, block: RowBlock, place: int) -> FusedBefore:
        """Return what the fuser knows after the row at ``place``."""
        depth, touch = int(self.depths[place]), int(self.touches[place])
        before, table = self.before, block.table
        has_depth, has_touch = depth >= 0, touch >= 0
        behind_ns = int(self.behind_ns[place])
        return FusedBefore(
            before.fuser,
            before.symbol,
            block.later(depth) if has_depth else before.depth,
            int(table["update"][depth]) if has_depth else before.depth_id,
            partial(before.fuser.body_of, block.later(touch)) if has_touch else before.touch,
            int(table["update"][touch]) if has_touch else before.touch_id,
            int(table["received_ns"][touch]) if has_touch else before.touch_ns,
            behind_ns or None,
        )


def join(
    block: RowBlock, rows: npt.NDArray[np.intp], before: FusedBefore, price_before: tuple[float, float]
) -> FusedRows:
    """Return what becomes of ``rows`` of a block, which are all those of one market in their order."""
    table = block.table[rows]
    ids, received_ns = table["update"], table["received_ns"]
    is_touch = table["is_touch"]
    is_depth = ~is_touch
    known = np.maximum.accumulate(np.concatenate(((max(before.depth_id, before.touch_id),), ids)))[:-1]
    depth_ids = np.where(is_depth, ids, before.depth_id)
    last_depth_ids = np.maximum.accumulate(np.concatenate(((before.depth_id,), depth_ids)))[:-1]
    is_new = is_touch & (ids > known)
    is_behind = is_depth & (ids < known)
    places = np.arange(len(rows))

    def last(is_one: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """Return for each place the last one up to it; -1 for none."""
        return np.maximum.accumulate(np.where(is_one, places, -1))

    def earlier(found: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        return np.concatenate(((-1,), found[:-1]))

    touches, depths = last(is_new), last(is_depth)
    touch_before, depth_before = earlier(touches), earlier(depths)
    touch_ns = np.where(touch_before < 0, before.touch_ns, received_ns[touch_before])
    is_first = is_new & (touch_before <= depth_before)
    begun_ns = received_ns[np.maximum(last(is_first), 0)]
    was_behind = np.where(depth_before < 0, before.behind_ns is not None, is_behind[depth_before])
    since_ns = np.where(depth_before < 0, before.behind_ns or 0, received_ns[depth_before])
    behind_ns = np.where(was_behind, since_ns, begun_ns)
    is_refused = (
        (ids < 0)
        | (is_depth & (ids < last_depth_ids))
        | (is_behind & (received_ns - touch_ns > BEHIND_NS_MAX))
        | (is_new & (received_ns - behind_ns > BEHIND_NS_MAX))
        | (table["sent_ms"] >= 0)
    )
    refused = int(rows[int(is_refused.argmax())]) if is_refused.any() else None
    put = np.flatnonzero(is_new | is_depth)
    priced = last(is_new | (is_depth & ~is_behind))[put]
    bids = np.where(priced < 0, price_before[0], table["bid"][priced])
    asks = np.where(priced < 0, price_before[1], table["ask"][priced])
    behind_ns = np.where(is_new, behind_ns, np.where(is_behind, received_ns, 0))
    return FusedRows(
        before,
        rows[put],
        bids,
        asks,
        np.where(depths < 0, -1, rows[depths])[put],
        np.where(touches < 0, -1, rows[touches])[put],
        behind_ns[put],
        refused,
    )
