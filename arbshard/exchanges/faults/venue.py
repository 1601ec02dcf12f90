"""All faults of one venue, as its server and connections meet them. Pure. ``exchanges`` makes one per venue."""

from collections.abc import Sequence

import msgspec

from arbshard.errors import UsageError
from arbshard.exchanges.faults import control
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.events import EventFaults
from arbshard.exchanges.faults.requests import RequestFaults
from arbshard.exchanges.faults.spells import Client, Sequenced, Spells
from arbshard.exchanges.faults.words import FaultReplies
from arbshard.exchanges.session import Query, RestReply


class VenueFaults:
    """The switchboard and all who decide by it."""

    def __init__(self, board: Board, words: FaultReplies, sequenced: Sequence[Sequenced] = ()) -> None:
        """``sequenced``: markets with numbered updates."""
        self.board = board
        self.spells = Spells(board, sequenced)
        self.requests = RequestFaults(board, words, self.spells)
        self.events = EventFaults(board)
        self._words = words

    def refusal(self, now_ns: int) -> RestReply | None:
        """The answer to whoever wants a WebSocket while there is none; None when all is well."""
        return self._words.maintenance() if self.spells.is_closed(now_ns) else None

    def control(self, query: Query, clients: Sequence[Client]) -> RestReply:
        """``/sim/faults``: show, or change. What is set counts at once for ``clients``, those connected."""
        if query.method not in ("GET", "HEAD", "POST"):
            return RestReply(405, {"Allow": "GET, POST"}, b'{"error":"GET or POST"}')
        if query.method == "POST":
            try:
                cleared = control.change(self.board, query.body)
            except UsageError as error:
                return RestReply(400, {}, msgspec.json.encode({"error": str(error)}))
            for name in cleared:
                self.spells.end(name)
            self.spells.wake()
            self.spells.on_time(query.now_ns, clients)
        return RestReply(200, {}, msgspec.json.encode(control.state(self.board)))
