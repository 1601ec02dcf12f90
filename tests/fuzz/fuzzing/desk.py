"""Target: risk. A desk that trades, while mutated requests and commands come in between its own.

The core is real, and so are its ledger and its page. Cases build on each other: to see one again, begin at the first.
"""

import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import TypeVar

from arbshard.clock import ManualClock
from arbshard.config import Config
from arbshard.errors import ProtocolError
from arbshard.ledger.replay import replay
from arbshard.ledger.store import LedgerStore
from arbshard.model.intent import Intent
from arbshard.risk.core import RiskCore, mode_of
from arbshard.risk.counters import COUNTERS, HISTOGRAMS
from arbshard.risk.portfolio.holdings import find_any_break
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.service import RiskService
from arbshard.shm.pages import PageReader, PageWriter
from arbshard.wire.messages import (
    Approved,
    Command,
    CommandReply,
    Conclude,
    Fund,
    Halt,
    Refused,
    Reply,
    Report,
    Request,
    Resume,
    Settled,
    Submit,
    decode_command,
    decode_command_reply,
    decode_reply,
    decode_request,
    encode,
)
from fuzzing import messages as made
from fuzzing.target import require
from support import world as w

_SEED = 7
_BASES = ("BTC", "ETH", "XRP")
_RENEWED = 400
"""Cases after which the desk begins anew: halts, limits and replaced shards would leave nothing to disturb."""
_TAG = "ab1cd"
_RECENT = 40
"""Good payloads of the talk, kept to be mutated."""


Answer = Reply | CommandReply
Result = TypeVar("Result")
Talk = Generator[Request | Command, Answer, Result]
"""What is said, and the answers to it."""


class _Running:
    """A run that goes on."""

    phase = 1
    beat_ns = back_ns = 0


class _Desk:
    """A service with everything around it, and a talk that trades."""

    def __init__(self, place: Path, number: int, *, live: bool) -> None:
        config = w.with_live() if live else Config()
        self.world = w.World(bases=_BASES, ready=False, config=config, tag=_TAG)
        self.venues = w.Venues(_BASES) if live else None
        ledger = place / f"ledger-{number}.sqlite"
        self.store = LedgerStore.open(ledger, name="sim", mode=mode_of(config), now_ms=1)
        self.page = PageWriter.create(place / "page", COUNTERS, HISTOGRAMS, 0)
        self.reader = PageReader.attach(place / "page")
        self.state: PortfolioState = self.world.state
        self.core = RiskCore(config, self.world.universe, self.state, _TAG)
        self.clock = ManualClock(wall_ms=self.world.now_ms)
        self.service = RiskService(self.core, self.store, self.page, _Running(), self.clock)
        self.service.start("run", "fuzz")
        self.talk = self._talk()
        self.said = next(self.talk)
        self.trades = 0

    def _talk(self) -> Talk[None]:
        """What a worker says (and the accounts process), one after another, whatever the answers."""
        world = self.world
        yield world.hello()
        yield from self._state()
        for base in _BASES:
            yield Fund(0, 1, base, w.HOME_PRICE)
        while True:
            for base in _BASES:
                yield from self._state()
                intent = world.entry(base)
                if not isinstance((yield Submit(0, 1, intent)), Approved):
                    continue
                settled = yield from self._carry_out(intent)
                position = settled.position if isinstance(settled, Settled) else None
                if position is None or position.state != "OPEN":
                    continue
                leaving = world.exit_of(position)
                if isinstance((yield Submit(0, 1, leaving)), Approved):
                    yield from self._carry_out(leaving, done=True)
                    self.trades += 1

    def _state(self) -> Talk[None]:
        """Live: both venues state what they hold."""
        if self.venues is not None:
            for venue in (w.HOME, w.AWAY):
                yield self.venues.statement(venue, self.world.now_ms)

    def _carry_out(self, intent: Intent, *, done: bool = False) -> Talk[Answer]:
        for order in (intent.home, intent.away):
            result = w.filled(order)
            if self.venues is not None:
                for fill in result.fills:
                    self.venues.fill(fill)
            yield Report(0, 1, intent.intent_id, result)
        return (yield Conclude(0, 1, intent.intent_id, w.HOME_PRICE, w.FX, done))

    def events(self) -> int:
        return self.reader.value("events")

    def close(self) -> None:
        self.store.abandon()
        self.page.close()
        self.reader.close()


class RiskTarget:
    """``RiskService.handle``."""

    blind = 0.1

    def __init__(self, *, live: bool) -> None:
        self.name = "risk, live" if live else "risk, paper"
        self._live = live
        rng = Random(_SEED)
        self._made = made.risk_payloads(rng, 4)
        self._recent: list[bytes] = []
        self.corpus: list[bytes] = list(self._made)
        self._rng = rng
        self._stack = ExitStack()
        self._place = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="arbfuzz-")))
        self._fed = 0
        self.trades = 0
        self._desk = _Desk(self._place, 0, live=live)
        self._note(encode(self._desk.said))

    def __call__(self, case: bytes) -> str:
        """One reply each; what is bad is counted; what left no event left no other trace; the books balance."""
        self._fed += 1
        if self._fed % _RENEWED == 0:
            self._renew()
        desk = self._desk
        desk.clock.advance_ms(1)
        desk.world.now_ms = desk.clock.wall_ms()
        bad, events = desk.reader.value("bad"), desk.events()
        looks = self._fed % 5 == 0
        before = desk.state.state_hash() if looks else ""
        (raw,) = self._handle([case])
        is_message = _is_message(case)
        require(
            desk.reader.value("bad") - bad == int(not is_message), "not counted as bad, or counted and good"
        )
        require(is_message or desk.events() == events, "garbage has left an event")
        if looks and desk.events() == events:
            require(desk.state.state_hash() == before, "changed without an event")
        outcome = _named(raw)
        if self._rng.random() < 0.5:
            self._go_on(case)
        return outcome if is_message else "no message"

    def _go_on(self, case: bytes) -> None:
        """The desk's own next request, with the case beside it in one batch."""
        desk = self._desk
        payload = encode(desk.said)
        batch = [payload, case] if self._rng.random() < 0.3 else [payload]
        reply = _answer_of(self._handle(batch)[0])
        if desk.core.state.standing.halt is not None:
            self._handle([encode(Resume("fuzz"))])
        desk.said = desk.talk.send(reply)
        self._note(encode(desk.said))

    def _handle(self, batch: list[bytes]) -> list[bytes]:
        desk = self._desk
        replies = desk.service.handle(batch)
        require(len(replies) == len(batch), f"{len(replies)} replies to {len(batch)}")
        broken = find_any_break(desk.state.balances, desk.store.balances, desk.state.transfers.under_way())
        require(broken is None and desk.core.broken is None, f"the books do not balance: {broken}")
        return replies

    def _note(self, payload: bytes) -> None:
        """The payload that comes next may be mutated, before and after it is sent."""
        self._recent = [*self._recent[-_RECENT:], payload]
        # As many as of the others: a talk that goes on is the best there is to disturb.
        self.corpus = [
            *self._made,
            *self._recent,
            *self._recent,
            payload,
            payload,
            payload,
            encode(Halt("x", False)),
        ]

    def _renew(self) -> None:
        self._check_ledger()
        self.trades += self._desk.trades
        self._desk.close()
        self._desk = _Desk(self._place, self._fed, live=self._live)
        self._recent.clear()
        self._note(encode(self._desk.said))

    def _check_ledger(self) -> None:
        """What was stored gives the same state again."""
        again = PortfolioState()
        replay(self._desk.store.events(), again)
        require(again.state_hash() == self._desk.state.state_hash(), "the ledger tells another state")

    def close(self) -> None:
        """The last ledger, too; and there must have been something to disturb."""
        try:
            self._check_ledger()
            self.trades += self._desk.trades
            require(self._fed < 1000 or self.trades > self._fed // 200, f"only {self.trades} round trips")
        finally:
            self._desk.close()
            self._stack.close()


def _is_message(case: bytes) -> bool:
    for decode in (decode_request, decode_command):
        try:
            decode(case)
        except ProtocolError:
            continue
        return True
    return False


def _answer_of(raw: bytes) -> Answer:
    """Raises ``ProtocolError`` for what is no answer at all."""
    try:
        return decode_reply(raw)
    except ProtocolError:
        return decode_command_reply(raw)


def _named(raw: bytes) -> str:
    answer = _answer_of(raw)
    return answer.reason.name if isinstance(answer, Refused) else type(answer).__name__
