"""Decides what becomes of a REST call under faults. It is pure; ``server`` asks before and after the
venue answers.
"""

from typing import NamedTuple

from arbshard.config.sim import Calls
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.replies import FaultReplies
from arbshard.exchanges.faults.spells import Spells
from arbshard.exchanges.session import Query, RestReply


class Fate(NamedTuple):
    """Says what to do with a call."""

    answer: RestReply | None
    """The reply; None when the connection is to be cut."""
    wait_ms: float = 0.0
    """Milliseconds to wait before the reply. The events of the call are sent before the wait."""


CUT = Fate(None)


class RequestFaults:
    """Decides the fate of calls, in their order."""

    def __init__(self, board: Board, replies: FaultReplies, spells: Spells) -> None:
        self._board = board
        self._replies = replies
        self._spells = spells

    def before(self, query: Query) -> Fate | None:
        """Return the fate of a call that does not reach the venue; None for all others."""
        board, replies = self._board, self._replies
        if self._spells.is_closed(query.now_ns):
            return Fate(replies.maintenance())
        denied, limited, lost = board.denied, board.rate_limited, board.lost_request
        if denied.on and self._concerns(denied.fault.calls, query) and denied.happens():
            return Fate(replies.denied(denied.fault))
        if limited.on and self._concerns(limited.fault.calls, query) and limited.happens():
            return Fate(replies.rate_limited(limited.fault.status, limited.fault.retry_after_s, query))
        if lost.on and self._concerns(lost.fault.calls, query) and lost.happens():
            return CUT
        if not board.redirect.fault.carried_out and self._is_redirected(query):
            return Fate(self._redirected(query))
        return None

    def after(self, query: Query, answer: RestReply) -> Fate:
        """Return the fate of a call that got ``answer``. A refusal is never lost."""
        board, wait_ms = self._board, 0.0
        if 200 <= answer.status < 300:
            lost, error = board.lost_reply, board.error_500
            if lost.on and self._concerns(lost.fault.calls, query) and lost.happens():
                return CUT
            if error.on and self._concerns(error.fault.calls, query) and error.happens():
                answer = self._replies.unknown_outcome()
            elif board.redirect.fault.carried_out and self._is_redirected(query):
                answer = self._redirected(query)
            first = board.event_before_reply
            if first.on and self._concerns("placing", query) and first.happens():
                wait_ms += first.draw_ms(first.fault)
        delay = board.delay
        if delay.on and self._concerns(delay.fault.calls, query) and delay.happens():
            wait_ms += delay.draw_ms(delay.fault)
        return Fate(answer, wait_ms)

    def revokes_session(self) -> bool:
        """Return whether the logon of a WebSocket connection ends now, with a call that is not signed."""
        return self._board.session_revoked.happens()

    def repeats_reply(self) -> bool:
        """Return whether a reply over a WebSocket is sent twice."""
        return self._board.duplicate_reply.happens()

    def _is_redirected(self, query: Query) -> bool:
        redirect = self._board.redirect
        return redirect.on and self._concerns(redirect.fault.calls, query) and redirect.happens()

    def _redirected(self, query: Query) -> RestReply:
        fault = self._board.redirect.fault
        parameters = f"?{query.raw_query}" if query.raw_query else ""
        return RestReply(fault.status, {"Location": f"{fault.location}{query.path}{parameters}"}, b"")

    def _concerns(self, calls: Calls, query: Query) -> bool:
        if calls == "all":
            return True
        kind = self._replies.kind(query)
        return kind == calls or (calls == "changing" and kind != "asking")
