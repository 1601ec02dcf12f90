"""Combines all faults of one venue for its server and connections. It is pure; ``venues`` makes one per venue."""

from collections.abc import Sequence

import msgspec

from arbshard.errors import UsageError
from arbshard.exchanges.faults import control
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.conditions import Conditions
from arbshard.exchanges.faults.events import EventFaults
from arbshard.exchanges.faults.replies import FaultReplies
from arbshard.exchanges.faults.requests import RequestFaults
from arbshard.exchanges.faults.spells import Client, Sequenced, Spells
from arbshard.exchanges.session import Query, RestReply


class VenueFaults:
    """Holds the switchboard, and everything that decides by it."""

    def __init__(
        self,
        board: Board,
        replies: FaultReplies,
        conditions: Conditions,
        sequenced: Sequence[Sequenced] = (),
    ) -> None:
        """Connect the parts; ``sequenced`` are markets with numbered updates."""
        self.board = board
        self.spells = Spells(board, sequenced, conditions)
        self.requests = RequestFaults(board, replies, self.spells)
        self.events = EventFaults(board)
        self._replies = replies

    def refusal(self, handshake: Query) -> RestReply | None:
        """Return the answer to a WebSocket handshake that is refused; None when it is not."""
        if self.spells.is_closed(handshake.now_ns):
            return self._replies.maintenance()
        denied, limited = self.board.denied, self.board.rate_limited
        if denied.fault.calls == "all" and denied.happens():
            return self._replies.denied(denied.fault)
        if limited.fault.calls == "all" and limited.fault.status == 418 and limited.happens():
            return self._replies.rate_limited(418, limited.fault.retry_after_s, handshake)
        return None

    def change(self, body: bytes, now_ns: int, clients: Sequence[Client] = ()) -> None:
        """Apply a request at once. Raises ``UsageError``, which says what is wrong with it."""
        for name in control.change(self.board, body):
            self.spells.end(name)
        self.spells.wake()
        self.spells.on_time(now_ns, clients)

    def control(self, query: Query, clients: Sequence[Client]) -> RestReply:
        """Answer ``/sim/faults``: show the faults, or change them at once for ``clients``, those that are
        connected.
        """
        if query.method not in ("GET", "HEAD", "POST"):
            return RestReply(405, {"Allow": "GET, POST"}, b'{"error":"GET or POST"}')
        if query.method == "POST":
            try:
                self.change(query.body, query.now_ns, clients)
            except UsageError as error:
                return RestReply(400, {}, msgspec.json.encode({"error": str(error)}))
        return RestReply(200, {}, msgspec.json.encode(control.state(self.board)))
