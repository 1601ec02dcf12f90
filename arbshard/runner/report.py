"""Reports the outcome of one intent. ``local_risk`` makes a ``TradeReport``, the runner returns it."""

from typing import Literal

import msgspec

from arbshard.model.intent import CloseReason, Intent, IntentKind
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import Refused, Settled

Result = Literal["refused", "missed", "unwound", "opened", "reduced", "closed"]
"""``refused``: risk refused it and nothing was sent. ``missed``: nothing was filled. ``unwound``: an entry whose
second leg could not be filled was taken back. ``opened``, ``closed``: a position was opened or closed. ``reduced``:
an exit left part of its position open.
"""


class TradeReport(msgspec.Struct, frozen=True):
    """Describes the outcome of one entry or exit."""

    pair: str
    kind: IntentKind
    result: Result
    intent_id: str
    reason: str
    """Why it was tried: ``net_edge``, ``take_profit``, ``shutdown`` …"""
    edge_bps: float
    """The net edge that the books promised, for an entry; for an exit, the net result of the whole round trip at the
    books of the decision. In basis points of the cost."""
    at_ms: int
    """When the trade ended, in milliseconds since the Unix epoch."""
    position: Position | None = None
    """The position after this trade; it has a ``pnl`` when ``result`` is ``closed`` or ``unwound``. None when
    nothing was filled."""
    refusal: Refusal | None = None
    detail: str = ""
    """What risk adds to the refusal; empty without one."""

    @property
    def closed_for(self) -> CloseReason | None:
        """Return why the position was closed; None while it is open, or when there was none."""
        return self.position.reason if self.position is not None else None


def report_refused(intent: Intent, refused: Refused, at_ms: int) -> TradeReport:
    """Return the report of an intent that risk refused."""
    return _report(intent, "refused", at_ms, None, refused)


def report_settled(intent: Intent, settled: Settled, before: Position | None, at_ms: int) -> TradeReport:
    """Return the report of ``intent``, which is over. ``before`` is the position before an exit."""
    return _report(intent, _result_of(intent, settled.position, before), at_ms, settled.position, None)


def _result_of(intent: Intent, position: Position | None, before: Position | None) -> Result:
    if position is None:
        return "missed"
    if intent.kind == "entry":
        return "opened" if position.state == "OPEN" else "unwound"
    if position.state == "CLOSED":
        return "closed"
    return "missed" if before is not None and position.flows == before.flows else "reduced"


def _report(
    intent: Intent, result: Result, at_ms: int, position: Position | None, refused: Refused | None
) -> TradeReport:
    return TradeReport(
        pair=intent.pair,
        kind=intent.kind,
        result=result,
        intent_id=intent.intent_id,
        reason=intent.reason,
        edge_bps=intent.edge_bps,
        at_ms=at_ms,
        position=position,
        refusal=refused.reason if refused is not None else None,
        detail=refused.detail if refused is not None else "",
    )
