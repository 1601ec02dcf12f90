"""A session of kills: an exchange, a live run, so many kills drawn from a seed, and the reckoning at the end."""

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
from kills.plans import CHILDREN, draw_faults, draw_freeze_s, draw_pause_s, draw_plan, draw_victim
from kills.run import LiveRun

Manner = Literal["children", "points", "runs", "stops"]
"""Children at random instants; processes at chosen points; the supervisor alone, or all at once; children are not
killed but stand still for a while, and wake: some in time, some when their successors already trade."""
MANNERS: tuple[Manner, ...] = ("children", "points", "runs", "stops")

_QUIET_S = 45.0
"""So long without a death by plan, and the run is taken to be stuck."""
_FAULTS_EVERY_S = 6.0
_SETTLE_S = 3.0
_STUCK_AFTER_MS: dict[Manner, int] = {"stops": 300}
_POLL_S = 0.05


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
        self._exchange = Exchange(folder, sim)
        self._run = LiveRun(folder, self._exchange, f"t{manner[0]}", _STUCK_AFTER_MS.get(manner, 1000))
        self._faulted_s = 0.0

    def close(self) -> None:
        """Leave nothing behind."""
        self._run.close()
        self._exchange.close()

    def __call__(self) -> Report:
        """All of it. Raises ``RuntimeError`` when the run cannot be kept going."""
        began_s = time.monotonic()
        {
            "children": self._kill_children,
            "points": self._kill_at_points,
            "runs": self._kill_runs,
            "stops": self._freeze_children,
        }[self.report.manner]()
        self._end()
        self._reckon()
        self.report.took_s = time.monotonic() - began_s
        return self.report

    # the manners

    def _kill_children(self) -> None:
        self._start()
        while self.report.kills < self._kills:
            self._wait(draw_pause_s(self._rng))
            victim = draw_victim(self._rng)
            if self._run.kill(victim):
                self._count(victim)
            if self._rng.random() < 0.15:  # two at once
                other = draw_victim(self._rng)
                if other != victim and self._run.kill(other):
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
                if self._run.kill(victim):
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

    def _kill_while_starting(self) -> None:
        self._run.launch()
        time.sleep(self._rng.uniform(0.2, 4.0))
        if killed := self._run.kill_all(self._rng):
            self._count("all, starting", killed)

    # what they have in common

    def _start(self) -> None:
        self._run.start(partial(self._exchange.set_faults, {}))
        self.report.starts += 1
        self._faulted_s = 0.0

    def _wait(self, pause_s: float) -> None:
        now_s = time.monotonic()
        if now_s - self._faulted_s > _FAULTS_EVERY_S:
            self._faulted_s = now_s
            self._exchange.set_faults(draw_faults(self._rng))
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
        while self._run.running_children() < set(CHILDREN) and time.monotonic() < end_s:
            time.sleep(_POLL_S)
        time.sleep(_SETTLE_S)
        self._run.stop()

    def _reckon(self) -> None:
        report, ledger, books = self.report, read_ledger(self._run.ledger), self._exchange.books()
        report.problems = disagreements(books, ledger)
        wrong = self._run.verify()
        if wrong:
            report.problems.append(f"arbshard ledger verify: {wrong}")
        report.problems += complaints(log_lines(self._run.logs), fenced=report.manner == "stops")
        report.failed_starts = self._run.failed_starts
        report.intents = ledger.intents
        report.orders = sum(len(book["orders"]) for book in books.values())
        report.fills = sum(len(order["fills"]) for book in books.values() for order in book["orders"])
        report.not_found = sum("never accepted" in detail for detail in ledger.details.values())
        report.faults = self._exchange.fault_counts()
