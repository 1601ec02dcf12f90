"""Run the embedded exchanges, with the time of each change of a touch as the size of its best bid.

``python -m perf.stamped``, started by the supervisor for ``touch``. Books change, and frames go, as they always do;
both streams of Binance carry the stamp.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from typing_extensions import override

from arbshard.exchanges import venues
from arbshard.exchanges.binance.frames import BinanceFeed
from arbshard.exchanges.main import main
from arbshard.exchanges.session import SharedStream
from perf.stamp import stamp_of


class StampedFeed(BinanceFeed):
    """Is a feed that notes when its best bid or ask, or a size of theirs, changed last."""

    _stamp = ""
    _seen: tuple[str, ...] = ()

    @override
    def on_step(self) -> None:
        super().on_step()
        bids, asks = self.market.book.bids, self.market.book.asks
        best = bids.prices[0], bids.amounts[0], asks.prices[0], asks.amounts[0]
        if best != self._seen:
            self._seen = best
            self._stamp = f"{stamp_of(time.monotonic_ns()).decode()}.00000000"

    @override
    def payloads(self, stream: SharedStream, now_ms: int) -> Sequence[bytes]:
        with self._stamped():
            return super().payloads(stream, now_ms)

    @override
    def on_sent(self) -> None:
        with self._stamped():
            super().on_sent()

    @contextmanager
    def _stamped(self) -> Iterator[None]:
        amounts = self.market.book.bids.amounts
        kept = amounts[0]
        amounts[0] = self._stamp or kept
        try:
            yield
        finally:
            amounts[0] = kept


if __name__ == "__main__":
    vars(venues)["BinanceFeed"] = StampedFeed
    sys.exit(main())
