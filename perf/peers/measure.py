"""Defines what the peers do with a book update: they calculate the pair's edge, measure the latency, and
count.

This runs in the peer's environment, and uses the standard library only. ``run`` exchanges lines with it
over standard input and output: the peer prints ``ready``, receives ``start`` and ``stop``, and prints its
figures as JSON.
"""

import argparse
import asyncio
import gc
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

STAMP_BASE = 10**14
"""Equals ``perf.stamp.BASE``: a size from here on is this plus the microsecond at which the frame was due."""
BUCKETS = 320
_HOME_FEE, _AWAY_FEE = 5e-4, 1e-3
_SETTLED_US = 50_000
_SETTLE_S = 10.0
_READY_S = 40.0
_POLL_S = 0.1
_BPS = 1e4


def bucket_of(ns: int) -> int:
    """Return the bucket of a latency: log-linear, eight per power of two, as in ``arbshard.shm.pages``.

    With the same buckets the percentiles can be compared.
    """
    if ns < 16:
        return max(ns, 0)
    shift = ns.bit_length() - 4
    return min((shift << 3) + (ns >> shift), BUCKETS - 1)


def edges_bps(
    home_bid: float, home_ask: float, away_bid: float, away_ask: float, fx_bid: float, fx_ask: float
) -> tuple[float, float]:
    """Return the net edge of the first unit in basis points, for buying home and for buying away.

    The formula is that of ``arbshard.engine.edge.top_edge_bps``.
    """
    buy_home = away_bid / home_ask * fx_bid * (1 - _AWAY_FEE) / (1 + _HOME_FEE)
    buy_away = home_bid / away_ask / fx_ask * (1 - _AWAY_FEE) * (1 - _HOME_FEE)
    return (buy_home - 1) * _BPS, (buy_away - 1) * _BPS


@dataclass
class Pair:
    """Holds the best prices of one base on both venues."""

    home_bid: float = 0.0
    home_ask: float = 0.0
    away_bid: float = 0.0
    away_ask: float = 0.0
    stamped: set[str] = field(default_factory=set)
    """Venues from which a frame with a send time has come."""


class Addresses(NamedTuple):
    """Holds the URLs at which the generator listens."""

    upbit_rest: str
    upbit_ws: str
    binance_rest: str
    binance_ws: str


class Desk:
    """Keeps the pairs' prices and everything that is measured."""

    def __init__(self, bases: Sequence[str]) -> None:
        self.pairs = {base: Pair() for base in bases}
        self.fx_bid = self.fx_ask = 0.0
        self.best_bps = -_BPS
        self.errors = 0
        self.messages = 0
        """Book messages that the library has received."""
        self.reset()

    def reset(self) -> None:
        """Set everything that is measured to zero."""
        self.messages = self.decided = self.unstamped = self.total_ns = self.max_ns = 0
        self.buckets = [0] * BUCKETS

    def on_fx(self, bid: float, ask: float) -> None:
        """Update the best prices of FX."""
        self.fx_bid, self.fx_ask = bid, ask

    def on_home(self, base: str, bid: float, ask: float, bid_size: float) -> None:
        """Update the best prices of a home book, and evaluate the pair."""
        pair = self.pairs[base]
        pair.home_bid, pair.home_ask = bid, ask
        self._decide(pair, "home", bid_size)

    def on_away(self, base: str, bid: float, ask: float, bid_size: float) -> None:
        """Update the best prices of an away book, and evaluate the pair."""
        pair = self.pairs[base]
        pair.away_bid, pair.away_ask = bid, ask
        self._decide(pair, "away", bid_size)

    def _decide(self, pair: Pair, venue: str, bid_size: float) -> None:
        if not (pair.home_ask and pair.away_ask and self.fx_ask):
            if bid_size >= STAMP_BASE:
                pair.stamped.add(venue)
            return
        edges = edges_bps(
            pair.home_bid, pair.home_ask, pair.away_bid, pair.away_ask, self.fx_bid, self.fx_ask
        )
        self.best_bps = max(self.best_bps, *edges)
        self.decided += 1
        if bid_size < STAMP_BASE:
            self.unstamped += 1
            return
        if len(pair.stamped) < 2:
            pair.stamped.add(venue)
        ns = time.monotonic_ns() - (int(bid_size) - STAMP_BASE) * 1000
        self.buckets[bucket_of(ns)] += 1
        self.total_ns += max(ns, 0)
        self.max_ns = max(self.max_ns, ns)

    @property
    def is_complete(self) -> bool:
        """Return whether FX has prices and every pair has received stamped frames from both venues."""
        return bool(self.fx_ask) and all(len(pair.stamped) == 2 for pair in self.pairs.values())

    @property
    def median_us(self) -> float:
        """Return a rough median in microseconds, the upper end of its bucket; 0 when nothing was measured."""
        left = (sum(self.buckets) + 1) // 2
        for bucket, count in enumerate(self.buckets):
            left -= count
            if left <= 0 and count:
                return (bucket if bucket < 16 else (8 + (bucket & 7) + 1) << ((bucket >> 3) - 1)) / 1000
        return 0.0


def arguments_of(name: str) -> tuple[Addresses, list[str]]:
    """Return the addresses and bases that the command line gives."""
    parser = argparse.ArgumentParser(prog=name)
    for option in Addresses._fields:
        parser.add_argument(f"--{option.replace('_', '-')}", required=True)
    parser.add_argument("--bases", required=True, help="comma-separated")
    given = parser.parse_args()
    return Addresses(*(getattr(given, option) for option in Addresses._fields)), given.bases.split(",")


async def serve(desk: Desk, details: Callable[[], dict[str, str]]) -> None:
    """Print ``ready`` once every book has arrived, measure between ``start`` and ``stop``, and print the
    figures.

    ``details`` returns further settings that are shown beside the figures. Raises ``SystemExit`` when books
    are missing or another line than the expected one arrives.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _READY_S
    while not desk.is_complete:
        if loop.time() > deadline:
            missing = sum(len(pair.stamped) < 2 for pair in desk.pairs.values())
            raise SystemExit(
                f"{missing} of {len(desk.pairs)} pairs had no book on both venues in {_READY_S:g} s"
            )
        await asyncio.sleep(_POLL_S)
    gc.collect()
    gc.freeze()  # as arbshard does once everything is up
    await _settle(desk)
    print("ready", flush=True)
    await _line("start")
    desk.reset()
    began_ns, used_s = time.monotonic_ns(), _cpu_s()
    await _line("stop")
    figures = {
        "seconds": (time.monotonic_ns() - began_ns) / 1e9,
        "cpu_s": _cpu_s() - used_s,
        "messages": desk.messages,
        "decided": desk.decided,
        "unstamped": desk.unstamped,
        "errors": desk.errors,
        "buckets": desk.buckets,
        "total_ns": desk.total_ns,
        "max_ns": desk.max_ns,
        "details": details(),
    }
    print(json.dumps(figures), flush=True)


async def _settle(desk: Desk) -> None:
    """Wait until the backlog of the start is gone (a median below 50 ms), but at most 10 seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _SETTLE_S
    while loop.time() < deadline:
        desk.reset()
        await asyncio.sleep(0.5)
        if 0 < desk.median_us < _SETTLED_US:
            return


async def _line(wanted: str) -> None:
    """Wait for the line ``wanted`` on standard input. Raises ``SystemExit`` on another line and on the end
    of input.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[str] = loop.create_future()

    def read() -> None:
        loop.remove_reader(sys.stdin.fileno())
        arrived.set_result(sys.stdin.readline().strip())

    loop.add_reader(sys.stdin.fileno(), read)
    if await arrived != wanted:
        raise SystemExit(f"expected {wanted!r}")


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
