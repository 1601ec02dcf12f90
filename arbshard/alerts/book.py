"""Decides when an alert begins, is sent, is sent again and is over. Pure: the time is an argument.

An alert begins once its condition has held for the time of its rule, and it is over once the condition has not held
for a while. Both are kept whatever is sent. A message goes out when it begins, while it lasts after pauses that
double, and when it is over if its beginning was sent. A condition that comes and goes is sent after pauses that
double too, so that no subject sends more than a few messages an hour. None is lost: what still holds when the pause
has passed is sent then.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from arbshard.alerts.conditions import AlertSeverity, Condition, Picture

Key = tuple[str, str]
AlertStep = Literal["begins", "announced", "repeats", "over", "event"]
_OVER_AFTER_S = 5.0
"""A condition that is away for less than this has not ended."""
_AGAIN_S = 60.0
"""The first pause between two beginnings of the same alert that are sent; the longest is ``_AGAIN_MAX_S``."""
_AGAIN_MAX_S = 3600.0
_SECOND = 1_000_000_000


class Change(NamedTuple):
    """Holds one step in the life of an alert."""

    step: AlertStep
    """``begins``: it holds, and is sent unless ``is_sent`` is false. ``announced``: it began before, and is sent now.
    ``event``: it happened, and is over at once."""
    kind: str
    subject: str
    severity: AlertSeverity
    text: str
    command: str
    at_ms: int
    is_sent: bool
    lasted_s: float = 0.0
    """The time since it began, for ``repeats`` and ``over``."""


class OpenAlert(NamedTuple):
    """An alert of an earlier process that was not over."""

    condition: Condition
    began_ms: int
    is_announced: bool
    repeats: int


class _Pause:
    """A pause that doubles each time, and is forgotten after it has not been needed for twice its length."""

    __slots__ = ("first_ns", "length_ns", "most_ns", "until_ns")

    def __init__(self, first_s: float, most_s: float) -> None:
        self.first_ns = int(first_s * _SECOND)
        self.most_ns = max(int(most_s * _SECOND), self.first_ns)
        self.length_ns = self.first_ns
        self.until_ns = 0

    def begin(self, now_ns: int) -> None:
        """Let the next pause begin now."""
        if self.until_ns and now_ns > self.until_ns + 2 * self.length_ns:
            self.length_ns = self.first_ns
        self.until_ns = now_ns + self.length_ns
        self.length_ns = min(2 * self.length_ns, self.most_ns)

    def is_over(self, now_ns: int) -> bool:
        return now_ns >= self.until_ns

    def is_forgotten(self, now_ns: int) -> bool:
        return now_ns > self.until_ns + 2 * self.length_ns


class _Alert:
    """One that has begun."""

    __slots__ = ("away_ns", "began_ms", "began_ns", "condition", "is_announced", "repeat")

    def __init__(self, condition: Condition, began_ns: int, began_ms: int, repeat: _Pause) -> None:
        self.condition = condition
        self.began_ns = began_ns
        self.began_ms = began_ms
        self.is_announced = False
        self.repeat = repeat
        self.away_ns: int | None = None
        """Since when its condition does not hold."""


class AlertBook:
    """The alerts of one run."""

    def __init__(self, levels: Mapping[str, str], repeat_s: float, repeat_max_s: float) -> None:
        """Begin without alerts. ``levels``: of each kind, as in ``[alerts.levels]``."""
        self._levels = levels
        self._repeat = repeat_s, repeat_max_s
        self._since: dict[Key, int] = {}
        """Conditions that hold and have not begun as alerts yet."""
        self._open: dict[Key, _Alert] = {}
        self._again: dict[Key, _Pause] = {}
        self._unsent_events: dict[Key, int] = {}

    @property
    def holding(self) -> int:
        """Return how many alerts are not over."""
        return len(self._open)

    def restore(self, found: Iterable[OpenAlert], now_ns: int, now_ms: int) -> None:
        """Go on with the alerts of an earlier process."""
        for one in found:
            lasted_ns = max(0, now_ms - one.began_ms) * 1_000_000
            alert = self._begin(one.condition, now_ns - lasted_ns, one.began_ms)
            alert.is_announced = one.is_announced
            if one.is_announced:
                for _ in range(min(one.repeats + 1, 32)):
                    alert.repeat.begin(now_ns)

    def update(self, picture: Picture, now_ns: int, now_ms: int) -> list[Change]:
        """Return what follows from what holds now."""
        holds = {one.key: one for one in picture.conditions if self._levels.get(one.kind, "on") != "off"}
        changes: list[Change] = []
        for key, condition in holds.items():
            changes += self._hold(key, condition, now_ns, now_ms, is_left=key in picture.left)
        for key in [key for key in self._since if key not in holds and key[0] not in picture.unknown]:
            del self._since[key]
        for key, alert in list(self._open.items()):
            if key in holds or key[0] in picture.unknown:
                alert.away_ns = None
                continue
            if alert.away_ns is None:
                alert.away_ns = now_ns
            if now_ns - alert.away_ns >= _OVER_AFTER_S * _SECOND:
                changes.append(self._end(key, alert, alert.away_ns, now_ms))
        for key in [key for key, pause in self._again.items() if pause.is_forgotten(now_ns)]:
            if key not in self._open:
                del self._again[key]
                self._unsent_events.pop(key, None)
        return changes

    def add_event(self, subject: str, text: str, command: str, now_ns: int, at_ms: int) -> list[Change]:
        """Return what follows from an event. ``subject`` is the same for events that differ in figures only."""
        level = self._levels.get("event", "on")
        if level == "off":
            return []
        key = "event", subject
        pause = self._again.setdefault(key, _Pause(_AGAIN_S, _AGAIN_MAX_S))
        is_sent = level == "on" and pause.is_over(now_ns)
        if is_sent:
            unsent = self._unsent_events.pop(key, 0)
            text = f"{text} (and {unsent} like it before)" if unsent else text
            pause.begin(now_ns)
        else:
            self._unsent_events[key] = self._unsent_events.get(key, 0) + 1
        return [Change("event", *key, "info", text, command, at_ms, is_sent)]

    def _hold(
        self, key: Key, condition: Condition, now_ns: int, now_ms: int, *, is_left: bool
    ) -> Iterator[Change]:
        """Yield what follows from a condition that holds. ``is_left``: another host sends it."""
        alert = self._open.get(key)
        if alert is None:
            since_ns = self._since.setdefault(key, now_ns)
            if now_ns - since_ns < condition.begins_after_s * _SECOND:
                return
            alert = self._begin(condition, now_ns, now_ms)
            alert.is_announced = not is_left and self._may_announce(key, now_ns, alert)
            yield self._change("begins", alert, now_ns, now_ms, is_sent=alert.is_announced)
            return
        alert.condition = condition
        if is_left:
            return
        if alert.is_announced and alert.repeat.is_over(now_ns):
            alert.repeat.begin(now_ns)
            yield self._change("repeats", alert, now_ns, now_ms, is_sent=True)
        elif not alert.is_announced and self._may_announce(key, now_ns, alert):
            alert.is_announced = True
            yield self._change("announced", alert, now_ns, now_ms, is_sent=True)

    def _begin(self, condition: Condition, began_ns: int, began_ms: int) -> _Alert:
        self._since.pop(condition.key, None)
        alert = self._open[condition.key] = _Alert(condition, began_ns, began_ms, _Pause(*self._repeat))
        return alert

    def _may_announce(self, key: Key, now_ns: int, alert: _Alert) -> bool:
        if self._levels.get(key[0], "on") != "on":
            return False
        pause = self._again.setdefault(key, _Pause(_AGAIN_S, _AGAIN_MAX_S))
        if not pause.is_over(now_ns):
            return False
        pause.begin(now_ns)
        alert.repeat.begin(now_ns)
        return True

    def _end(self, key: Key, alert: _Alert, away_ns: int, now_ms: int) -> Change:
        del self._open[key]
        return self._change("over", alert, away_ns, now_ms, is_sent=alert.is_announced)

    @staticmethod
    def _change(step: AlertStep, alert: _Alert, until_ns: int, now_ms: int, *, is_sent: bool) -> Change:
        one = alert.condition
        lasted_s = (until_ns - alert.began_ns) / _SECOND
        return Change(
            step, one.kind, one.subject, one.severity, one.text, one.command, now_ms, is_sent, lasted_s
        )
