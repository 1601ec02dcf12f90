"""Measures how late a venue's frames come by the venue's own clock, and decides when one is too late to trade on.

The difference between the receipt of a frame and its sending is the lag plus the difference of two clocks, and only
the sum is known. So the smallest difference of the last hour counts as *usual*, and a frame is late when its
difference is more than ``data_quality.max_lag_ms`` above that. Two clocks of this computer measure it: monotonic
time, which cannot be set, and the wall clock, which the embedded exchanges use too. A frame is late only if it is
late by both. The usual difference never counts as more than five seconds by the wall clock, because a venue that is
late from the beginning would otherwise be taken for one whose clock is wrong.

``LagLimit`` is pure. ``LagWatch`` measures the newest frame of each market once a second, apart from the path of
the frames, and writes the limit beside each slot. The worker compares a frame with it when it is about to trade
(``engine.ArbitrageEngine``).
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import median_low
from typing import Protocol

from arbshard.clock import Clock
from arbshard.log import get_logger
from arbshard.repeat import repeat
from supervisor.feeds.fanout import VenueFanout
from supervisor.feeds.topics import ReadSlot

MEASURE_S = 1.0
"""Pause in seconds between two rounds over the markets."""
_AT_ONCE = 32
"""Most markets measured before other frames are handled."""
_MINUTE_NS = 60_000_000_000
_MINUTES = 60
_USUAL_NS_MAX = 5_000_000_000
_SHOWN_NS = 10_000_000_000
"""How long a market that was late is shown if no newer frame of it comes."""
_SHOWN_MAX = 10


class BoundedSlots(Protocol):
    """Is what ``LagWatch`` uses of the slots: ``shm.books.BooksWriter``."""

    def times(self, slot: int) -> tuple[int, int]:
        """Return when the slot's frame was received, and when it was last confirmed (monotonic nanoseconds)."""
        ...

    def set_late_after(self, slot: int, difference_ns: int) -> None:
        """Record above which difference of receipt and sending (nanoseconds) a frame in the slot is late."""
        ...


class _Usual:
    """Returns the smallest of the lower quartiles of the last ``_MINUTES`` minutes in which there were values.

    So unusual values of a few seconds have no effect, such as those of frames that were under way when a clock was
    set. The current minute counts only while there is no other.
    """

    def __init__(self) -> None:
        self._quartiles: deque[int] = deque(maxlen=_MINUTES)
        self._minute = 0
        self._values: list[int] = []

    def add(self, value: int, now_ns: int) -> int:
        """Add ``value``, and return what is usual. There is at most one value a second."""
        minute = now_ns // _MINUTE_NS
        if self._values and minute != self._minute:
            self._quartiles.append(_lower_quartile(self._values))
            self._values.clear()
        self._minute = minute
        self._values.append(value)
        return min(self._quartiles) if self._quartiles else _lower_quartile(self._values)


def _lower_quartile(values: Sequence[int]) -> int:
    return sorted(values)[len(values) // 4]


class LagLimit:
    """Derives the largest difference of receipt and sending with which a venue's frame is not late."""

    def __init__(self, lag_ns_max: int) -> None:
        self._lag_ns_max = lag_ns_max
        self._by_monotonic = _Usual()
        self._by_wall = _Usual()
        self._usual: tuple[int, int] | None = None
        self.median_ms: int | None = None
        """Lag of the last frames by this computer's wall clock, in milliseconds; None before the first."""

    def learn(self, differences_ns: Sequence[int], now_ns: int, wall_ms: int) -> None:
        """Add the differences of the frames that have come since the last call.

        Only their median counts, so that a single market with wrong times has no effect.
        """
        if differences_ns:
            clocks_ns = now_ns - wall_ms * 1_000_000
            median_ns = median_low(differences_ns)
            self._usual = (
                self._by_monotonic.add(median_ns, now_ns),
                self._by_wall.add(median_ns - clocks_ns, now_ns),
            )
            self.median_ms = (median_ns - clocks_ns) // 1_000_000

    def late_after_ns(self, now_ns: int, wall_ms: int) -> int:
        """Return the limit as a difference of monotonic receipt and sending by the venue's clock; 0 while unknown."""
        if self._usual is None:
            return 0
        clocks_ns = now_ns - wall_ms * 1_000_000
        monotonic_ns, wall_ns = self._usual
        usual_ns = min(max(monotonic_ns, clocks_ns + wall_ns), clocks_ns + _USUAL_NS_MAX)
        return usual_ns + self._lag_ns_max

    def max_ms(self, now_ns: int, wall_ms: int) -> int | None:
        """Return the limit as a lag in milliseconds by this computer's wall clock; None before the first frame."""
        if self._usual is None:
            return None
        return (self.late_after_ns(now_ns, wall_ms) - now_ns) // 1_000_000 + wall_ms


class LagWatch:
    """Measures the frames of one venue. ``run`` goes on until it is cancelled."""

    def __init__(
        self,
        fanout: VenueFanout,
        books: BoundedSlots,
        read_slot: ReadSlot,
        max_lag_ms: float,
        clock: Clock,
    ) -> None:
        """Prepare the measurement. With a ``max_lag_ms`` of 0 no frame is late."""
        self._fanout = fanout
        self._books = books
        self._read_slot = read_slot
        self._clock = clock
        self.is_on = max_lag_ms > 0
        """Whether ``run`` has anything to do."""
        self._limit = LagLimit(int(max_lag_ms * 1e6))
        self._measured: dict[str, int] = {}
        """When the frame of each market was received that was measured last (monotonic nanoseconds)."""
        self._new: dict[str, int] = {}
        """The differences found in this round, by market, in nanoseconds."""
        self._late: dict[str, int] = {}
        """Markets whose last frame was late, and when that was found (monotonic nanoseconds)."""

    @property
    def median_ms(self) -> int | None:
        """Return the newest frames' lag in ms by this computer's wall clock; None if frames have no time."""
        return self._limit.median_ms

    @property
    def max_ms(self) -> int | None:
        """Return the limit in milliseconds by the same clock; None while there is none."""
        return self._limit.max_ms(self._clock.monotonic_ns(), self._clock.wall_ms())

    @property
    def late(self) -> tuple[str, ...]:
        """Return the markets whose newest frame came late; a few at most."""
        return tuple(sorted(self._late)[:_SHOWN_MAX])

    async def run(self) -> None:
        """Measure all markets once a second."""
        await repeat(self.turns(), first_after_s=MEASURE_S)

    def turns(self) -> Callable[[], float]:
        """Return the function that ``run`` repeats, first after ``MEASURE_S``: it returns the pause after it in s."""
        return partial(self._measure_next, deque())

    def note(self, found: Iterable[tuple[str, int, int | None]]) -> None:
        """Measure a round from what is known of the newest frames of the markets of which there are new ones: market,
        time of receipt (monotonic nanoseconds), and time of sending by the venue's clock (ms; None if unknown).
        """
        for symbol, received_ns, sent_ms in found:
            self._note(symbol, received_ns, sent_ms)
        self._conclude()

    def pass_round(
        self,
        differences_ns: Sequence[int],
        found: Callable[[], Iterable[tuple[str, int, int | None]]],
    ) -> None:
        """Measure a round that another one follows before anything reads a limit or ``measured_ns``.

        ``differences_ns`` are those of what is ``found``, which is asked for only where a frame is or was late.
        """
        now_ns, wall_ms = self._clock.monotonic_ns(), self._clock.wall_ms()
        self._limit.learn(differences_ns, now_ns, wall_ms)
        late_after_ns = self._limit.late_after_ns(now_ns, wall_ms)
        if self._late or max(differences_ns, default=late_after_ns) > late_after_ns:
            for symbol, received_ns, sent_ms in found():
                self._note(symbol, received_ns, sent_ms)
            self._judge(late_after_ns, now_ns)

    def measured_ns(self, symbol: str) -> int:
        """Return when the frame of a market was received that was measured last; 0 for none."""
        return self._measured.get(symbol, 0)

    def set_measured(self, symbol: str, received_ns: int) -> None:
        """Note when the frame of a market was received that was measured last."""
        self._measured[symbol] = received_ns

    def _measure_next(self, waiting: deque[str]) -> float:
        """Measure the next few markets; return the pause after them in seconds."""
        if not waiting:
            waiting.extend(self._fanout.symbols)
        for _ in range(min(_AT_ONCE, len(waiting))):
            self._measure(waiting.popleft())
        if waiting:
            return 0.0
        self._conclude()
        return MEASURE_S

    def _measure(self, symbol: str) -> None:
        if symbol not in self._fanout.symbols:
            return  # taken out since the round began
        slot = self._fanout.slot_of(symbol)
        if self._books.times(slot)[0] == self._measured.get(symbol):
            return
        found = self._read_slot(slot)
        if found is None:
            return
        _, received_ns, _, frame = found
        self._note(symbol, received_ns, self._fanout.venue.sent_ms(frame))

    def _note(self, symbol: str, received_ns: int, sent_ms: int | None) -> None:
        self._measured[symbol] = received_ns
        if sent_ms is not None:
            self._new[symbol] = received_ns - sent_ms * 1_000_000
        else:
            self._late.pop(symbol, None)

    def _conclude(self) -> None:
        """Write the limit beside the slots, and note which markets are late."""
        now_ns, wall_ms = self._clock.monotonic_ns(), self._clock.wall_ms()
        self._limit.learn(tuple(self._new.values()), now_ns, wall_ms)
        late_after_ns = self._limit.late_after_ns(now_ns, wall_ms)
        for symbol in self._fanout.symbols:
            self._books.set_late_after(self._fanout.slot_of(symbol), late_after_ns)
        self._judge(late_after_ns, now_ns)

    def _judge(self, late_after_ns: int, now_ns: int) -> None:
        """Note which markets of this round are late, and whether any is."""
        before = self.late
        for symbol, difference_ns in self._new.items():
            if difference_ns > late_after_ns:
                self._late[symbol] = now_ns
            else:
                self._late.pop(symbol, None)
        self._new.clear()
        for symbol, found_ns in tuple(self._late.items()):
            if now_ns - found_ns > _SHOWN_NS or symbol not in self._fanout.symbols:
                del self._late[symbol]
        if bool(before) != bool(self._late):
            get_logger().warning(
                "frames come late" if self._late else "frames come in time again",
                venue=self._fanout.venue.name,
                markets=self.late,
                lag_ms=self.median_ms,
                lag_ms_max=self.max_ms,
            )
        for symbol in self._measured.keys() - self._fanout.symbols:
            del self._measured[symbol]
