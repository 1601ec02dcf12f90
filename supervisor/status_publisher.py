"""Writes the supervisor's page: its beat, and the note for status, with the alerts that a person should see."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.log import error_count
from arbshard.model.cluster_note import supervisor_counters
from arbshard.model.notes import RECORDING, RunState, SupervisorNote, VenueNote
from arbshard.model.phase import SUPERVISOR_SILENT_NS
from arbshard.model.universe import Universe
from arbshard.shm.pages import PageWriter
from supervisor.journal import RunJournal
from supervisor.processes.process_supervisor import ProcessSupervisor
from supervisor.topics import RunTopics

COUNTERS = ("pid", "beat", "beat_ns", "errors", "messages", "bad_orders")
HISTOGRAMS = ("loop_gap", "loop_cpu")
"""For each turn of the beat: by how much its timer came too late, and how much CPU the loop used since the last one.
"""
_NOTE_AGAIN_NS = 5_000_000_000
_ALERTS_KEPT = 32
"""So many that the process of the alerts misses none while it is restarted."""
_ALERT_CHARS_MAX = 1000


class StatusPublisher:
    """Writes the page for ``run``; status and risk read it."""

    def __init__(
        self,
        path: Path,
        config: Config,
        state_dir: Path,
        clock: Clock,
        pid: int,
        note_s: float,
        *,
        only_records: bool = False,
    ) -> None:
        """Make the page. ``pid``: the supervisor's. ``note_s``: how often a note is written. Raises
        ``SharedMemoryError``.

        ``only_records``: the run has neither risk nor workers.
        """
        cluster = supervisor_counters(config.cluster.shards) if config.cluster is not None else ()
        self._page = PageWriter.create(path, (*COUNTERS, *cluster), HISTOGRAMS)
        self._config = config
        self._only_records = only_records
        self._state_dir = state_dir
        self._clock = clock
        self._pid = pid
        self._note_ns = int(note_s * 1e9)
        self._started_ms = clock.wall_ms()
        self.journal = RunJournal(self._started_ms, config.venues.traded, logs_trades=config.run.log_trades)
        self._alerts: deque[str] = deque(maxlen=_ALERTS_KEPT)
        self._alerts_total = 0
        self._noted_ns = 0
        self._venues: tuple[VenueNote, ...] = ()
        self.state: RunState = "starting"
        self.universe: Universe | None = None
        self.bad_orders = 0
        """Number of messages on the control socket that could not be read as an order."""
        self.unattended: tuple[str, ...] = ()
        """Open positions of pairs that this run does not trade."""
        self.away: tuple[int, ...] = ()
        """Shards that other hosts run."""
        self.waits_for = ""
        """Why the start waits for the venues; empty when it does not."""
        self.topics: RunTopics | None = None
        """The bus, once there is one."""

    def alert(self, line: str) -> None:
        """Count, show and publish something that a person should know."""
        if self.topics is not None:
            self.topics.alert(line)
        self._alerts_total += 1
        now = datetime.fromtimestamp(self._clock.wall_ms() / 1000, UTC)
        self._alerts.append(f"{now:%H:%M:%S} {line[:_ALERT_CHARS_MAX]}")

    def beat(self, now_ns: int) -> bool:
        """Record that the supervisor's loop is alive. Return whether a note is due."""
        self._page.add(self._page.counter("beat"))
        self._page.set(self._page.counter("beat_ns"), now_ns)
        if self.topics is not None:
            self.topics.beat(now_ns)
        is_due = now_ns - self._noted_ns >= self._note_ns
        if is_due:
            self._noted_ns = now_ns
        return is_due

    def show(self, values: Mapping[str, int]) -> None:
        """Set counters of the page by name."""
        for name, value in values.items():
            self._page.set(self._page.counter(name), value)

    def postpone_note(self, now_ns: int) -> None:
        """Make the note due again after a pause, because it could not be written."""
        self._noted_ns = now_ns + _NOTE_AGAIN_NS

    def record_turn(self, span_ns: int, late_ns: int, cpu_ns: int) -> bool:
        """Record a turn of the beat that began ``span_ns`` after the one before and came ``late_ns`` too late.

        ``cpu_ns``: how much of a CPU the loop used meanwhile. Return whether the pause was so long that the children
        have stopped trading.
        """
        self._page.record(self._page.histogram("loop_gap"), late_ns)
        self._page.record(self._page.histogram("loop_cpu"), cpu_ns)
        return span_ns > SUPERVISOR_SILENT_NS

    def write(self, processes: ProcessSupervisor, report: Callable[[], Sequence[VenueNote]]) -> None:
        """Write the note. ``report`` returns the feeds' present state; once all has ended, the last report stays."""
        if self.state != "ended":
            self._venues = tuple(report())
        set_ = self._page.set
        set_(self._page.counter("pid"), self._pid)
        set_(self._page.counter("errors"), error_count())
        set_(self._page.counter("messages"), sum(venue.frames for venue in self._venues))
        set_(self._page.counter("bad_orders"), self.bad_orders)
        config = self._config
        note = SupervisorNote(
            name=config.name,
            mode=RECORDING if self._only_records else config.mode,
            data=config.data,
            regime=config.regime,
            state=self.state,
            pid=self._pid,
            started_ms=self._started_ms,
            state_dir=str(self._state_dir),
            shards=0 if self._only_records else config.run.shards,
            pairs=len(self.universe.pairs) if self.universe is not None else 0,
            venues=self._venues,
            children=processes.notes(),
            alerts=tuple(self._alerts),
            alerts_total=self._alerts_total,
            unattended=self.unattended,
            waits_for=self.waits_for,
            spares=processes.spares.states if processes.spares is not None else (),
            spares_wanted=processes.spares.wanted if processes.spares is not None else 0,
            away=self.away,
            halts=self.journal.halts,
            journal=self.journal.decisions,
        )
        self._page.write_note(msgspec.json.encode(note))
        if self.topics is not None:
            self.topics.report(note, self.universe)

    def close(self) -> None:
        """Close the page."""
        self._page.close()
