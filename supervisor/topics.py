"""Publishes on the bus what concerns the run as a whole: beats, alerts, and what has changed.

A change is found by comparing the notes of supervisor and risk with those of a quarter of a second ago. So it does
not matter what caused it, and nothing has to report it. Without a subscriber no note is read.
"""

from collections.abc import Callable
from itertools import chain

import msgspec

from arbshard.clock import Clock
from arbshard.model.notes import SupervisorNote
from arbshard.model.risk_note import RiskNoteHead
from arbshard.model.universe import Universe
from arbshard.wire import topics
from arbshard.wire.bus import Prefixes, Publisher
from arbshard.wire.topics import ControlKind

Facts = dict[tuple[ControlKind, str], str]
"""What is true now, by kind and name."""

_CONTROL, _ALERT, _BEAT = topics.CONTROL.encode(), topics.ALERT.encode(), topics.BEAT.encode()
_risk_note: msgspec.json.Decoder[RiskNoteHead] = msgspec.json.Decoder(RiskNoteHead)


class RunTopics:
    """Publishes for the run. ``StatusPublisher`` uses it."""

    def __init__(self, bus: Publisher, clock: Clock, read_risk_note: Callable[[], bytes]) -> None:
        """Begin. ``read_risk_note`` returns what risk's page holds, empty before there is a note."""
        self._bus = bus
        self._clock = clock
        self._read_risk_note = read_risk_note
        self._published: Facts = {}
        self._risk_text = b""
        self._risk_facts: Facts = {}
        bus.on_subscriptions(self._subscriptions_changed)

    def beat(self, now_ns: int) -> None:
        """Publish that the supervisor's loop is alive."""
        if self._bus.wanted(_BEAT):
            self._bus.publish(_BEAT, topics.encode(topics.Beat(now_ns)))

    def alert(self, text: str) -> None:
        """Publish an alert."""
        if self._bus.wanted(_ALERT):
            self._bus.publish(_ALERT, topics.encode(topics.Alert(self._clock.wall_ms(), text)))

    def report(self, note: SupervisorNote, universe: Universe | None) -> None:
        """Publish what has changed; for a new subscriber, everything."""
        if not self._bus.wanted(_CONTROL):
            return
        facts = run_facts(note) | pair_facts(universe) | self._facts_of_risk()
        now_ms = self._clock.wall_ms()
        for kind, name in chain(facts, self._published.keys() - facts.keys()):
            value = facts.get((kind, name), "")
            if value != self._published.get((kind, name)):
                change = topics.ControlChange(now_ms, kind, name, value)
                self._bus.publish(_CONTROL, topics.encode(change))
        self._published = facts

    def _subscriptions_changed(self, new: Prefixes) -> None:
        if new.match(_CONTROL):
            self._published = {}

    def _facts_of_risk(self) -> Facts:
        text = self._read_risk_note()
        if text != self._risk_text:
            self._risk_text = text
            self._risk_facts = risk_facts(_risk_note.decode(text)) if text else {}
        return self._risk_facts


def run_facts(note: SupervisorNote) -> Facts:
    """Return the state of the run and of its processes."""
    facts: Facts = {("run", ""): note.state}
    for child in note.children:
        why = f": {child.reason}" if child.reason else ""
        facts["process", child.name] = (
            f"{child.state}, pid {child.pid}, epoch {child.epoch}, {child.restarts} restarts{why}"
        )
    return facts | {("unattended", position): "is closed by no process" for position in note.unattended}


def pair_facts(universe: Universe | None) -> Facts:
    """Return the shard of each pair."""
    if universe is None:
        return {}
    owners = universe.owners()
    return {
        ("pair", pair.base): (f"shard {owners[pair.base]}" if pair.base in owners else "no shard")
        + (", leaving" if pair.base in universe.leaving else "")
        for pair in universe.pairs
    }


def risk_facts(note: RiskNoteHead) -> Facts:
    """Return halt, limits, pairs that are closed, fences, and whether the books balance."""
    facts: Facts = {("closing", pair): reason for pair, reason in note.closing.items()}
    facts |= {("apart", pair): f"{one.cause}: {one.reason}" for pair, one in note.apart.items()}
    facts |= {("refusing", f"{one.venue} {one.symbol}".rstrip()): one.why for one in note.refusing}
    if note.halt is not None:
        facts["halt", ""] = f"{note.halt.cause}: {note.halt.reason}"
    facts |= {("limit", key): value for key, value in note.limits_changed.items()}
    facts |= {
        ("tightened", symbol): f"to {tight.factor}: {tight.cause}" for symbol, tight in note.tightened.items()
    }
    facts |= {("fence", shard): why or "fenced" for shard, why in note.fences.items()}
    return facts | ({("ledger", ""): note.broken} if note.broken else {})
