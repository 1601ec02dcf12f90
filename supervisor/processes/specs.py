"""The children of a run, each with what it is started with and where it shows that it is up. Used by ``run``."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from arbshard.config import SimConfig
from arbshard.ledger.file import Opening
from arbshard.model.phase import WorkerState
from arbshard.model.rundir import RunFiles
from arbshard.secret import Secret
from supervisor.processes.child import Child
from supervisor.processes.commands import (
    Programs,
    accounts_command,
    risk_command,
    sim_command,
    spare_command,
    viewer_command,
    worker_command,
)
from supervisor.processes.health import FileHealth, PageHealth


class ChildSpecs:
    """Makes children; ``process_supervisor`` starts and watches them."""

    def __init__(
        self,
        programs: Programs,
        files: RunFiles,
        state_dir: Path,
        opening: Opening,
        keys: Callable[[], Secret] | None = None,
    ) -> None:
        """``opening``: what risk must find at its ledger's path.

        ``keys``: what is handed over to the processes that sign orders; None when no process does.
        """
        self._keys = keys
        self._programs = programs
        self._files = files
        self._state_dir = state_dir
        self._opening = opening

    def sim(self, settings: Callable[[], SimConfig]) -> Child:
        """The simulated exchanges. ``settings`` is asked at each start."""
        return Child(
            "sim",
            sim_command(self._programs.sim, self._files),
            health=FileHealth(self._files.sim_ready),
            hands_over=lambda: Secret(msgspec.json.encode(settings()).decode()),
        )

    def risk(self) -> Child:
        """Risk and its ledger."""
        health = PageHealth(self._files.risk_page, "ready", 1)
        command = risk_command(self._files, self._state_dir, self._opening)
        return Child("risk", command, health=health)

    def accounts(self) -> Child:
        """Private streams and balances, live only."""
        health = PageHealth(self._files.accounts_page, "ready", 1)
        command = accounts_command(self._files, self._state_dir)
        return Child("accounts", command, health=health, hands_over=self._keys)

    def worker(self, shard: int) -> Child:
        """One shard's."""
        return Child(
            f"worker-{shard}",
            worker_command(self._programs.worker, self._files, self._state_dir, shard),
            health=PageHealth(self._files.worker_page(shard), "state", WorkerState.RUNNING),
            shard=shard,
            hands_over=self._keys,
        )

    def spare(self) -> Sequence[str]:
        """How a spare worker is started."""
        return spare_command(self._programs.worker, self._files, self._state_dir)

    def viewer(self) -> Child:
        """The live table."""
        return Child("viewer", viewer_command(self._files), draws=True)
