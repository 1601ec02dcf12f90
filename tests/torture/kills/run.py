"""One live installation of arbshard in a folder of its own: started, killed, started again, stopped."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec
import psutil
from typing_extensions import override

from arbshard.crashpoint import VARIABLE
from arbshard.errors import TransportError
from arbshard.model.universe import Universe
from arbshard.wire import control
from arbshard.wire.request import ask
from kills.exchange import Exchange
from support.exchanges import VENUES
from support.instance import NO_LIMITS, Instance

_DAMAGED = (b"", b"null", b'{"a":1}', b'[{"pid":-1,"name":"risk","started":0}]', b"\xff\x00 not JSON")
START_S = 60.0

# Enters whatever it costs, leaves soon, never pauses for its losses, and only briefly after a blip of the FX rate:
# the more orders, the more there is to lose.
CONFIG = (
    """
mode = "live"
data = "public"
[run]
shards = 2
spare_workers = 1
restart_tries = 100
restart_window_s = 0.5
stop_timeout_s = 30
stuck_after_ms = {stuck_after_ms}
disk_free_min_mb = 8
disk_free_stop_mb = 4
[venues]
listing_every_s = 2
"""
    + VENUES
    + """[data_quality]
max_book_age_ms = 5000
max_leg_skew_ms = 5000
max_fx_age_ms = 10000
[baseline]
is_required = false
[fx]
quiet_s = 3
[strategy]
rearm_pause_max_s = 0.0
no_reversion_exits = 0
entry_bps = -100
min_edge_bps = -100
round_trip_bps = -1000
stop_loss_bps = 5000
stop_room_bps = 0
max_hold_s = 0.4
cooldown_ms = 50
[sizing]
entry_notional_max = "120000"
entry_notional_min = "40000"
[execution]
approval_expiry_ms = 2000
retry_ms = 50
exit_cost_bps_max = 1e6
[ledger]
archive_events = 1000
[live]
order_timeout_s = 0.6
ask_pause_ms = 50
ask_pause_max_ms = 500
recv_window_ms = 2000
not_found_after_s = 2.5
entry_wait_ms = 200
budget_wait_s = 2
reconcile_every_s = 1
connections = 1
"""
    + NO_LIMITS
)


class LiveRun(Instance):
    """``arbshard run --live`` against ``exchange``; its ledger outlives it."""

    def __init__(self, folder: Path, exchange: Exchange, name: str, stuck_after_ms: int = 1000) -> None:
        self.plan = folder / "crash-plan"
        self.plan.write_text("")
        super().__init__(
            folder,
            CONFIG.format(stuck_after_ms=stuck_after_ms, **exchange.addresses),
            name=name,
            arguments=("--live",),
            environment={**exchange.environment(), VARIABLE: f"@{self.plan}"},
        )
        self.failed_starts = 0

    # life and death

    def start_until_running(self, calm: Callable[[], None], tries: int = 4) -> None:
        """Start it. It may refuse to start while the exchange misbehaves: ``calm`` ends that, and it tries again.

        Raises ``RuntimeError``.
        """
        for _ in range(tries):
            if self._started():
                return
            self.failed_starts += 1
            calm()
        raise RuntimeError(f"it did not start in {tries} tries: {self.last_output()}")

    def begin(self) -> None:
        """Begin to start, and wait for nothing."""
        self.start(*(() if self.ledger.exists() else ("--new-ledger",)))

    def ask_to_stop(self) -> None:
        """Ask it to end in order; waits for nothing."""
        self.process.send_signal(signal.SIGTERM)

    def kill_child(self, name: str) -> bool:
        """SIGKILL one child; False when it does not run at the moment."""
        for process in self._known_children(name):
            process.kill()
            return True
        return False

    def damage_children_note(self, rng: Random, victim: str) -> bool:
        """Write garbage into the note of which children there are, and kill one; False when it does not run."""
        found = self._known_children(victim)
        self.files.children.write_bytes(rng.choice(_DAMAGED))
        for process in found:
            process.kill()
        return bool(found)

    def freeze(self, name: str, duration_s: float) -> bool:
        """SIGSTOP one child for so long, unless it is killed meanwhile; False when it does not run at the moment."""
        for process in self._known_children(name):
            try:
                process.suspend()
                time.sleep(duration_s)
                process.resume()
            except psutil.NoSuchProcess:
                return True
            return True
        return False

    def kill_supervisor(self) -> bool:
        """SIGKILL the supervisor alone; its children must notice. False when it has ended by itself."""
        self.process.kill()
        return self.process.wait(10) == -signal.SIGKILL

    def kill_all(self, rng: Random) -> int:
        """SIGKILL every process, in any order, within a millisecond or two; how many those were."""
        if self.process.poll() is not None:
            return 0
        victims = [psutil.Process(self.process.pid), *self._known_children()]
        rng.shuffle(victims)
        for victim in victims:
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(10)
        return len(victims)

    @override
    def close(self) -> None:
        """Leave nothing behind, also of a supervisor that was killed."""
        self._family.update(self._known_children())
        super().close()

    # what it says

    @property
    def exit_code(self) -> int | None:
        """How its supervisor ended; None while it runs."""
        return self.process.poll()

    @property
    def is_alive(self) -> bool:
        """Whether its supervisor runs."""
        return self.process.poll() is None

    def running_children(self) -> set[str]:
        """Names of the children that run."""
        return {name for name, pid in self._known().items() if _alive(pid) is not None}

    def missed(self) -> set[str]:
        """Pairs of which something is open and that are not traded: a market of theirs was closed at the start."""
        note = self.risk_note()
        return {*(one.pair for one in note.positions), *note.under_way} - self.bases()

    def bases(self) -> set[str]:
        """The pairs that are traded."""
        universe = msgspec.json.decode(self.files.universe.read_bytes(), type=Universe)
        return {pair.base for pair in universe.pairs}

    def deaths(self) -> list[str]:
        """Points at which processes died by plan, in order."""
        died = self.plan.with_name(f"{self.plan.name}.died")
        return died.read_text().split() if died.exists() else []

    def arm(self, plan: str) -> None:
        """Let processes that start from now on die by ``plan``; empty: by none."""
        partial = self.plan.with_name("crash-plan.tmp")
        partial.write_text(plan)
        partial.replace(self.plan)

    def wrong_in_ledger(self) -> str:
        """What ``arbshard ledger verify --archive`` and ``prove`` find wrong; empty when the ledger is clean."""
        done = [self.carry_out("ledger", *command) for command in (("verify", "--archive"), ("prove",))]
        return "".join(one.out + one.err for one in done if one.code)

    def last_output(self) -> str:
        """The end of what the supervisor printed."""
        return "\n".join(self.output.splitlines()[-15:])

    def _started(self) -> bool:
        self.begin()
        end_s = time.monotonic() + START_S
        while time.monotonic() < end_s:
            if self.process.poll() is not None:
                return False
            if self._says_running():
                return True
            time.sleep(0.1)
        raise RuntimeError(f"not running after {START_S:g} s: {self.last_output()}")

    def _says_running(self) -> bool:
        try:
            reply = ask(self.files.control_endpoint, control.encode(control.Ping()), 200)
        except TransportError:
            return False  # it is not there yet
        return control.decode_answer(reply) == control.ControlDone("running")

    def _known(self) -> dict[str, tuple[int, float]]:
        try:
            known = json.loads(self.files.children.read_text())
            return {child["name"]: (child["pid"], child["started"]) for child in known}
        except (OSError, ValueError, TypeError, KeyError):
            return {}  # it is not there, or this test has damaged it

    def _known_children(self, name: str = "") -> list[psutil.Process]:
        found = (_alive(pid) for child, pid in self._known().items() if name in ("", child))
        return [process for process in found if process is not None]


def _alive(known: tuple[int, float]) -> psutil.Process | None:
    """The process, unless it has ended and its number went to another."""
    pid, started = known
    try:
        process = psutil.Process(pid)
        if process.create_time() == started and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except psutil.NoSuchProcess:
        return None
    return None
