"""Handles faults that come with time rather than with a call, and those that last for a while. It is pure.

Each second is an occasion for each of them, and so is the turn after ``wake``. ``server`` passes the time.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from arbshard.config.sim import Sockets, TimedFault
from arbshard.exchanges.accounts.owner import AccountOwner
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.conditions import Conditions
from arbshard.exchanges.faults.switch import Switch
from arbshard.exchanges.session import SECOND_NS

FOREVER_NS = 2**63
_MS_NS = 1_000_000


class Client(Protocol):
    """Gives access to a WebSocket that a fault may concern."""

    @property
    def is_private(self) -> bool:
        """Return whether the connection reports events of accounts."""
        ...

    def cut(self, reason: str, *, clean: bool) -> None:
        """End the connection, with a close frame where ``clean``."""
        ...

    def stall(self, *, on: bool) -> None:
        """Stop sending anything, or send again."""
        ...

    def announce_shutdown(self) -> None:
        """Announce that the connection will end."""
        ...


@runtime_checkable
class Sequenced(Protocol):
    """Gives access to a market whose updates are numbered."""

    def lose_event(self) -> None:
        """Lose the next update."""
        ...


class _Lasting:
    """Manages a fault that lasts from when it happens until its time is over."""

    def __init__(
        self,
        switch: Switch[TimedFault],
        begin: Callable[[Sequence[Client]], None],
        end: Callable[[], None],
    ) -> None:
        """Bind the switch to what it does; ``begin`` may be called again during the fault, with changed settings."""
        self._switch = switch
        self._begin = begin
        self._end = end
        self.until_ns = 0

    def on_second(self, now_ns: int, clients: Sequence[Client]) -> None:
        """Let the fault happen or not: this is called once a second."""
        if self._switch.happens():
            self.until_ns = max(self.until_ns, _until(self._switch, self._switch.fault, now_ns))
            self._begin(clients)

    def expire(self, now_ns: int) -> None:
        """End the fault if its time is over."""
        if self.until_ns and now_ns >= self.until_ns:
            self.stop()

    def stop(self) -> None:
        """End the fault now."""
        self.until_ns = 0
        self._end()


class Spells:
    """Holds what lasts at one venue. Times are monotonic nanoseconds."""

    def __init__(self, board: Board, sequenced: Sequence[Sequenced], conditions: Conditions) -> None:
        """Begin without faults; ``sequenced`` are markets with numbered updates."""
        self._board = board
        self._sequenced = sequenced
        self.conditions = conditions
        self.owner: AccountOwner | None = None
        """Acts in the accounts by hand; None where there are no accounts."""
        self.skew_ms = 0
        """How far the venue's clock is ahead, in milliseconds."""
        self._stalled: dict[Client, int] = {}
        self._announced: dict[Client, int] = {}
        self._second = -1
        self._lasting = {
            "clock_skew": _Lasting(
                board.clock_skew, lambda _: self._skew(board.clock_skew.fault.skew_ms), lambda: self._skew(0)
            ),
            "maintenance": _Lasting(board.maintenance, self._close, lambda: None),
            "key_revoked": _Lasting(board.key_revoked, self._revoke, self._restore),
            "market_state": _Lasting(
                board.market_state,
                lambda _: conditions.set_states(board.market_state.fault),
                lambda: conditions.set_states(None),
            ),
            "changed_rules": _Lasting(
                board.changed_rules,
                lambda _: conditions.set_rules(board.changed_rules.fault),
                lambda: conditions.set_rules(None),
            ),
            "changed_fees": _Lasting(
                board.changed_fees,
                lambda _: conditions.set_fees(board.changed_fees.fault),
                lambda: conditions.set_fees(None),
            ),
            "quiet_book": _Lasting(
                board.quiet_book,
                lambda _: conditions.set_quiet(board.quiet_book.fault),
                lambda: conditions.set_quiet(None),
            ),
            "late_frames": _Lasting(
                board.late_frames,
                lambda _: conditions.set_lags(board.late_frames.fault),
                lambda: conditions.set_lags(None),
            ),
            "closed_wallet": _Lasting(
                board.closed_wallet,
                lambda _: conditions.set_gaps(board.closed_wallet.fault),
                lambda: conditions.set_gaps(None),
            ),
            "fx_blip": _Lasting(
                board.fx_blip,
                lambda _: conditions.set_fx(board.fx_blip.fault.bps),
                lambda: conditions.set_fx(0.0),
            ),
        }

    def wake(self) -> None:
        """Make the next turn an occasion."""
        self._second = -1

    def is_closed(self, now_ns: int) -> bool:
        """Return whether the venue is under maintenance."""
        return now_ns < self._lasting["maintenance"].until_ns

    def on_time(self, now_ns: int, clients: Sequence[Client]) -> None:
        """End what is over, and begin what happens now. ``clients`` are those connected, oldest first."""
        self._expire(now_ns, clients)
        second = now_ns // SECOND_NS
        if second == self._second:
            return
        self._second = second
        self._begin_for_clients(now_ns, clients)
        board = self._board
        if board.sequence_gap.happens():
            for market in board.sequence_gap.draw(self._sequenced, board.sequence_gap.fault.markets):
                market.lose_event()
        for lasting in self._lasting.values():
            lasting.on_second(now_ns, clients)
        if board.wrong_frame.happens():
            self.conditions.send_wrong_frames(board.wrong_frame.fault)
        if self.owner is not None:
            self._act_by_hand(self.owner)

    def _act_by_hand(self, owner: AccountOwner) -> None:
        transfer, trade = self._board.hand_transfer, self._board.hand_trade
        if transfer.happens():
            owner.transfer(transfer.fault.currency, transfer.fault.part)
        if trade.happens():
            owner.trade(self.conditions.meant(trade.fault.market), trade.fault.side, trade.fault.part)

    def _skew(self, skew_ms: int) -> None:
        self.skew_ms = skew_ms

    def _close(self, clients: Sequence[Client]) -> None:
        for client in clients:
            client.cut("fault: maintenance", clean=True)

    def _revoke(self, clients: Sequence[Client]) -> None:
        self.conditions.is_key_revoked = True
        for client in _of_kind(clients, "private"):
            client.cut("fault: key_revoked", clean=True)

    def _restore(self) -> None:
        self.conditions.is_key_revoked = False

    def _begin_for_clients(self, now_ns: int, clients: Sequence[Client]) -> None:
        """Begin the faults that concern some clients or all."""
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
        """End what the fault ``name`` has begun."""
        if name == "silent_stall":
            for client in self._stalled:
                client.stall(on=False)
            self._stalled.clear()
        elif name == "shutdown_notice":
            self._announced.clear()
        elif name in self._lasting:
            self._lasting[name].stop()

    def _expire(self, now_ns: int, clients: Sequence[Client]) -> None:
        for lasting in self._lasting.values():
            lasting.expire(now_ns)
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
    """Return when the fault is over; it has no end where its range is zero."""
    return now_ns + int(switch.draw_ms(fault) * _MS_NS) if fault.ms_max else FOREVER_NS
