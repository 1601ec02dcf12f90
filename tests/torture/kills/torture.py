"""A session of kills: an exchange, a live run, so many kills drawn from a seed, and the reckoning at the end."""

import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Literal

from arbshard.config import SimConfig
from arbshard.config.sim import FaultsConfig
from kills.agreement import disagreements, read_ledger
from kills.complaints import complaints, log_lines
from kills.exchange import Exchange
from kills.files import (
    FATAL,
    HARMLESS,
    LAST,
    Disk,
    back_up,
    ledger_removed,
    ledger_replaced,
    truncate,
    wal_removed,
)
from kills.plans import CHILDREN, draw_faults, draw_freeze_s, draw_pause_s, draw_plan, draw_victim
from kills.run import LiveRun
from kills.stranger import Stranger

Manner = Literal["children", "points", "runs", "stops", "files"]
"""What is done to the run. ``children``: they are killed at random instants. ``points``: processes die at chosen
points of the code. ``runs``: the supervisor is killed alone, or all processes at once. ``stops``: children are
stopped for a while and continue, some of them after their successors have begun to trade. ``files``: files are
removed, replaced and truncated, and disks are full."""
MANNERS: tuple[Manner, ...] = ("children", "points", "runs", "stops", "files")

_QUIET_S = 45.0
"""So long without a death by plan, and the run is taken to be stuck."""
_FAULTS_EVERY_S = 6.0
_SETTLE_S = 3.0
_STUCK_AFTER_MS: dict[Manner, int] = {"stops": 300}
_POLL_S = 0.05
_FATAL_S = 30.0
"""Within this time a run ends by itself after its ledger was taken away."""
_FULL_S = 60.0
"""A full disk ends the run only when the ledger has used up what it keeps in reserve."""
_COMPLETE_S = 30.0
"""Within this time every child runs again."""
_MEGABYTES = {"state": 48, "run": 24}
"""Sizes of the file systems of a run whose disks are to be full."""


@dataclass
class Report:
    """How a session went."""

    manner: Manner
    seed: int
    wanted: int
    kills: int = 0
    """Instants at which something was killed."""
    processes: int = 0
    """Processes that were killed at them."""
    victims: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    failed_starts: int = 0
    orders: int = 0
    fills: int = 0
    intents: int = 0
    not_found: int = 0
    """Orders that a crash or fault kept from the venue."""
    faults: dict[str, int] = field(default_factory=dict)
    took_s: float = 0.0
    problems: list[str] = field(default_factory=list)
    untried: list[str] = field(default_factory=list)
    """What this machine does not let us try, and why."""

    @property
    def replay(self) -> str:
        """The command that does the same again."""
        return f"python tests/torture --manner {self.manner} --kills {self.wanted} --seed {self.seed}"

    def text(self) -> str:
        """For people."""
        victims = ", ".join(f"{name} {number}" for name, number in sorted(self.victims.items()))
        faults = ", ".join(f"{name} {number}" for name, number in sorted(self.faults.items()) if number)
        lines = [
            f"{self.manner}, seed {self.seed}: {self.kills} kills, {self.processes} processes, {self.took_s:.0f} s",
            f"  {'stopped' if self.manner == 'stops' else 'killed'}: {victims}",
            f"  {self.starts} starts, {self.failed_starts} of them in vain",
            f"  {self.intents} intents, {self.fills} fills, {self.orders} orders at the exchange",
            f"  {self.not_found} orders that never got there",
            f"  faults: {faults}",
        ]
        lines += [f"  not tried: {what}" for what in self.untried]
        if self.problems:
            lines += [f"  PROBLEM: {problem}" for problem in self.problems[:40]]
            lines.append(f"  {len(self.problems)} problems; again with: {self.replay}")
        return "\n".join(lines)


class Torture:
    """One session. ``say`` hears how it goes."""

    def __init__(
        self, folder: Path, manner: Manner, kills: int, seed: int, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._rng = Random(f"{seed}:{manner}")
        self._kills = kills
        self._say = say
        self.report = Report(manner, seed, kills)
        sim = SimConfig(seed=seed, coins=4, updates_per_s=5.0, faults=FaultsConfig(seed=seed))
        self._folder = folder
        self._exchange = Exchange(folder, sim)
        self._stranger = Stranger()
        self._disks = self._mount() if manner == "files" else {}
        self._run = LiveRun(folder, self._exchange, f"t{manner[0]}", _STUCK_AFTER_MS.get(manner, 1000))
        self._faulted_s = 0.0

    def close(self) -> None:
        """Leave nothing behind."""
        self._run.close()
        self._exchange.close()
        self._stranger.close()
        for disk in self._disks.values():
            disk.close()

    def __call__(self) -> Report:
        """All of it. Raises ``RuntimeError`` when the run cannot be kept going."""
        began_s = time.monotonic()
        {
            "children": self._kill_children,
            "points": self._kill_at_points,
            "runs": self._kill_runs,
            "stops": self._freeze_children,
            "files": self._harm_files,
        }[self.report.manner]()
        self._end()
        self._reckon()
        if self.report.manner == "files":
            self._truncate_at_last()
        self.report.took_s = time.monotonic() - began_s
        return self.report

    # the manners

    def _kill_children(self) -> None:
        self._start()
        while self.report.kills < self._kills:
            self._wait(draw_pause_s(self._rng))
            victim = draw_victim(self._rng)
            if self._run.kill_child(victim):
                self._count(victim)
            if self._rng.random() < 0.15:  # two at once
                other = draw_victim(self._rng)
                if other != victim and self._run.kill_child(other):
                    self._count(other)

    def _freeze_children(self) -> None:
        self._start()
        while self.report.kills < self._kills:
            self._wait(draw_pause_s(self._rng))
            victim = draw_victim(self._rng)
            if self._run.freeze(victim, draw_freeze_s(self._rng)):
                self._count(victim)

    def _kill_at_points(self) -> None:
        self._run.arm(draw_plan(self._rng))
        self._start()
        seen, since_s = 0, time.monotonic()
        while self.report.kills < self._kills:
            self._wait(_POLL_S)
            deaths = self._run.deaths()
            for point in deaths[seen:]:
                self._count(point)
            if len(deaths) > seen:
                seen, since_s = len(deaths), time.monotonic()
                self._run.arm(draw_plan(self._rng))
            if time.monotonic() - since_s > _QUIET_S:
                raise RuntimeError(
                    f"nobody has come to a point for {_QUIET_S:g} s: {self._run.last_output()}"
                )
        self._run.arm("")

    def _kill_runs(self) -> None:
        while self.report.kills < self._kills:
            if self._rng.random() < 0.2:
                self._kill_while_starting()
            self._start()
            self._wait(self._rng.uniform(0.3, 3.0))
            if self._rng.random() < 0.5:  # while a child is being replaced
                victim = draw_victim(self._rng)
                if self._run.kill_child(victim):
                    self._count(victim)
                    self._wait(self._rng.uniform(0.0, 1.0))
            elif self._rng.random() < 0.4:  # while it ends in order
                self._run.ask_to_stop()
                time.sleep(self._rng.uniform(0.0, 1.0))
            if self._rng.random() < 0.5:
                if self._run.kill_supervisor():
                    self._count("supervisor")
            elif killed := self._run.kill_all(self._rng):
                self._count("all", killed)
        self._start()

    def _mount(self) -> dict[str, Disk]:
        try:
            disks: dict[str, Disk] = {}
            for name, megabytes in _MEGABYTES.items():
                disks[name] = Disk(self._folder / name, megabytes)
        except OSError as error:
            for disk in disks.values():
                disk.close()
            self.report.untried.append(f"full disks: {error.strerror}")
            return {}
        return disks

    def _harm_files(self) -> None:
        """Each kind of harm in a drawn order, again and again until there were enough."""
        kinds = [*HARMLESS, *FATAL]
        if not self._disks:
            kinds = [kind for kind in kinds if "full" not in kind]
        backup = self._folder / "backup.sqlite"
        self._start()
        while self.report.kills < self._kills:
            for kind in self._rng.sample(kinds, len(kinds)):
                if self.report.kills >= self._kills:
                    break
                if not self._run.is_alive:
                    self._start()
                self._wait(self._rng.uniform(0.5, 2.5))
                if not backup.exists():
                    back_up(self._run.ledger, backup)
                    self._wait(1.0)
                self._count(kind)
                if kind in HARMLESS:
                    self._harm_and_go_on(kind)
                else:
                    self._harm_and_end(kind, backup)
        if not self._run.is_alive:
            self._start()

    def _harm_and_go_on(self, kind: str) -> None:
        """The run must outlive it, with every child replaced that was killed meanwhile."""
        victim = draw_victim(self._rng)
        match kind:
            case "logs removed":
                shutil.rmtree(self._run.logs)
                self._kill_and_count(victim)
            case "children.json damaged":
                if self._run.damage_children_note(self._rng, victim):
                    self._count(victim)
                if self._rng.random() < 0.5 and self._run.kill_supervisor():
                    self._count("supervisor")
                    self._start()
            case "run folder full":
                self._disks["run"].fill()
                self._kill_and_count(victim)
                self._wait(self._rng.uniform(0.5, 3.0))
                self._disks["run"].free()
            case _:
                raise AssertionError(kind)
        self._until_complete(kind)

    def _harm_and_end(self, kind: str, backup: Path) -> None:
        """The run must end by itself and say so; with the files put back, the next start goes on from there."""
        ledger = self._run.ledger
        match kind:
            case "ledger removed":
                with ledger_removed(ledger):
                    self._await_end(kind, _FATAL_S)
                    if ledger.exists():
                        self.report.problems.append(f"{kind}: another ledger was begun in its place")
            case "ledger replaced":
                with ledger_replaced(ledger, backup):
                    self._await_end(kind, _FATAL_S)
            case "WAL removed":
                with wal_removed(ledger):
                    self._await_end(kind, _FATAL_S)
            case "disk full":
                self._disks["state"].fill()
                try:
                    self._await_end(kind, _FULL_S, full=self._disks["state"])
                finally:
                    self._disks["state"].free()
            case _:
                raise AssertionError(kind)

    def _await_end(self, kind: str, within_s: float, full: Disk | None = None) -> None:
        if self._rng.random() < 0.5:
            self._kill_and_count("risk")
        end_s = time.monotonic() + within_s
        while self._run.is_alive and time.monotonic() < end_s:
            if full is not None:
                full.fill()  # what was deleted in order to make room is filled again
            time.sleep(_POLL_S)
        if self._run.is_alive:
            self.report.problems.append(f"{kind}: the run went on for {within_s:g} s")
            self._run.stop()
        elif self._run.exit_code in (0, None):
            self.report.problems.append(f"{kind}: the run ended with exit code {self._run.exit_code}")
        if "Traceback" in self._run.last_output():
            self.report.problems.append(f"{kind}: {self._run.last_output()}")

    def _truncate_at_last(self) -> None:
        """A truncated ledger must end the run, and ``ledger verify`` or the next start must refuse it."""
        kind = self._rng.choice(LAST)
        self._start()
        self._wait(self._rng.uniform(1.0, 2.0))
        self._count(kind)
        ledger = self._run.ledger
        path = ledger if kind == "ledger truncated" else ledger.with_name(f"{ledger.name}-wal")
        truncate(path, 8192 if path == ledger else 0)
        self._await_end(kind, _FATAL_S)
        if kind == "ledger truncated" and not self._run.wrong_in_ledger():
            self.report.problems.append(f"{kind}: 'ledger verify' finds nothing wrong")

    def _kill_and_count(self, victim: str) -> None:
        if self._run.kill_child(victim):
            self._count(victim)

    def _until_complete(self, kind: str) -> None:
        end_s = time.monotonic() + _COMPLETE_S
        while self._run.is_alive and self._run.running_children() < set(CHILDREN):
            if time.monotonic() > end_s:
                missing = ", ".join(sorted(set(CHILDREN) - self._run.running_children()))
                self.report.problems.append(f"{kind}: {missing} did not come back in {_COMPLETE_S:g} s")
                return
            time.sleep(_POLL_S)
        if not self._run.is_alive:
            self.report.problems.append(f"{kind}: the run ended: {self._run.last_output()}")

    def _kill_while_starting(self) -> None:
        self._run.begin()
        time.sleep(self._rng.uniform(0.2, 4.0))
        if killed := self._run.kill_all(self._rng):
            self._count("all, starting", killed)

    # what they have in common

    def _start(self) -> None:
        self._run.start_until_running(partial(self._exchange.set_faults, {}))
        self.report.starts += 1
        self._faulted_s = 0.0

    def _wait(self, pause_s: float) -> None:
        now_s = time.monotonic()
        if now_s - self._faulted_s > _FAULTS_EVERY_S:
            self._faulted_s = now_s
            self._exchange.set_faults(draw_faults(self._rng, self._stranger.address))
        if not self._run.is_alive:
            raise RuntimeError(f"the run ended by itself: {self._run.last_output()}")
        time.sleep(pause_s)

    def _count(self, victim: str, processes: int = 1) -> None:
        self.report.kills += 1
        self.report.processes += processes
        self.report.victims[victim] += 1
        if self.report.kills % 25 == 0:
            self._say(f"{self.report.manner}: {self.report.kills} of {self._kills} kills")

    def _end(self) -> None:
        """No more faults; sometimes one more start, which has everything to put in order; then a stop in order."""
        self._exchange.set_faults({})
        if self._rng.random() < 0.5:
            self._run.kill_all(self._rng)
            self._start()
        end_s = time.monotonic() + 20
        while time.monotonic() < end_s and (
            self._run.running_children() < set(CHILDREN) or self._run.missed()
        ):
            time.sleep(_POLL_S)
        time.sleep(_SETTLE_S)
        self._run.stop()

    def _reckon(self) -> None:
        report, ledger, books = self.report, read_ledger(self._run.ledger), self._exchange.books()
        report.problems = disagreements(books, ledger)
        wrong = self._run.wrong_in_ledger()
        if wrong:
            report.problems.append(f"arbshard ledger verify: {wrong}")
        report.problems += complaints(
            log_lines(self._run.logs), fenced=report.manner == "stops", harmed=report.manner == "files"
        )
        if self._stranger.requests:
            methods = ", ".join(sorted(set(self._stranger.requests)))
            report.problems.append(f"{len(self._stranger.requests)} requests followed a redirect: {methods}")
        report.failed_starts = self._run.failed_starts
        report.intents = ledger.intents
        report.orders = sum(len(book["orders"]) for book in books.values())
        report.fills = sum(len(order["fills"]) for book in books.values() for order in book["orders"])
        report.not_found = sum("never accepted" in detail for detail in ledger.details.values())
        report.faults = self._exchange.fault_counts()
