"""``TradeReport``: what became of one intent. Made by ``local_risk``, returned by the runner."""

from typing import Literal

import msgspec

from arbshard.model.intent import CloseReason, Intent, IntentKind
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import Refused, Settled

Result = Literal["refused", "missed", "unwound", "opened", "reduced", "closed"]
"""``refused``: risk said no, nothing was sent. ``missed``: nothing was filled. ``unwound``: an entry whose second leg
could not be had was taken back. ``opened``, ``closed``: a position came to be, or ended. ``reduced``: an exit left
part of its position open."""


class TradeReport(msgspec.Struct, frozen=True):
    """One entry or exit, as it ended."""

    pair: str
    kind: IntentKind
    result: Result
    intent_id: str
    reason: str
    """Why it was tried: ``net_edge``, ``take_profit``, ``shutdown`` …"""
    edge_bps: float
    """Entry: net edge promised. Exit: net result of the round trip, had the books stayed."""
    at_ms: int
    """Wall time of the end."""
    position: Position | None = None
    """As it is after this trade; its PnL when ``closed`` or ``unwound``. None when nothing came to be."""
    refusal: Refusal | None = None
    detail: str = ""
    """Of the refusal, in risk's words."""

    @property
    def closed_for(self) -> CloseReason | None:
        """Why the position ended; None while there is one, or never was."""
        return self.position.reason if self.position is not None else None


def report_refused(intent: Intent, refused: Refused, at_ms: int) -> TradeReport:
    """Risk refused ``intent``."""
    return _report(intent, "refused", at_ms, None, refused)


def report_settled(intent: Intent, settled: Settled, before: Position | None, at_ms: int) -> TradeReport:
    """``intent`` is over. ``before`` is the position as an exit found it."""
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
