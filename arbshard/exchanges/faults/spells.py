"""Faults that come with time rather than with a call, and what they leave behind for a while. Pure.

Each second is an occasion for each of them, and so is the turn after ``wake``. ``server`` tells the time.
"""

from collections.abc import Sequence
from typing import Protocol

from arbshard.config.sim import Sockets, TimedFault
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.switch import Switch
from arbshard.exchanges.session import SECOND_NS

FOREVER_NS = 2**63
_MS_NS = 1_000_000


class Client(Protocol):
    """A WebSocket that something may befall."""

    @property
    def is_private(self) -> bool:
        """Whether it tells of accounts."""
        ...

    def cut(self, reason: str, *, clean: bool) -> None:
        """End the connection, with a close frame where ``clean``."""
        ...

    def stall(self, *, on: bool) -> None:
        """Say nothing any more, or speak again."""
        ...

    def announce_shutdown(self) -> None:
        """Tell that the connection will end."""
        ...


class Sequenced(Protocol):
    """A market whose updates are numbered."""

    def lose_event(self) -> None:
        """Let the next update get lost."""
        ...


class Spells:
    """What lasts at one venue. Times are monotonic nanoseconds."""

    def __init__(self, board: Board, sequenced: Sequence[Sequenced]) -> None:
        """``sequenced``: markets with numbered updates."""
        self._board = board
        self._sequenced = sequenced
        self.skew_ms = 0
        """How far the venue's clock is ahead."""
        self._skewed_until_ns = 0
        self._closed_until_ns = 0
        self._stalled: dict[Client, int] = {}
        self._announced: dict[Client, int] = {}
        self._second = -1

    def wake(self) -> None:
        """Make the next turn an occasion."""
        self._second = -1

    def is_closed(self, now_ns: int) -> bool:
        """Whether the venue is under maintenance."""
        return now_ns < self._closed_until_ns

    def on_time(self, now_ns: int, clients: Sequence[Client]) -> None:
        """End what is over, and begin what happens now. ``clients``: those connected, in the order they came."""
        self._end(now_ns, clients)
        second = now_ns // SECOND_NS
        if second == self._second:
            return
        self._second = second
        self._befall(now_ns, clients)
        board = self._board
        if board.sequence_gap.happens():
            for market in board.sequence_gap.draw(self._sequenced, board.sequence_gap.fault.markets):
                market.lose_event()
        if board.clock_skew.happens():
            self.skew_ms = board.clock_skew.fault.skew_ms
            until_ns = _until(board.clock_skew, board.clock_skew.fault, now_ns)
            self._skewed_until_ns = max(until_ns, self._skewed_until_ns)
        if board.maintenance.happens():
            until_ns = _until(board.maintenance, board.maintenance.fault, now_ns)
            self._closed_until_ns = max(until_ns, self._closed_until_ns)
            for client in clients:
                client.cut("fault: maintenance", clean=True)

    def _befall(self, now_ns: int, clients: Sequence[Client]) -> None:
        """What happens to some clients or all."""
        board = self._board
        cut, stall, notice = board.disconnect, board.silent_stall, board.shutdown_notice
        if cut.happens():
            for client in cut.draw(_of_kind(clients, cut.fault.sockets), cut.fault.connections):
                client.cut("fault: disconnect", clean=cut.fault.clean)
        if stall.happens():
            until_ns = _until(stall, stall.fault, now_ns)
            for client in stall.draw(_of_kind(clients, stall.fault.sockets), stall.fault.connections):
                client.stall(on=True)
                self._stalled[client] = max(until_ns, self._stalled.get(client, 0))
        if notice.happens():
            for client in notice.draw(_of_kind(clients, notice.fault.sockets), notice.fault.connections):
                client.announce_shutdown()
                self._announced.setdefault(client, now_ns + int(notice.draw_ms(notice.fault) * _MS_NS))

    def end(self, name: str) -> None:
        """What the fault ``name`` has begun is over at once."""
        if name == "silent_stall":
            for client in self._stalled:
                client.stall(on=False)
            self._stalled.clear()
        elif name == "shutdown_notice":
            self._announced.clear()
        elif name == "clock_skew":
            self.skew_ms = self._skewed_until_ns = 0
        elif name == "maintenance":
            self._closed_until_ns = 0

    def _end(self, now_ns: int, clients: Sequence[Client]) -> None:
        if now_ns >= self._skewed_until_ns:
            self.skew_ms = 0
        if not self._stalled and not self._announced:
            return
        there = set(clients)
        for client, until_ns in tuple(self._stalled.items()):
            if now_ns >= until_ns or client not in there:
                del self._stalled[client]
                client.stall(on=False)
        for client, at_ns in tuple(self._announced.items()):
            if now_ns >= at_ns or client not in there:
                del self._announced[client]
                client.cut("fault: shutdown_notice", clean=True)


def _of_kind(clients: Sequence[Client], sockets: Sockets) -> Sequence[Client]:
    if sockets == "all":
        return clients
    return [client for client in clients if client.is_private == (sockets == "private")]


def _until(switch: Switch[TimedFault], fault: TimedFault, now_ns: int) -> int:
    """When it is over; without an end where the range is nothing."""
    return now_ns + int(switch.draw_ms(fault) * _MS_NS) if fault.ms_max else FOREVER_NS
