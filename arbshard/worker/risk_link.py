"""Connects the worker to risk: typed questions, asked until they are answered.

It fails closed: while risk is silent the pair concerned stays busy and trades nothing. A question is repeated under
its own ids, so asking twice changes nothing.

A refusal concerns its pair and never ends the worker, unless a newer incarnation has taken over. When risk refuses
a report, a hedge or a conclusion of an open intent, the pair is set apart and the request is repeated with growing
pauses: nothing goes on as if it had been booked. A person can end the intent (``arbshard reconcile --end-intent``).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from typing import Protocol, TypeVar, overload

from arbshard.errors import ProtocolError, TransportError
from arbshard.execution.ports import Fenced, IntentOver
from arbshard.log import get_logger
from arbshard.model.intent import ApartCause, FxQuote, Intent
from arbshard.model.order import Order, OrderResult
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import (
    Adopt,
    Approved,
    Conclude,
    EntryTerms,
    Extend,
    Fund,
    Funded,
    Hello,
    Instructed,
    Instructions,
    Noted,
    ReadTerms,
    Refused,
    Reply,
    Report,
    Request,
    SetApart,
    Settled,
    Submit,
    Welcome,
    decode_reply,
    encode,
)

_AGAIN_AFTER_S = 0.1
_REPORT, _EXIT, _ENTRY = 0, 1, 2
"""Order in which waiting questions are sent: what is known first, new risk last."""

_REFUSED_PAUSE_S = 0.5
_REFUSED_PAUSE_MAX_S = 30.0
"""The first and the longest pause, in seconds, before a request is repeated that risk has refused."""
_EXPECTED = (
    Refusal.NOT_FUNDED,
    Refusal.NO_STATEMENT,
    Refusal.NOT_OWNER,
    Refusal.UNKNOWN_PAIR,
    Refusal.PAIR_BUSY,
)
"""Refusals of ``Fund`` and ``Adopt`` that end by themselves: a statement comes, one of both sides has an older
universe, or the former owner of a pair is still at work."""

Answer = TypeVar("Answer", bound=Reply)


class RiskTransport(Protocol):
    """Carries the questions to risk."""

    def request(self, payload: bytes, *, priority: int = 0) -> Awaitable[bytes]:
        """Send one question and return its coming answer. Raises ``TransportError``, here or there."""
        ...


class RiskLink:
    """Implements ``execution.ports.RiskPort`` for one shard."""

    def __init__(
        self, transport: RiskTransport, shard: int, epoch: int, on_silence: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._shard = shard
        self._epoch = epoch
        self._on_silence = on_silence
        """Called each time a question stayed without an answer."""
        self._pair_of: dict[str, str] = {}
        """Pairs of open intents, by intent."""
        self._begun: dict[str, asyncio.Future[bytes]] = {}
        """The coming answers about intents that ``begin`` has asked for, by intent."""
        self._refused: dict[str, Refusal] = {}
        """The last refusal of each question, so that a repetition is not logged again."""

    async def hello(self, pid: int, pairs: tuple[str, ...]) -> Welcome:
        """Introduce this incarnation. Raises ``Fenced`` if a newer one has taken over, as every question does."""
        return self._remember(await self._ask(Hello(self._shard, self._epoch, pid, pairs), Welcome))

    async def fund(self, pair: str, home_price: Decimal) -> Funded | None:
        """Have the pair's paper inventory opened.

        None means that this is not possible yet, for example because both venues must first state what we own
        there.
        """
        reply = await self._until_answered(Fund(self._shard, self._epoch, pair, home_price), _REPORT)
        return self._unless_refused(reply, Funded, f"Fund {pair}", _EXPECTED)

    async def adopt(self, pairs: tuple[str, ...]) -> Welcome | None:
        """Return what has to be continued of pairs that have come to this shard; None if risk does not yet agree."""
        reply = await self._until_answered(Adopt(self._shard, self._epoch, pairs), _REPORT)
        welcome = self._unless_refused(reply, Welcome, f"Adopt {','.join(pairs)}", _EXPECTED)
        return self._remember(welcome) if welcome is not None else None

    async def instructions(self) -> Instructed:
        """Return what has to be done beside trading."""
        return await self._ask(Instructions(self._shard, self._epoch), Instructed)

    async def entry_terms(self, serial: int) -> EntryTerms:
        """Return what entries may be made, as far as it has changed since ``serial``."""
        return await self._ask(ReadTerms(self._shard, self._epoch, serial), EntryTerms)

    def begin(self, intent: Intent) -> None:
        """Ask risk to approve ``intent`` now, in this call. ``submit``, which has to follow, waits for the answer."""
        payload = encode(Submit(self._shard, self._epoch, intent))
        with suppress(TransportError):  # ``submit`` asks again, and says why it cannot
            coming = self._transport.request(payload, priority=_priority_of(intent))
            self._begun[intent.intent_id] = asyncio.ensure_future(coming)

    async def submit(self, intent: Intent) -> Approved | Refused:
        """Ask risk to approve ``intent``, unless ``begin`` has, and return the answer."""
        request = Submit(self._shard, self._epoch, intent)
        begun = self._begun.pop(intent.intent_id, None)
        reply = await self._until_answered(request, _priority_of(intent), begun)
        if isinstance(reply, Approved):
            self._pair_of[intent.intent_id] = intent.pair
        elif not isinstance(reply, Refused):
            raise _unexpected(reply, Submit)
        return reply

    async def extend(self, intent_id: str, order: Order) -> Approved | Refused:
        """Ask risk to approve a further order of an open intent. Raises ``IntentOver`` if the intent is not open."""
        return await self._until_accepted(Extend(self._shard, self._epoch, intent_id, order), Approved)

    async def report(self, intent_id: str, result: OrderResult) -> None:
        """Report the result of an order. Raises ``IntentOver`` if the intent is not open."""
        await self._until_accepted(Report(self._shard, self._epoch, intent_id, result), Noted)

    async def conclude(self, intent_id: str, mark: Decimal, fx: FxQuote, *, done: bool) -> Settled:
        """Conclude an intent, and return what has been settled."""
        request = Conclude(self._shard, self._epoch, intent_id, mark, fx, done)
        settled = await self._until_accepted(request, Settled)
        self._pair_of.pop(intent_id, None)
        return settled

    async def set_apart(self, pair: str, cause: ApartCause, reason: str, intent_id: str = "") -> None:
        """Have a pair set apart. A refusal is only logged, because the caller goes on in any case."""
        request = SetApart(self._shard, self._epoch, pair, cause, reason, intent_id)
        reply = await self._until_answered(request, _REPORT)
        self._unless_refused(reply, Noted, f"SetApart {pair}")

    def _remember(self, welcome: Welcome) -> Welcome:
        for one in welcome.intents:
            self._pair_of[one.intent.intent_id] = one.intent.pair
        return welcome

    def _unless_refused(
        self, reply: Reply, kind: type[Answer], what: str, expected: tuple[Refusal, ...] = ()
    ) -> Answer | None:
        """Return the answer; None for a refusal, which is logged once unless it is one of ``expected``."""
        if isinstance(reply, kind):
            self._refused.pop(what, None)
            return reply
        if not isinstance(reply, Refused):
            raise ProtocolError(f"risk answered {type(reply).__name__} to {what}")
        if reply.reason not in expected and self._refused.get(what) is not reply.reason:
            self._refused[what] = reply.reason
            get_logger().error("risk refuses", question=what, reason=reply.reason.name, why=reply.detail)
        return None

    @overload
    async def _until_accepted(self, request: Extend, kind: type[Approved]) -> Approved | Refused: ...

    @overload
    async def _until_accepted(self, request: Report | Conclude, kind: type[Answer]) -> Answer: ...

    async def _until_accepted(
        self, request: Extend | Report | Conclude, kind: type[Answer]
    ) -> Answer | Refused:
        """Return the answer to a request about an open intent; while it is refused, the pair is set apart.

        An order that cannot be paid for is an answer. Raises ``IntentOver`` when risk has no such open intent,
        except for a conclusion.
        """
        pause_s = _REFUSED_PAUSE_S
        what = f"{type(request).__name__} {request.intent_id}"
        while True:
            reply = await self._until_answered(request, _REPORT)
            if isinstance(request, Extend) and isinstance(reply, Refused) and reply.reason is Refusal.BALANCE:
                return reply
            answer = self._unless_refused(reply, kind, what)
            if answer is not None:
                return answer
            assert isinstance(reply, Refused), reply
            if reply.reason is Refusal.UNKNOWN_INTENT and not isinstance(request, Conclude):
                raise IntentOver(reply.detail)
            pair = self._pair_of.get(request.intent_id)
            if pair is not None:
                why = f"risk refuses {what}: {reply.reason.name}: {reply.detail}"
                await self.set_apart(pair, "bad_report", why, request.intent_id)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _REFUSED_PAUSE_MAX_S)

    async def _ask(self, request: Hello | Instructions | ReadTerms, kind: type[Answer]) -> Answer:
        pause_s = _REFUSED_PAUSE_S
        while True:
            reply = await self._until_answered(request, _REPORT)
            answer = self._unless_refused(reply, kind, type(request).__name__)
            if answer is not None:
                return answer
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _REFUSED_PAUSE_MAX_S)

    async def _until_answered(
        self, request: Request, priority: int, begun: Awaitable[bytes] | None = None
    ) -> Reply:
        """Return the answer, of ``begun`` or of another try."""
        while True:
            try:
                coming, begun = begun, None
                if coming is None:
                    coming = self._transport.request(encode(request), priority=priority)
                reply = decode_reply(await coming)
            except TransportError as error:
                if isinstance(error, ProtocolError):
                    raise
                self._on_silence()
                get_logger().warning("risk is silent", question=type(request).__name__, error=str(error))
                await asyncio.sleep(_AGAIN_AFTER_S)
                continue
            if isinstance(reply, Refused) and reply.reason is Refusal.STALE_EPOCH:
                raise Fenced(reply.detail)
            return reply


def _priority_of(intent: Intent) -> int:
    return _EXIT if intent.kind == "exit" else _ENTRY


def _unexpected(reply: Reply, question: type[Request]) -> ProtocolError:
    return ProtocolError(f"risk answered {type(reply).__name__} to {question.__name__}")
