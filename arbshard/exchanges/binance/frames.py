"""Encodes Binance's stream messages, and numbers the events of its diff streams.

``BinanceFeed`` keeps, per market, what changed since the last diff event of each speed. A diff event has those
levels as they are now, so skipped sends lose nothing. Ids are the book's own, shared with REST ``/api/v3/depth``.
"""

from collections.abc import Collection, Sequence
from zlib import crc32

from arbshard.exchanges.binance import statistics
from arbshard.exchanges.binance.microseconds import event_in_microseconds
from arbshard.exchanges.book import SimBook, SimSide
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.session import FeedTurn, SharedStream
from arbshard.exchanges.units import fixed8

COMBINED = "combined"
RAW = "raw"
REAL_TIME = frozenset(("bookTicker", "trade", "aggTrade"))
"""Kinds of streams that send each change at once."""
_PHASE_MS = 10
_SECONDS_MAX = 60
"""Largest number of one-second klines that are closed at once: after a long halt there would be thousands."""
MICROSECONDS = "-us"
"""End of the form of a stream whose times are in microseconds."""


def wrap(stream: SharedStream, payload: str) -> bytes:
    """Encode ``payload`` in the time unit of the connection, and in the combined wrapper where the connection has
    it.
    """
    if stream.form.endswith(MICROSECONDS):
        payload = event_in_microseconds(payload)
    if stream.form.startswith(COMBINED):
        payload = f'{{"stream":"{stream.name}","data":{payload}}}'
    return payload.encode()


def _levels(side: SimSide, depth: int) -> str:
    return ",".join(
        [f'["{price}","{amount}"]' for price, amount in zip(side.prices[:depth], side.amounts, strict=False)]
    )


def depth(book: SimBook, levels: int) -> str:
    """Return the best ``levels`` of each side with the book's update id: partial depth, and the REST snapshot."""
    bids, asks = _levels(book.bids, levels), _levels(book.asks, levels)
    return f'{{"lastUpdateId":{book.update_id},"bids":[{bids}],"asks":[{asks}]}}'


def book_ticker(market: SimMarket) -> str:
    """Return best bid and ask with their sizes."""
    book = market.book
    return (
        f'{{"u":{book.update_id},"s":"{market.symbol}",'
        f'"b":"{book.bids.prices[0]}","B":"{book.bids.amounts[0]}",'
        f'"a":"{book.asks.prices[0]}","A":"{book.asks.amounts[0]}"}}'
    )


def trades(market: SimMarket, kind: str, now_ms: int) -> list[str]:
    """Return the trades of the last step as ``trade`` or ``aggTrade`` events; each is an aggregate of its own."""
    events = []
    for one in market.prints:
        if kind == "aggTrade":
            ids = f'"a":{one.number},"p":"{fixed8(one.price)}","q":"{fixed8(one.size)}",'
            ids += f'"f":{one.number},"l":{one.number}'
        else:
            ids = f'"t":{one.number},"p":"{fixed8(one.price)}","q":"{fixed8(one.size)}"'
        maker = "false" if one.taker_buys else "true"
        events.append(
            f'{{"e":"{kind}","E":{now_ms},"s":"{market.symbol}",{ids},"T":{now_ms},"m":{maker},"M":true}}'
        )
    return events


class DiffWindow:
    """Holds the levels that changed since the last event of a diff stream, and the ids that the next event covers."""

    def __init__(self, book: SimBook) -> None:
        self._book = book
        self._bids: set[int] = set()
        self._asks: set[int] = set()
        self._first_id = book.update_id + 1
        self._lost = False

    def note(self) -> None:
        """Add the changes of the book's last step."""
        self._bids |= self._book.bids.changed
        self._asks |= self._book.asks.changed

    def event(self, symbol: str, now_ms: int) -> str | None:
        """Return the event for all changes since the last ``restart``; None when there is none, or when
        it is lost.
        """
        book = self._book
        if book.update_id < self._first_id or self._lost:
            return None
        # What customers have taken since the last step has an update id already, which this event covers.
        bids = self._side(book.bids, self._bids | book.bids.eaten)
        asks = self._side(book.asks, self._asks | book.asks.eaten)
        return (
            f'{{"e":"depthUpdate","E":{now_ms},"s":"{symbol}","U":{self._first_id},"u":{book.update_id},'
            f'"b":[{bids}],"a":[{asks}]}}'
        )

    def restart(self) -> None:
        """Begin the next event, after the last one was sent or had no subscriber."""
        self._bids.clear()
        self._asks.clear()
        if self._book.update_id >= self._first_id:
            self._lost = False
        self._first_id = self._book.update_id + 1

    def lose(self) -> None:
        """Lose the next event, so that the one after it does not follow the one before."""
        self._lost = True

    @staticmethod
    def _side(side: SimSide, keys: set[int]) -> str:
        return ",".join([f'["{side.price_text(key)}","{fixed8(side.size_at(key))}"]' for key in sorted(keys)])


class BinanceFeed:
    """Makes the messages of one market: ``@bookTicker`` and trades with every step, depth at intervals.

    Slow streams are sent about once a second, with the depth. Without an interval everything is sent with every
    step. At more than 10 steps a second that is faster than the real venue, on purpose: the setting asks for the
    load.
    """

    def __init__(
        self,
        market: SimMarket,
        steps_per_s: float,
        all_markets: Collection[SimMarket] = (),
        interval_ms: int = 0,
    ) -> None:
        """Begin with the book as it is; ``interval_ms`` is the time between two frames of depth, 0 for every step.

        ``all_markets`` are those of the streams of all markets, which one feed sends with its own.
        """
        self.market = market
        self._interval_ms = interval_ms
        self._phase_ms = crc32(market.symbol.encode()) % max(interval_ms, 1) // _PHASE_MS * _PHASE_MS
        """Offset of this market's interval, so that the depth of different markets is not sent at the same moment."""
        self._turn: FeedTurn | None = None
        self._all_markets = all_markets
        self._seconds = 0
        """How often the slow streams were sent."""
        self._second_ms: int | None = None
        """When the slow streams were sent last, in wall ms; None when no stream that needs the time was subscribed
        to.
        """
        self._this_second_ms: int | None = None
        """When the slow streams are being sent, in wall ms."""
        self._slow_every = max(1, round(steps_per_s))
        self._steps = 0.0
        self._fast = DiffWindow(market.book)
        self._slow = DiffWindow(market.book)
        self._best = _best(market.book)

    def on_step(self) -> None:
        """Add the changes of a step of the market."""
        self._steps += self.market.step_weight
        self._fast.note()
        self._slow.note()

    def payloads(self, stream: SharedStream, now_ms: int) -> Sequence[bytes]:
        """Return the messages of ``stream`` that are due in this turn."""
        market = self.market
        # With an interval, real-time streams are sent with the step, and all others in the turn of the interval.
        if (
            self._interval_ms
            and self._turn != "all"
            and (stream.kind in REAL_TIME) is not (self._turn is None)
        ):
            return ()
        if stream.slow and self._steps < self._slow_every:
            return ()
        if stream.kind == "depth":
            return (wrap(stream, depth(market.book, stream.depth)),)
        if stream.kind == "diff":
            event = (self._slow if stream.slow else self._fast).event(market.symbol, now_ms)
            return () if event is None else (wrap(stream, event),)
        if stream.kind == "bookTicker":
            return (wrap(stream, book_ticker(market)),) if _best(market.book) != self._best else ()
        if stream.slow:
            return [wrap(stream, event) for event in self._of_trades(stream.kind, now_ms)]
        return [wrap(stream, event) for event in trades(market, stream.kind, now_ms)]

    def _of_trades(self, kind: str, now_ms: int) -> Sequence[str]:
        """Return the events of klines, tickers and average prices."""
        self._this_second_ms, before_ms = now_ms, self._second_ms
        if kind.startswith("kline_"):
            return self._klines(kind.removeprefix("kline_"), now_ms, before_ms)
        if kind.endswith("@arr"):
            changed = [
                statistics.event(market, kind.removesuffix("@arr"), now_ms)
                for market in self._all_markets
                if before_ms is None or market.history.first_since(before_ms) < market.history.next_number
            ]
            return (f"[{','.join(changed)}]",) if changed else ()
        return (statistics.event(self.market, kind, now_ms),)

    def _klines(self, name: str, now_ms: int, before_ms: int | None) -> Sequence[str]:
        """Return the present kline every second or two, and the one before it once it is closed."""
        interval, offset_ms = statistics.interval_of(name)
        start_ms = interval.start(now_ms, offset_ms)
        next_ms = start_ms if before_ms is None else interval.start(before_ms, offset_ms)
        if interval.unit == "s":
            next_ms = max(next_ms, start_ms - _SECONDS_MAX * 1000)
        events = []
        while next_ms < start_ms:
            events.append(statistics.kline_event(self.market, name, next_ms, now_ms, is_closed=True))
            next_ms = interval.after(next_ms, offset_ms)
        if events or interval.unit == "s" or self._seconds % 2 == 0:
            events.append(statistics.kline_event(self.market, name, start_ms, now_ms, is_closed=False))
        return events

    def lose_event(self) -> None:
        """Lose the next diff event of both speeds."""
        self._fast.lose()
        self._slow.lose()

    def wait_ms(self, now_ms: int) -> int:
        """Return how long after a step the depth is due, in milliseconds; 0 if it is sent with the step."""
        interval_ms = self._interval_ms
        return interval_ms - (now_ms - self._phase_ms) % interval_ms if interval_ms else 0

    def choose(self, turn: FeedTurn) -> None:
        """Choose what ``payloads`` returns until ``on_sent``."""
        self._turn = turn

    def on_sent(self) -> None:
        """Begin new windows for the streams that were just sent."""
        turn, self._turn = self._turn, None
        if turn != "interval":
            self._best = _best(self.market.book)
            if self._interval_ms and turn is None:
                return
        self._fast.restart()
        if self._steps >= self._slow_every:
            self._slow.restart()
            self._steps = 0.0
            self._seconds += 1
            self._second_ms, self._this_second_ms = self._this_second_ms, None


def _best(book: SimBook) -> tuple[str, str, str, str]:
    bids, asks = book.bids, book.asks
    return bids.prices[0], bids.amounts[0], asks.prices[0], asks.amounts[0]
