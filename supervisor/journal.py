"""``RunJournal``: what people and rules have decided in this run, and each trade, as the notes of risk show it.

The log of the supervisor gets one line for each; it is the log that a terminal and a service manager show. Status
and the closing summary get the halts, and what was decided. The ledger holds all of it to the last event.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec

from arbshard.log import get_logger
from arbshard.model.notes import JournalNote
from arbshard.model.risk_note import ApartNote, HaltSpan, PositionNote, TightNote, resumption_of

_KEPT = 100
"""Decisions kept; the newest count."""


class _Followed(msgspec.Struct, frozen=True):
    """The part of risk's note that is followed; the rest is skipped."""

    at_ms: int
    positions: tuple[PositionNote, ...]
    closed: tuple[PositionNote, ...]
    halts: tuple[HaltSpan, ...] = ()
    closing: dict[str, str] = {}
    apart: dict[str, ApartNote] = {}
    tightened: dict[str, TightNote] = {}
    limits_changed: dict[str, str] = {}


_NOTHING = _Followed(0, (), ())
_T = TypeVar("_T")
_decoder = msgspec.json.Decoder(_Followed)


class RunJournal:
    """Compares each note of risk with the one before."""

    def __init__(self, started_ms: int, venues: tuple[str, str], *, logs_trades: bool) -> None:
        """Begin. ``venues``: home and away. ``logs_trades``: whether each entry and each exit is logged."""
        self._started_ms = started_ms
        self._home, self._away = venues
        self._logs_trades = logs_trades
        self._before = _NOTHING
        self._is_first = True
        self._raw = b""
        self._ended: deque[str] = deque(maxlen=_KEPT)
        """The positions whose exit was logged last."""
        self._decisions: deque[JournalNote] = deque(maxlen=_KEPT)

    @property
    def decisions(self) -> tuple[JournalNote, ...]:
        """Return what was decided, the newest last."""
        return tuple(self._decisions)

    @property
    def halts(self) -> tuple[HaltSpan, ...]:
        """Return the halts of this run, the newest last; one from before its start is among them."""
        return self._before.halts

    def follow(self, note: bytes) -> None:
        """Note and log what ``note`` shows that the one before did not. Raises ``msgspec.MsgspecError``."""
        if not note or note == self._raw:
            return
        self._raw = note
        before, now = self._before, _decoder.decode(note)
        self._follow_halts(before.halts, now.halts)
        for kind, text in self._decided(before, now):
            self._note(now.at_ms, kind, text)
        if self._logs_trades:
            self._log_trades(before, now)
        self._before, self._is_first = now, False

    def _follow_halts(self, before: tuple[HaltSpan, ...], now: tuple[HaltSpan, ...]) -> None:
        """Note each halt and each resumption, also of a halt that began and ended between two notes."""
        begun = {(one.since_ms, one.level) for one in before}
        for halt in now:
            if self._is_first and halt.until_ms and halt.until_ms < self._started_ms:
                continue  # It was over before this start: other hosts of a cluster have been at work for longer.
            if (halt.since_ms, halt.level) not in begun:
                exits = "exits are stopped too" if halt.level == "stopped" else "exits go on"
                is_old = self._is_first and halt.since_ms < self._started_ms
                when = "halted before this start" if is_old else "halted"
                by = f" by {halt.by}" if halt.by else ""
                text = f"{when}{by} ({halt.cause}): {halt.reason or 'no reason given'}; no entries, {exits}"
                self._note(halt.since_ms, "halted", text)
            if halt.until_ms and not halt.is_raised and halt not in before:
                self._note(halt.until_ms, "resumed", f"{resumption_of(halt)}; entries are allowed again")

    def _decided(self, before: _Followed, now: _Followed) -> Iterator[tuple[str, str]]:
        earlier = " since before this start" if self._is_first else ""
        for key, value in _news(before.limits_changed, now.limits_changed):
            yield "limits", f"limit {key} is {value}{earlier}, by hand"
        for key in before.limits_changed.keys() - now.limits_changed.keys():
            yield "limits", f"limit {key} is as configured again"
        for whose, tight in _news(before.tightened, now.tightened):
            yield (
                "tightened",
                f"limits of {whose or 'all pairs'} are tightened to {tight.factor}: {tight.cause}",
            )
        for whose in before.tightened.keys() - now.tightened.keys():
            yield "loosened", f"limits of {whose or 'all pairs'} are no longer tightened"
        for pair, apart in _news(before.apart, now.apart):
            yield "apart", f"{pair} is set apart{earlier} ({apart.cause}): {apart.reason}"
        for pair in before.apart.keys() - now.apart.keys():
            yield "released", f"{pair} is released"
        for pair, reason in _news(before.closing, now.closing):
            yield "closing", f"{pair} is being closed ({reason})"

    def _note(self, at_ms: int, kind: str, text: str) -> None:
        self._decisions.append(JournalNote(at_ms, kind, text))
        get_logger().warning(kind, what=text)

    def _log_trades(self, before: _Followed, now: _Followed) -> None:
        known = {one.position_id for one in before.positions}
        news = [one for one in now.closed if one.position_id not in self._ended]
        ended = [one for one in news if not self._is_first or one.closed_ms >= self._started_ms]
        taken_over = []
        # One that was opened and closed between two notes is only among the closed ones.
        for one in sorted((*now.positions, *ended), key=lambda one: one.opened_ms):
            if one.position_id in known:
                continue
            if self._is_first and one.opened_ms < self._started_ms:
                taken_over.append(f"{one.pair} {one.position_id}")
            else:
                self._log_entry(one)
        if taken_over:
            get_logger().info("positions taken over", positions=taken_over)
        for one in reversed(ended):
            self._log_exit(one)
        self._ended.extend(one.position_id for one in news)

    def _log_entry(self, one: PositionNote) -> None:
        get_logger().info(
            "entry",
            pair=one.pair,
            how=self._how(one),
            quantity=one.quantity,
            home_price=one.entry_home_price,
            away_price=one.entry_away_price,
            notional=f"{float(one.notional):,.0f}",
            position=one.position_id,
        )

    def _log_exit(self, one: PositionNote) -> None:
        pnl, notional = float(one.pnl or 0), float(one.notional)
        get_logger().info(
            "exit",
            pair=one.pair,
            reason=one.reason,
            pnl=f"{pnl:+,.0f}",
            bps=round(pnl / notional * 1e4, 1) if notional else 0.0,
            held_s=round((one.closed_ms - one.opened_ms) / 1000, 1),
            position=one.position_id,
        )

    def _how(self, one: PositionNote) -> str:
        bought, sold = (self._home, self._away)[:: 1 if one.direction == "buy_home" else -1]
        return f"buy on {bought}, sell on {sold}"


def _news(before: Mapping[str, _T], now: Mapping[str, _T]) -> Iterator[tuple[str, _T]]:
    return ((key, value) for key, value in now.items() if before.get(key) != value)
