"""Generates and keeps a simulated order book, whose levels are whole rungs and lots.

A level keeps its size from step to step, until the price moves past it, a taker takes of it, or a random order
changes it. Both sides count in keys: the rung itself for asks, its negative for bids, so that a side is always
sorted upwards and its best level comes first. ``market`` moves the book; the venues' frames print it.
"""

import math
import operator
import random
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from typing_extensions import override

from arbshard.exchanges.ladder import Ladder
from arbshard.exchanges.units import UNIT

_SIZE_SIGMA = 0.45
_GROWTH = 0.2
"""A level is worth this share more than the one before it."""
_STICKY_BPS = 0.3
_STICKY_TICKS = 0.2
"""Smaller moves of the price leave the quotes where they are; the larger of the two limits counts."""
_PRICE_TEXTS_KEPT = 4096
"""Prices whose texts are kept, per side: a market returns to the same prices again and again."""
_TURN = 2.0 * math.pi

PrintUnits = Callable[[int], str]


class Shape(NamedTuple):
    """Describes the form of a market's book."""

    depth: int
    lot: int
    """Step of sizes, in units of 1e-8."""
    spread_bps: float
    """Smallest distance of best bid and best ask, in basis points."""
    gap_bps: float
    """Mean distance of two levels, in basis points; one tick where that is more."""
    top_value: float
    """Value of the best level, in quote."""


class SimSide:
    """Holds one side of a book. Its four lists run in step; only the methods here change them."""

    __slots__ = (
        "_price_texts",
        "_text",
        "amounts",
        "changed",
        "eaten",
        "keys",
        "ladder",
        "prices",
        "sign",
        "sizes",
    )

    def __init__(self, sign: int, ladder: Ladder, text: PrintUnits) -> None:
        self.sign = sign
        """1 for asks, -1 for bids."""
        self.ladder = ladder
        self._text = text
        self._price_texts: dict[int, str] = {}
        self.keys: list[int] = []
        """Rung times sign, rising, so that the best comes first."""
        self.sizes: list[int] = []
        """Sizes in units of 1e-8, always whole lots."""
        self.prices: list[str] = []
        """Prices as the venue prints them, made once per level: books are printed far more often than changed."""
        self.amounts: list[str] = []
        """Sizes as the venue prints them."""
        self.changed: set[int] = set()
        """Keys whose size is not what it was before the last step, or that were removed."""
        self.eaten: set[int] = set()
        """Keys that customers' orders changed since the last step began; they count as changed in the next one."""

    def size_at(self, key: int) -> int:
        """Return the size at ``key`` in units of 1e-8; 0 when there is no such level."""
        index = bisect_left(self.keys, key)
        return self.sizes[index] if index < len(self.keys) and self.keys[index] == key else 0

    def price_text(self, key: int) -> str:
        """Return the price of ``key`` as the venue prints it."""
        known = self._price_texts.get(key)
        if known is None:
            if len(self._price_texts) >= _PRICE_TEXTS_KEPT:
                self._price_texts.clear()
            known = self._price_texts[key] = self._text(self.ladder.price(key * self.sign))
        return known

    def resize(self, index: int, size: int) -> None:
        """Give the level at ``index`` another size."""
        self.sizes[index] = size
        self.amounts[index] = self._text(size)
        self.changed.add(self.keys[index])

    def insert(self, index: int, keys: list[int], sizes: list[int]) -> None:
        """Insert new levels before the one at ``index``."""
        self.keys[index:index] = keys
        self.sizes[index:index] = sizes
        self.prices[index:index] = [self.price_text(key) for key in keys]
        self.amounts[index:index] = map(self._text, sizes)
        self.changed.update(keys)

    def remove(self, start: int, stop: int) -> None:
        """Remove the levels from ``start`` up to ``stop``."""
        self.changed.update(self.keys[start:stop])
        del self.keys[start:stop], self.sizes[start:stop], self.prices[start:stop], self.amounts[start:stop]

    def replace(self, keys: list[int], sizes: list[int]) -> None:
        """Replace all levels by these."""
        before = dict(zip(self.keys, zip(self.sizes, self.amounts, strict=True), strict=True))
        amounts = []
        for key, size in zip(keys, sizes, strict=True):
            known = before.pop(key, None)
            if known is not None and known[0] == size:
                amounts.append(known[1])
            else:
                self.changed.add(key)
                amounts.append(self._text(size))
        self.changed.update(before)
        self.keys, self.sizes, self.amounts = keys, sizes, amounts
        self.prices = [self.price_text(key) for key in keys]


class SimBook(ABC):
    """Holds bids and asks of one market and the number of its last update, and lets customers take of its levels."""

    def __init__(self, ladder: Ladder, text: PrintUnits) -> None:
        """Begin without levels; ``text`` prints units of 1e-8 as the venue does."""
        self.ladder = ladder
        self.bids = SimSide(-1, ladder, text)
        self.asks = SimSide(1, ladder, text)
        self.update_id = 0
        """Grows by one with every level that changes."""

    def begin_step(self) -> None:
        """Clear what the last step changed; what customers have taken since then counts as changed in this step."""
        for side in (self.bids, self.asks):
            side.changed.clear()
            if side.eaten:
                side.changed |= side.eaten
                side.eaten.clear()

    def number_changes(self) -> None:
        """Give the step's changes their update ids; this is called once, when all of a step is done."""
        self.update_id += len(self.bids.changed) + len(self.asks.changed)

    def eat(self, side: SimSide, sizes: Sequence[int]) -> None:
        """Take ``sizes`` (units, whole lots) from the best levels of ``side``, all but the last of them in full.

        A side is never left empty: another level is added behind the last one. The update id grows at once, so that
        a snapshot that is made now agrees with the stream; the stream publishes the change with the next step.
        """
        assert 0 < len(sizes) <= len(side.keys), (len(sizes), len(side.keys))
        assert all(map(operator.eq, sizes[:-1], side.sizes)), "a level was skipped"
        full = len(sizes) - 1
        rest = side.sizes[full] - sizes[-1]
        assert 0 <= rest < side.sizes[full], (sizes[-1], side.sizes[full])
        touched = set(side.keys[: len(sizes)])
        if rest:
            side.resize(full, rest)
        else:
            full += 1
            if full == len(side.keys):
                self.add_behind(side)
                touched.add(side.keys[-1])
        side.remove(0, full)
        side.eaten |= touched
        self.update_id += len(touched)

    @abstractmethod
    def add_behind(self, side: SimSide) -> None:
        """Add one more level behind the last one of ``side``."""


class GeneratedBook(SimBook):
    """Generates a book whose levels are drawn at random around a price that moves."""

    def __init__(
        self, ladder: Ladder, shape: Shape, text: PrintUnits, price: float, rng: random.Random
    ) -> None:
        """Lay the book around ``price`` (in quote); ``text`` prints units of 1e-8 as the venue does."""
        super().__init__(ladder, text)
        self._shape = shape
        self._rng = rng
        self._price = 0.0
        self._sticky = 0.0
        self._gap = 1
        self._grain = 1
        """Prices are multiples of so many rungs."""
        self._spare_normal: float | None = None
        """The second of two normal numbers that are drawn together."""
        self.step(price)
        self.update_id = 1 + rng.randrange(10**6, 10**9)

    def step(self, price: float, orders: int = 2) -> None:
        """Lay the quotes around ``price`` (in quote), and let ``orders`` random orders change one size each."""
        bids, asks = self.bids, self.asks
        self.begin_step()
        if abs(price - self._price) > self._sticky:
            self._requote(price)
        else:
            self._refill(bids)
            self._refill(asks)
        rng, depth = self._rng, self._shape.depth
        for _ in range(orders):
            side = bids if rng.random() < 0.5 else asks
            index = int(depth * rng.random() ** 2)
            side.resize(index, *self._sizes(index, 1))

    def change_rules(self, grain: int, lot: int) -> None:
        """Use, from now on, prices on every ``grain`` rungs, and sizes that are multiples of ``lot`` (units of
        1e-8).

        The levels are laid anew at once. As with ``eat``, the update id grows now and the next step publishes them.
        """
        self._grain = grain
        self._shape = self._shape._replace(lot=lot)
        for side in (self.bids, self.asks):
            side.changed.clear()
            side.remove(0, len(side.keys))
        self._requote(self._price)
        for side in (self.bids, self.asks):
            side.eaten |= side.changed
            self.update_id += len(side.changed)

    def consume(self, side: SimSide, share: float) -> int:
        """Take up to ``share`` of the best level of ``side``; return the size (units), 0 when nothing was taken."""
        lots = int(side.sizes[0] * share) // self._shape.lot
        taken = lots * self._shape.lot
        if not 0 < taken < side.sizes[0]:
            return 0
        side.resize(0, side.sizes[0] - taken)
        return taken

    @override
    def add_behind(self, side: SimSide) -> None:
        self._fill_back(side, 0, 1)

    def _refill(self, side: SimSide) -> None:
        """Add levels behind the last one for those that were taken; levels in front return with the next quotes."""
        missing = self._shape.depth - len(side.keys)
        if missing > 0:
            self._fill_back(side, 0, missing)

    def _requote(self, price: float) -> None:
        grain = self._grain
        tick = self.ladder.tick(price) / UNIT * grain
        tick_bps = tick / price * 10_000
        width = max(1, math.ceil(self._shape.spread_bps / tick_bps - 0.3))
        bid = self.ladder.floor(price - (width - 1) / 2 * tick) // grain * grain
        ask = bid + width * grain
        self._price = price
        self._sticky = max(_STICKY_BPS / 10_000 * price, _STICKY_TICKS * tick)
        self._gap = max(1, round(self._shape.gap_bps / tick_bps)) * grain
        self._lay(self.bids, -bid)
        self._lay(self.asks, ask)

    def _lay(self, side: SimSide, best: int) -> None:
        """Make ``best`` the best key of ``side``: remove levels that the price has passed, fill in front
        and behind.
        """
        keys, depth = side.keys, self._shape.depth
        gone = bisect_left(keys, best)
        if gone:
            side.remove(0, gone)
        if keys and keys[0] != best:
            if keys[0] - best < self._gap:  # too close for a level of its own: the best one moves up
                size = side.sizes[0]
                side.remove(0, 1)
                side.insert(0, [best], [size])
            else:
                self._fill_front(side, best)
        missing = depth - len(keys)
        if missing > 0:
            self._fill_back(side, best, missing)
        elif missing < 0:
            side.remove(depth, len(keys))

    def _fill_front(self, side: SimSide, best: int) -> None:
        front: list[int] = []
        key, behind = best, side.keys[0]
        while key < behind and len(front) < self._shape.depth:
            front.append(key)
            key += self._next_gap()
        side.insert(0, front, self._sizes(0, len(front)))

    def _fill_back(self, side: SimSide, best: int, missing: int) -> None:
        count = len(side.keys)
        key = side.keys[-1] + self._next_gap() if count else best
        back = [key]
        while len(back) < missing:
            key += self._next_gap()
            back.append(key)
        side.insert(count, back, self._sizes(count, missing))

    def _next_gap(self) -> int:
        grain = self._grain
        if self._gap == grain:
            return grain if self._rng.random() < 0.85 else 2 * grain
        return (int(self._gap // grain * (0.4 + 1.2 * self._rng.random())) or 1) * grain

    def _sizes(self, first: int, count: int) -> list[int]:
        """Draw the sizes of ``count`` levels, the first of which is the level number ``first``.

        The normal numbers are drawn as ``random.Random.gauss`` does (Box and Muller), inlined because the call would
        cost more than all the rest of a level.
        """
        shape, price, random_, spare = self._shape, self._price, self._rng.random, self._spare_normal
        lot, top_value = shape.lot, shape.top_value
        sizes = []
        for index in range(first, first + count):
            if spare is None:
                angle = random_() * _TURN
                radius = math.sqrt(-2.0 * math.log(1.0 - random_()))
                normal, spare = math.cos(angle) * radius, math.sin(angle) * radius
            else:
                normal, spare = spare, None
            value = top_value * (1 + _GROWTH * index) * math.exp(_SIZE_SIGMA * normal)
            sizes.append((int(value / price * UNIT) // lot or 1) * lot)
        self._spare_normal = spare
        return sizes
