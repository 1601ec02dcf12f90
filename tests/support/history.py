"""Makes a long ledger quickly: what a few real round trips leave, repeated under new ids, times and coins.

The first trips are decided by risk's own core. Their events become templates, so the result replays and verifies
like a ledger that grew by itself.
"""

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from arbshard.ledger import schema
from arbshard.ledger.events import (
    Event,
    ShardFenced,
    ShardJoined,
    Started,
    Stopped,
    encode_event,
    kind_of,
    subject_of,
)
from arbshard.ledger.postings import postings_of
from arbshard.ledger.store import LedgerStore
from arbshard.model.market import Direction
from arbshard.model.money import ZERO, plain
from support import world as w

_TOKEN = re.compile(r"s1-0-1-\d+|BTC|1795\d{9}")
_TRIP_MS = 30_000


class _Template:
    """One event with its id, coin and times left open."""

    def __init__(self, event: Event, ids: dict[str, str], start_ms: int) -> None:
        def leave_open(found: re.Match[str]) -> str:
            token = found.group()
            if token == "BTC":
                return "%(base)s"
            if token in ids:
                return f"%({ids[token]})s"
            return f"%(t{int(token) - start_ms})d"

        self.kind = kind_of(event)
        self.body = _TOKEN.sub(leave_open, encode_event(event).replace("%", "%%"))
        self.intent = ids[subject_of(event)[1]]
        self.at = f"t{event.at_ms - start_ms}"
        self.lines = [
            (account.replace("BTC", "%s"), currency, amount)
            for account, currency, amount in postings_of(event)
        ]


class _Trip:
    """The events of an entry and, if it is closed, of its exit."""

    def __init__(self, direction: Direction, home_out: int, *, events: slice = slice(None)) -> None:
        world = w.World(bases=("BTC",))
        before, start_ms = len(world.events), world.now_ms
        world.round_trip(direction=direction, home_out=Decimal(home_out))
        made = world.events[before:]
        ids = {"s1-0-1-1": "one", "s1-0-1-2": "two"}
        self.parts = [_Template(event, ids, start_ms) for event in made[events]]
        self.span = range(world.now_ms - start_ms + 1)


class _Refusal(_Trip):
    """What a second entry on a busy pair gets."""

    def __init__(self) -> None:
        world = w.World(bases=("BTC",))
        world.submit(world.entry())
        before, start_ms = len(world.events), world.now_ms
        world.submit(world.entry())
        ids = {"s1-0-1-2": "one", "s1-0-1-1": "two"}
        self.parts = [_Template(event, ids, start_ms) for event in world.events[before:]]
        self.span = range(world.now_ms - start_ms + 1)


class History:
    """Writes it. ``seq`` is the last event's number."""

    def __init__(self, pairs: int) -> None:
        self._trips = [
            _Trip("buy_away", 990_000),
            _Trip("buy_home", 1_012_000),
            _Trip("buy_away", 1_001_000),
        ]
        self._entry = _Trip("buy_away", 990_000, events=slice(5))
        self._approval = _Trip("buy_away", 990_000, events=slice(1))
        self._refusal = _Refusal()
        self._bases = [f"C{number:03d}" for number in range(pairs)]
        self._world = w.World(bases=tuple(self._bases), config=w.with_paper(quote_home=Decimal(10) ** 12))
        self._ms = self._world.now_ms + 1000
        self._session = 1
        self._serial = 0
        self._balances: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
        self._events: list[tuple[int, int, str, str, str, str]] = []
        self._lines: list[tuple[int, int, str, str, str, str]] = []
        self.seq = 0

    def write(
        self,
        path: Path,
        events: int,
        *,
        sessions: int = 4,
        positions: int = 0,
        intents: int = 0,
        stopped: bool = True,
    ) -> int:
        """At least ``events`` events; the last of ``sessions`` leaves so much open. Returns their number."""
        LedgerStore.open(path, name="sim", mode="sim-paper", now_ms=self._world.now_ms).close()
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA synchronous = OFF")
        try:
            for _ in self._history(events, sessions, positions, intents, stopped=stopped):
                connection.execute("BEGIN")
                connection.executemany(schema.INSERT_EVENT, self._events)
                connection.executemany(schema.INSERT_POSTING, self._lines)
                connection.execute("COMMIT")
                self._events.clear()
                self._lines.clear()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
        return self.seq

    def _history(
        self, events: int, sessions: int, positions: int, intents: int, *, stopped: bool
    ) -> Iterator[None]:
        """Hands over after every some ten thousand events."""
        for event in self._world.events:
            self._whole(event)
        pairs = len(self._bases)
        for session in range(1, sessions + 1):
            while self.seq < events * session / sessions:
                base = self._bases[self._serial % pairs]
                self._repeat(self._trips[self._serial % len(self._trips)], base)
                if self._serial % 3 == 0:
                    self._repeat(self._refusal, base)
                if len(self._events) > 20_000:
                    yield
            if session < sessions:
                self._stop()
                self._start()
        for base in self._bases[:positions]:
            self._repeat(self._entry, base)
        for base in self._bases[positions : positions + intents]:
            self._repeat(self._approval, base)
        if stopped:
            self._stop()
        yield

    def _start(self) -> None:
        self._session += 1
        run = f"run-{self._session}"
        self._whole(
            Started(
                at_ms=self._ms,
                session=self._session,
                run=run,
                mode="sim-paper",
                version="test",
                reporting="KRW",
            )
        )
        self._whole(ShardJoined(at_ms=self._ms, shard=0, epoch=1, pid=4242))
        self._whole(ShardFenced(at_ms=self._ms, shard=0, epoch=1, reason="no beat for 1.02 s"))
        self._serial = 0

    def _stop(self) -> None:
        owned = sorted(
            (account.removeprefix("venue:"), currency, amount)
            for (account, currency), amount in self._balances.items()
            if account.startswith("venue:")
        )
        self._whole(Stopped(at_ms=self._ms, balances=tuple(owned)))

    def _whole(self, event: Event) -> None:
        self.seq += 1
        self._events.append((self.seq, event.at_ms, kind_of(event), *subject_of(event), encode_event(event)))
        for number, (account, currency, amount) in enumerate(postings_of(event)):
            self._line(number, account, currency, amount)

    def _repeat(self, trip: _Trip, base: str) -> None:
        self._ms += _TRIP_MS
        one, two = (f"s{self._session}-0-1-{self._serial + more}" for more in (1, 2))
        self._serial += 2
        values: dict[str, Any] = {"base": base, "one": one, "two": two}
        values.update((f"t{more}", self._ms + more) for more in trip.span)
        for part in trip.parts:
            self.seq += 1
            at_ms, intent = values[part.at], values[part.intent]
            self._events.append((self.seq, at_ms, part.kind, base, intent, part.body % values))
            for number, (account, currency, amount) in enumerate(part.lines):
                whole = account % base if "%s" in account else account
                self._line(number, whole, base if currency == "BTC" else currency, amount)

    def _line(self, number: int, account: str, currency: str, amount: Decimal) -> None:
        key = account, currency
        after = self._balances[key] + amount
        self._balances[key] = after
        self._lines.append((self.seq, number, account, currency, plain(amount), plain(after)))
