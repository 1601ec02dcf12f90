"""Confirms which quiet books are still their markets' newest ones. Exits rely on it.

A book that does not change brings no frame, so its age alone does not show whether it is current. Two things do:

- Its connection shows signs of life: a frame of any market, or the answer to a ping. What the venue had sent before
  has then come, too. This confirms a book for ``quiet_confirm_s`` after its own last proof, and no longer: the venue
  may have stopped this one market.
- REST shows the same book. It is asked about markets with an open position or an intent under way, half of
  ``quiet_confirm_s`` after the last proof, or as soon as the connection shows no signs of life.

If REST shows a newer book, that one is written into the slot, and the stream of the market is suspected. Signs of
life no longer count until the stream has brought a frame. If it brings none within two seconds, it is dead: this is
counted and alerted, the market is subscribed to anew, and then its connection is renewed. Meanwhile REST brings its
books.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from random import Random
from typing import Protocol

from arbshard.clock import Clock
from arbshard.config import DataConfig
from arbshard.data.poller import RestPoller
from arbshard.data.reconnect import Backoff
from arbshard.errors import FrameError
from arbshard.log import get_logger
from arbshard.model.book import OrderBookSnapshot
from arbshard.repeat import repeat
from arbshard.venues.base.client import Fetch
from arbshard.venues.base.market import ControlFrame
from arbshard.venues.base.rest import BookRequest
from arbshard.venues.registry import get_adapter
from supervisor.feeds.fanout import VenueFanout
from supervisor.feeds.topics import ReadSlot

CONFIRM_S = 0.2
"""Pause in seconds between two rounds over the connections."""
_BUDGET_SHARE = 0.25
"""Part of the poller's rate that may be used here: the fallback of markets without a stream needs the rest."""
_AT_ONCE = 8
"""Most markets asked about in one round, so that those that become due meanwhile do not wait for many others."""
_SUSPECT_NS = 2_000_000_000
"""Longest time that a frame may be under way while REST shows a newer book already."""
_REMEDY_NS = 5_000_000_000
_REMEDY_NS_MAX = 600_000_000_000


class Carrier(Protocol):
    """Is a connection that brings markets: ``connection.FeedConnection``."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the symbols of the markets that it carries."""
        ...

    def alive_ns(self, now_ns: int) -> int:
        """Return until when it is known to have brought what the venue sent (monotonic nanoseconds).

        It is 0 while it is not up.
        """
        ...

    def ping(self, now_ns: int, pause_ns: int) -> None:
        """Send a ping, unless that was done less than ``pause_ns`` nanoseconds ago."""
        ...

    def frames_received(self, symbol: str) -> int:
        """Return the number of a market's frames on the stream that is open."""
        ...

    def ask_again(self, symbol: str) -> None:
        """Subscribe anew to a market."""
        ...

    def renew(self) -> None:
        """Replace the stream by a new one."""
        ...


class _AttendedMarket:
    """Is a market whose position may have to be closed. All its times are monotonic nanoseconds."""

    def __init__(self, slot: int, random: Random) -> None:
        self.slot = slot
        self.shown_ns = 0
        """When REST was asked that showed the book in the slot; 0 for never."""
        self.frames = 0
        """Number of frames from the streams when REST was last asked; under suspicion, when that began."""
        self.suspected_ns = 0
        """Since when REST has been ahead of the stream; 0 if it is not."""
        self.remedies = 0
        self.remedy_ns = 0
        """Before this time no further remedy is applied."""
        self.is_failing = False
        """Whether the last call brought no book of it."""
        self.backoff = Backoff(random)
        self.ask_ns = 0
        """Before this time REST is not asked."""


class BookConfirmation:
    """Confirms the quiet books of one venue. ``run`` and ``ask`` go on until they are cancelled."""

    def __init__(
        self,
        fanout: VenueFanout,
        groups: Callable[[], Sequence[Sequence[Carrier]]],
        books: "ConfirmableSlots",
        read_slot: ReadSlot,
        quality: DataConfig,
        fx_slot: int,
        rest_url: str,
        depth: int,
        clock: Clock,
        fetch: Fetch,
        alert: Callable[[str], None],
    ) -> None:
        """Prepare the confirmation. ``groups`` returns the connections; those of one group carry the same markets."""
        name = fanout.venue.name
        self._name = name
        self._fanout = fanout
        self._groups = groups
        self._books = books
        self._read_slot = read_slot
        self._clock = clock
        self._alert = alert
        self._depth = depth
        self._rest = get_adapter(name).rest
        self._lane = fanout.lane(self._on_control)
        self._poller = RestPoller(name, rest_url, self._rest, clock, fetch, self, CONFIRM_S, _BUDGET_SHARE)
        self._random = Random(f"{name}:confirmation")
        quiet_ns = int(quality.quiet_confirm_s * 1e9)
        age_ns = int(quality.max_book_age_ms * 1e6)
        fx_age_ns = int(quality.max_fx_age_ms * 1e6)
        self._fx_slot = fx_slot
        # A book may be used for its greatest age after it was confirmed, and that is to end with ``quiet_confirm_s``.
        self._reach_ns = max(quiet_ns - age_ns, 0)
        self._fx_reach_ns = max(quiet_ns - max(fx_age_ns, age_ns), 0)
        self._ask_after_ns = quiet_ns // 2
        self._unconfirmed_ns = age_ns * 4 // 5
        self._ping_after_ns = age_ns // 2
        self._attended: frozenset[int] = frozenset()
        self._markets: dict[str, _AttendedMarket] = {}
        self._lives: dict[Carrier, tuple[int, ...]] = {}
        """The newest sign of life of each of a group's connections at its last round, by the group's first
        connection."""
        self._is_due = asyncio.Event()
        """Set while REST is to be asked about a market."""
        self.confirmed = 0
        """Number of books that REST has shown unchanged."""
        self.dead = 0
        """How often the stream of a market had stopped though its connection was alive."""
        self.bad = 0
        """Number of books in an answer that could not be read."""
        self.last_error = ""

    def attend(self, slots: frozenset[int]) -> None:
        """Keep the books in these slots confirmed, because a position or an intent is open on their markets."""
        if slots != self._attended:
            self._attended = slots

    async def run(self) -> None:
        """Confirm books by the signs of life of their connections."""
        await repeat(self.turns(), first_after_s=CONFIRM_S)

    def turns(self) -> Callable[[], float]:
        """Return the function that ``run`` repeats, first after ``CONFIRM_S``: it returns the pause after it in s."""
        return partial(self._confirm_next, deque())

    @property
    def is_attending(self) -> bool:
        """Return whether the books of any market must be kept confirmed."""
        return bool(self._attended or self._markets)

    def _confirm_next(self, waiting: deque[Sequence[Carrier]]) -> float:
        """Confirm the books of the next group; return the pause after it in seconds.

        Frames are handled in between.
        """
        if not waiting:
            self._follow()
            waiting.extend(self._groups())
            if len(self._lives) > len(waiting):  # some are of connections that have been closed
                self._lives.clear()
        if waiting:
            self._confirm_by_life(waiting.popleft(), self._clock.monotonic_ns())
        if waiting:
            return 0.0
        if self._markets and self._due(self._clock.monotonic_ns()):
            self._is_due.set()
        return CONFIRM_S

    async def ask(self) -> None:
        """Confirm books over REST."""
        while True:
            await self._is_due.wait()
            due = self._due(self._clock.monotonic_ns())
            # Refused markets are asked about alone, because one of them spoils the answer for all others.
            together = [symbol for symbol in due if not self._markets[symbol].is_failing]
            alone = [[symbol] for symbol in due if self._markets[symbol].is_failing]
            for symbols in ([together] if together else []) + alone:
                await self._poller.ask_once(symbols, self._depth)
            self._is_due.clear()  # the next round sets it again if there is more to ask

    def answered(self, call: BookRequest, body: bytes, asked_ns: int) -> None:
        """Compare the books of an answer with those that the streams have brought. Implements ``poller.Taker``.

        Raises ``FrameError`` for an answer without books.
        """
        missing = dict.fromkeys(call.symbols)
        for frame in self._rest.frames(call, body):
            symbol = self._fanout.venue.route(frame)
            if symbol in missing:
                del missing[symbol]
                self._compare(symbol, frame, asked_ns)
        for symbol in missing:
            self._failed(symbol, "not in the answer")

    def missed(self, call: BookRequest, what: str, why: str) -> None:
        """Record that the markets of a call were not confirmed. Implements ``poller.Taker``."""
        for symbol in call.symbols:
            self._failed(symbol, f"{what}: {why}")

    def close(self) -> None:
        """Write no more books."""
        self._lane.close()

    def _follow(self) -> None:
        """Attend to the markets of this venue that are in the slots concerned."""
        slots = self._attended
        if not slots and not self._markets:
            return
        for symbol in self._fanout.symbols:
            slot = self._fanout.slot_of(symbol)
            market = self._markets.get(symbol)
            if slot in slots and (market is None or market.slot != slot):
                self._markets[symbol] = _AttendedMarket(slot, self._random)
        for symbol, market in tuple(self._markets.items()):
            if market.slot not in slots or symbol not in self._fanout.symbols:
                del self._markets[symbol]

    def _confirm_by_life(self, group: Sequence[Carrier], now_ns: int) -> None:
        lives = tuple([one.alive_ns(now_ns) for one in group])
        alive_ns = max(lives)
        symbols: Iterable[str] = group[0].symbols
        if self._lives.get(group[0]) == lives:
            # No connection has shown a new sign of life, so none of its books can be confirmed for longer by it.
            # Only the markets attended to are examined: for them REST may have shown a book, or a ping may be due.
            symbols = [symbol for symbol in symbols if symbol in self._markets] if self._markets else ()
        self._lives[group[0]] = lives
        wants_sign = False
        fanout, times, markets = self._fanout, self._books.times, self._markets
        for symbol in symbols:
            slot = fanout.slot_of(symbol)
            if slot in fanout.down:
                continue
            received_ns, confirmed_ns = times(slot)
            market = markets.get(symbol)
            proof_ns = received_ns
            if market is not None:
                proof_ns = max(proof_ns, market.shown_ns)
                wants_sign = wants_sign or now_ns - received_ns > self._ping_after_ns
                if market.suspected_ns and self._is_suspect(symbol, market, group, now_ns):
                    continue
            reach_ns = self._fx_reach_ns if slot == self._fx_slot else self._reach_ns
            until_ns = min(alive_ns, proof_ns + reach_ns)
            if until_ns <= received_ns or until_ns <= confirmed_ns:
                continue
            # A new connection proves that a market's book is current only once it has brought the market.
            carried_ns = _carried_ns(group, lives, symbol)
            self._books.confirm(slot, max(min(until_ns, carried_ns), confirmed_ns))
        if wants_sign and now_ns - alive_ns > self._ping_after_ns:
            for connection in group:
                connection.ping(now_ns, self._ping_after_ns)

    def _is_suspect(
        self, symbol: str, market: _AttendedMarket, group: Sequence[Carrier], now_ns: int
    ) -> bool:
        """Return whether the stream of the market is still behind REST, and apply a remedy if that lasts."""
        if _frames(group, symbol) != market.frames:
            market.suspected_ns = market.remedies = market.remedy_ns = 0
            return False
        if now_ns - market.suspected_ns >= _SUSPECT_NS and now_ns >= market.remedy_ns:
            self._remedy(symbol, market, group)
            pause_ns = min(_REMEDY_NS << min(market.remedies, 16), _REMEDY_NS_MAX)
            market.remedies += 1
            market.remedy_ns = now_ns + pause_ns
        return True

    def _remedy(self, symbol: str, market: _AttendedMarket, group: Sequence[Carrier]) -> None:
        """Subscribe to the market anew; the second time renew its connection, because something else may be wrong."""
        renews = market.remedies == 1
        what = "its connection is renewed" if renews else "it is subscribed to anew"
        if market.remedies == 0:
            self.dead += 1
            self._alert(f"{self._name}: the stream of {symbol} has stopped, REST shows a newer book; {what}")
        else:
            get_logger().warning("dead stream", venue=self._name, symbol=symbol, remedy=what)
        for connection in group:
            if renews:
                connection.renew()
            else:
                connection.ask_again(symbol)

    def _due(self, now_ns: int) -> list[str]:
        """Return the markets to ask about now, the one with the oldest proof first."""
        due: list[tuple[int, str]] = []
        for symbol, market in self._markets.items():
            received_ns, confirmed_ns = self._books.times(market.slot)
            proof_ns = max(received_ns, market.shown_ns)
            known_ns = max(received_ns, confirmed_ns)
            is_due = now_ns - known_ns > self._unconfirmed_ns or now_ns - proof_ns > self._ask_after_ns
            if not is_due or now_ns < market.ask_ns:
                continue
            group = next((group for group in self._groups() if symbol in group[0].symbols), None)
            if group is None or symbol not in self._fanout.symbols or self._fanout.is_down(symbol):
                continue  # the fallback asks for a market that is down
            if not market.suspected_ns:
                market.frames = _frames(group, symbol)
            due.append((proof_ns, symbol))
        return [symbol for _, symbol in sorted(due)[:_AT_ONCE]]

    def _compare(self, symbol: str, frame: bytes, asked_ns: int) -> None:
        market = self._markets.get(symbol)
        if market is None or symbol not in self._fanout.symbols or self._fanout.is_down(symbol):
            return
        found = self._read_slot(market.slot)
        if found is None or found[1] > asked_ns:
            return  # the stream has brought a frame since
        ours, theirs = self._decode(symbol, found[3], found[1]), self._decode(symbol, frame, asked_ns)
        number = self._fanout.venue.sequence_number
        our_number, their_number = number(found[3]), number(frame)
        if theirs is None or our_number is None or their_number is None:
            self._failed(symbol, "no book that can be compared")
            return
        if their_number < our_number:
            self._failed(symbol, "an older book than the stream's")
            return
        if ours is not None and _is_same(ours, theirs):
            self._books.confirm(market.slot, max(asked_ns, self._books.times(market.slot)[1]))
            self.confirmed += 1
        elif their_number > our_number:
            self._lane.attach((symbol,))
            self._lane(frame, asked_ns)
            self._lane.detach((symbol,))
            self._books.confirm(market.slot, asked_ns)
            market.suspected_ns = market.suspected_ns or self._clock.monotonic_ns()
        else:
            self._failed(symbol, "another book of the same number")
            return
        market.shown_ns = asked_ns
        market.is_failing = False
        market.ask_ns = 0
        market.backoff.succeeded()

    def _decode(self, symbol: str, frame: bytes, received_ns: int) -> OrderBookSnapshot | None:
        try:
            return self._fanout.venue.decode(frame, received_ns)
        except FrameError as error:
            self.bad += 1
            self.last_error = f"{symbol}: {error}"
            return None

    def _failed(self, symbol: str, why: str) -> None:
        """Note that REST has not confirmed the book: it is asked again after a pause that grows."""
        self.last_error = f"{symbol} not confirmed: {why}"
        market = self._markets.get(symbol)
        if market is not None:
            market.is_failing = True
            market.ask_ns = self._clock.monotonic_ns() + int(market.backoff.after_loss(0) * 1e9)

    def _on_control(self, _: ControlFrame) -> None:
        self.bad += 1


class ConfirmableSlots(Protocol):
    """Is what a confirmation uses of the slots: ``shm.books.BooksWriter``."""

    def times(self, slot: int) -> tuple[int, int]:
        """Return when the slot's frame was received, and when it was last confirmed (monotonic nanoseconds)."""
        ...

    def confirm(self, slot: int, at_ns: int) -> None:
        """Record that the slot's book was still the newest one at ``at_ns`` (monotonic nanoseconds)."""
        ...


def _carried_ns(group: Sequence[Carrier], lives: tuple[int, ...], symbol: str) -> int:
    """Return the newest sign of life of the connections that have brought a market; 0 if none has."""
    carried_ns = 0
    for one, life_ns in zip(group, lives, strict=True):
        if life_ns > carried_ns and one.frames_received(symbol):
            carried_ns = life_ns
    return carried_ns


def _frames(group: Sequence[Carrier], symbol: str) -> int:
    return sum(one.frames_received(symbol) for one in group)


def _is_same(ours: OrderBookSnapshot, theirs: OrderBookSnapshot) -> bool:
    """Return whether two books show the same levels, as far as both go."""
    bids, asks = min(len(ours.bids), len(theirs.bids)), min(len(ours.asks), len(theirs.asks))
    return ours.bids[:bids] == theirs.bids[:bids] and ours.asks[:asks] == theirs.asks[:asks]
