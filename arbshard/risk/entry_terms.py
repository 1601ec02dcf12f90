"""Computes what workers learn about entries in advance: each pair's level, room and bars, and what may be spent.
Pure.

A worker knows the serial of its newest answer and is given what has changed since. A round over all pairs takes at
least a second, a few pairs at each tick, so a worker's terms follow risk's within some two seconds. Risk checks all
of it again when an entry is submitted.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import get_args

from arbshard.config import SizingConfig
from arbshard.model.entry_terms import Bar, PairTerms
from arbshard.model.market import Direction, Pair
from arbshard.model.money import ZERO, plain
from arbshard.risk.limits.guard import RiskGuard
from arbshard.risk.shards.ownership import Ownership
from arbshard.risk.validation import Moment, Objection
from arbshard.wire.messages import EntryTerms

_PAIRS_PER_TICK = 40
"""Number of pairs per tick, which takes two milliseconds: risk must answer meanwhile."""
_ROUND_NS = 1_000_000_000
_LEVEL_STEP_BPS = 0.5
"""Levels are sent in such steps (bps); otherwise they would change with every sample."""
_DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


class TermsKeeper:
    """Holds the terms of all pairs, and the serial at which each was last changed."""

    def __init__(self, guard: RiskGuard, ownership: Ownership, session: int, sizing: SizingConfig) -> None:
        """Make the table. ``session`` is that of risk, so that the serials of two incarnations differ."""
        self._guard = guard
        self._ownership = ownership
        self._cost_min = sizing.entry_notional_min
        self._cost_max = 2 * sizing.entry_notional_max
        """More room than that makes no difference, and would be sent again after each trade."""
        self.serial = session << 32
        """The serial of the last change."""
        self._pairs: dict[str, tuple[int, PairTerms]] = {}
        self._free: dict[tuple[str, str], tuple[int, Decimal]] = {}
        self.bars: dict[str, tuple[Bar, ...]] = {}
        """Why pairs make no entry, by base; only those for which there is a reason."""
        self._queue: list[Pair] = []
        self._due_ns = 0

    def round_ns(self, tick_ns: int) -> int:
        """Return how long it takes at most until the terms of each pair have been calculated anew, with a call every
        ``tick_ns``.
        """
        calls = -(-len(self._ownership.pairs) // _PAIRS_PER_TICK)
        return max(_ROUND_NS, calls * tick_ns) + 2 * tick_ns

    @property
    def is_between_rounds(self) -> bool:
        """Return whether no pair's turn has come."""
        return not self._queue

    def rest(self, ticks: Sequence[int]) -> None:
        """Continue as if ``refresh`` had been called at each of ``ticks``, from between two rounds on, but leave the
        terms of the rounds out. They are right again once a round has gone by.
        """
        pairs = list(self._ownership.pairs.values())
        calls = max(-(-len(pairs) // _PAIRS_PER_TICK), 1)
        place = 0
        while (place := bisect_left(ticks, self._due_ns, min(place, len(ticks)))) < len(ticks):
            self._due_ns = ticks[place] + _ROUND_NS
            self._queue = pairs[: max(len(pairs) - _PAIRS_PER_TICK * (len(ticks) - place), 0)]
            place += calls

    def refresh(self, moment: Moment) -> bool:
        """Calculate the terms of the pairs whose turn it is. Returns whether that has completed a round."""
        if not self._queue:
            if moment.now_ns < self._due_ns:
                return False
            self._due_ns = moment.now_ns + _ROUND_NS
            pairs = self._ownership.pairs
            for gone in [base for base in self._pairs if base not in pairs]:
                del self._pairs[gone]
                self.bars.pop(gone, None)
            self._queue = list(pairs.values())
        serial = self.serial + 1
        for _ in range(min(_PAIRS_PER_TICK, len(self._queue))):
            self._refresh_pair(self._queue.pop(), moment, serial)
        return not self._queue

    def since(self, serial: int, bases: Iterable[str]) -> EntryTerms:
        """Return what has changed of these pairs and their balances since ``serial``, or everything if it is not
        ours.
        """
        if serial > self.serial:
            serial = 0
        pairs = []
        accounts: set[tuple[str, str]] = set()
        for base in bases:
            changed = self._pairs.get(base)
            pair = self._ownership.pairs.get(base)
            if changed is None or pair is None:
                continue
            if changed[0] > serial:
                pairs.append(changed[1])
            for leg in (pair.home, pair.away):
                accounts.update(
                    (leg.market.venue, currency) for currency in (leg.market.quote, leg.market.base)
                )
        available = tuple(
            (*account, self._free[account][1])
            for account in sorted(accounts)
            if account in self._free and self._free[account][0] > serial
        )
        return EntryTerms(self.serial, tuple(pairs), available)

    def _refresh_pair(self, pair: Pair, moment: Moment, serial: int) -> None:
        base = pair.base
        barred = []
        bars = []
        room, too_large = self._guard.room(base)
        no_room = None
        if room < self._cost_min:
            detail = f"{base}: the limit has room for {plain(max(room, ZERO))}, an entry has at least "
            no_room = Objection(too_large, f"{detail}{plain(self._cost_min)}")
        for direction in _DIRECTIONS:
            objection = no_room or self._guard.standing_objection(pair, direction, moment)
            if objection is not None:
                barred.append((direction, objection.reason))
                bars.append(Bar(direction, *objection))
        if len(bars) == len(_DIRECTIONS) and len({bar.detail for bar in bars}) == 1:
            bars = [Bar("", bars[0].reason, bars[0].detail)]
        if bars:
            self.bars[base] = tuple(bars)
        else:
            self.bars.pop(base, None)
        known = self._guard.baselines.get(base)
        terms = PairTerms(
            pair=base,
            level_bps=_rounded(known.level_bps) if known is not None else None,
            band_bps=_rounded(known.band_bps) if known is not None else None,
            cost_max=min(self._cost_max, max(room, ZERO)),
            edge_bps_min=self._guard.limits.portfolio().edge_bps_min,
            positions_max=self._guard.limits.of(base).max_positions,
            barred=tuple(barred),
        )
        before = self._pairs.get(base)
        if before is None or before[1] != terms:
            self._pairs[base] = serial, terms
            self.serial = serial
        for venue, currency, amount in self._guard.available_to_enter(pair):
            free = self._free.get((venue, currency))
            if free is None or free[1] != amount:
                self._free[venue, currency] = serial, amount
                self.serial = serial


def _rounded(bps: float) -> float:
    return round(bps / _LEVEL_STEP_BPS) * _LEVEL_STEP_BPS
