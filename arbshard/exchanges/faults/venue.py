"""All faults of one venue, as its server and connections meet them. Pure. ``exchanges`` makes one per venue."""

from collections.abc import Sequence

import msgspec

from arbshard.errors import UsageError
from arbshard.exchanges.faults import control
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.conditions import Conditions
from arbshard.exchanges.faults.events import EventFaults
from arbshard.exchanges.faults.requests import RequestFaults
from arbshard.exchanges.faults.spells import Client, Sequenced, Spells
from arbshard.exchanges.faults.words import FaultReplies
from arbshard.exchanges.session import Query, RestReply


class VenueFaults:
    """The switchboard and all who decide by it."""

    def __init__(
        self,
        board: Board,
        words: FaultReplies,
        conditions: Conditions,
        sequenced: Sequence[Sequenced] = (),
    ) -> None:
        """``sequenced``: markets with numbered updates."""
        self.board = board
        self.spells = Spells(board, sequenced, conditions)
        self.requests = RequestFaults(board, words, self.spells)
        self.events = EventFaults(board)
        self._words = words

    def refusal(self, now_ns: int) -> RestReply | None:
        """The answer to whoever wants a WebSocket while there is none; None when all is well."""
        if self.spells.is_closed(now_ns):
            return self._words.maintenance()
        denied = self.board.denied
        if denied.fault.calls == "all" and denied.happens():
            return self._words.denied(denied.fault)
        return None

    def change(self, body: bytes, now_ns: int, clients: Sequence[Client] = ()) -> None:
        """Do what a request says, at once. Raises ``UsageError`` with what is wrong with it."""
        for name in control.change(self.board, body):
            self.spells.end(name)
        self.spells.wake()
        self.spells.on_time(now_ns, clients)

    def control(self, query: Query, clients: Sequence[Client]) -> RestReply:
        """``/sim/faults``: show, or change. What is set counts at once for ``clients``, those connected."""
        if query.method not in ("GET", "HEAD", "POST"):
            return RestReply(405, {"Allow": "GET, POST"}, b'{"error":"GET or POST"}')
        if query.method == "POST":
            try:
                self.change(query.body, query.now_ns, clients)
            except UsageError as error:
                return RestReply(400, {}, msgspec.json.encode({"error": str(error)}))
        return RestReply(200, {}, msgspec.json.encode(control.state(self.board)))
