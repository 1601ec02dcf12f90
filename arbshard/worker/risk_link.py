"""The worker's line to risk: typed questions, asked until they are answered.

Fail closed: while risk is silent the pair concerned stays busy and trades nothing. A question is repeated under
its own ids, so asking twice changes nothing.
"""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Protocol, TypeVar

from arbshard.errors import ArbshardError, ProtocolError, TransportError
from arbshard.log import get_logger
from arbshard.model.intent import ApartCause, FxQuote, Intent
from arbshard.model.order import Order, OrderResult
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import (
    Adopt,
    Approved,
    Conclude,
    Extend,
    Fund,
    Funded,
    Hello,
    Instructed,
    Instructions,
    Noted,
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
"""Order in which waiting questions go out: what is known first, new risk last."""

_NOT_YET = (Refusal.NOT_FUNDED, Refusal.NO_STATEMENT)
_NOT_OURS = (Refusal.NOT_OWNER, Refusal.UNKNOWN_PAIR)
"""One of both sides has an older universe: the next look sets it right."""

Answer = TypeVar("Answer", bound=Reply)


class Fenced(ArbshardError):
    """Risk knows a newer incarnation of this shard: this process must end."""


class RiskTransport(Protocol):
    """What carries the questions."""

    async def request(self, payload: bytes, *, priority: int = 0) -> bytes:
        """One question, one answer; raises ``TransportError``."""
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
        """Told each time a question went without an answer."""

    async def hello(self, pid: int, pairs: tuple[str, ...]) -> Welcome:
        """Introduce this incarnation."""
        return await self._ask(Hello(self._shard, self._epoch, pid, pairs), Welcome)

    async def fund(self, pair: str, home_price: Decimal) -> Funded | None:
        """Have the pair's paper inventory opened. None: not yet, for both venues must state what we own first."""
        reply = await self._until_answered(Fund(self._shard, self._epoch, pair, home_price), _REPORT)
        if isinstance(reply, Funded):
            return reply
        if isinstance(reply, Refused) and reply.reason in (*_NOT_YET, *_NOT_OURS):
            return None
        raise _unexpected(reply, Fund)

    async def adopt(self, pairs: tuple[str, ...]) -> Welcome | None:
        """What there is to carry on with of pairs that have come to this shard. None: they have not, for risk."""
        reply = await self._until_answered(Adopt(self._shard, self._epoch, pairs), _REPORT)
        if isinstance(reply, Welcome):
            return reply
        if isinstance(reply, Refused) and reply.reason in (*_NOT_OURS, Refusal.PAIR_BUSY):
            return None
        raise _unexpected(reply, Adopt)

    async def instructions(self) -> Instructed:
        """What is to be done beside trading."""
        return await self._ask(Instructions(self._shard, self._epoch), Instructed)

    async def submit(self, intent: Intent) -> Approved | Refused:
        """See ``RiskPort``."""
        priority = _EXIT if intent.kind == "exit" else _ENTRY
        reply = await self._until_answered(Submit(self._shard, self._epoch, intent), priority)
        if isinstance(reply, Approved | Refused):
            return reply
        raise ProtocolError(f"risk answered {type(reply).__name__} to a submit")

    async def extend(self, intent_id: str, order: Order) -> None:
        """See ``RiskPort``."""
        await self._ask(Extend(self._shard, self._epoch, intent_id, order), Approved)

    async def report(self, intent_id: str, result: OrderResult) -> None:
        """See ``RiskPort``."""
        await self._ask(Report(self._shard, self._epoch, intent_id, result), Noted)

    async def conclude(self, intent_id: str, mark: Decimal, fx: FxQuote, *, done: bool) -> Settled:
        """See ``RiskPort``."""
        return await self._ask(Conclude(self._shard, self._epoch, intent_id, mark, fx, done), Settled)

    async def set_apart(self, pair: str, cause: ApartCause, reason: str, intent_id: str = "") -> None:
        """Have a pair set apart. A refusal is logged: whoever asks this has something more important to do."""
        reply = await self._until_answered(
            SetApart(self._shard, self._epoch, pair, cause, reason, intent_id), _REPORT
        )
        if isinstance(reply, Refused):
            get_logger().error("risk did not set the pair apart", pair=pair, cause=cause, why=reply.detail)
        elif not isinstance(reply, Noted):
            raise _unexpected(reply, SetApart)

    async def _ask(self, request: Request, kind: type[Answer]) -> Answer:
        reply = await self._until_answered(request, _REPORT)
        if isinstance(reply, kind):
            return reply
        raise _unexpected(reply, type(request))

    async def _until_answered(self, request: Request, priority: int) -> Reply:
        payload = encode(request)
        while True:
            try:
                reply = decode_reply(await self._transport.request(payload, priority=priority))
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


def _unexpected(reply: Reply, question: type[Request]) -> ProtocolError:
    said = f"{reply.reason.name} {reply.detail}" if isinstance(reply, Refused) else type(reply).__name__
    return ProtocolError(f"risk answered {said} to {question.__name__}")
