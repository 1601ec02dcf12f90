"""The children of a run: each with its argument list, what it is handed, and where it shows that it is up."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from arbshard.config import SimConfig
from arbshard.ledger.file import Opening
from arbshard.model.phase import WorkerState
from arbshard.model.rundir import RunFiles
from arbshard.secret import Secret
from supervisor.processes.child import ChildSpec
from supervisor.processes.health import FileHealth, PageHealth


class Programs(NamedTuple):
    """Modules run as ``python -m``, each in the place of a process. The perf harness puts its own in."""

    sim: str = "arbshard.exchanges"
    worker: str = "arbshard.worker"


class ChildSpecs:
    """Says how each child is started; ``process_supervisor`` starts and watches them."""

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
        self._opening = opening
        self._places = ("--run-dir", str(files.dir), "--state-dir", str(state_dir))

    def sim(self, settings: Callable[[], SimConfig]) -> ChildSpec:
        """The simulated exchanges. ``settings``, called at each start, go to their standard input."""
        argv = _python(
            self._programs.sim,
            "--settings",
            "-",
            "--ready-file",
            str(self._files.sim_ready),
            "--accounts-file",
            str(self._files.sim_accounts),
        )
        return ChildSpec(
            "sim",
            lambda _: argv,
            FileHealth(self._files.sim_ready),
            hands_over=lambda: Secret(msgspec.json.encode(settings()).decode()),
        )

    def risk(self) -> ChildSpec:
        """Risk and its ledger. ``opening`` is for its first start; each successor takes the ledger of the run."""
        argv = _python("arbshard.risk", *self._places)
        return ChildSpec(
            "risk",
            lambda epoch: [*argv, "--ledger", self._opening if epoch == 1 else "same"],
            PageHealth(self._files.risk_page, "ready", 1),
        )

    def accounts(self) -> ChildSpec:
        """Private streams and balances, live only."""
        argv = _python("arbshard.accounts", *self._places)
        health = PageHealth(self._files.accounts_page, "ready", 1)
        return ChildSpec("accounts", lambda _: argv, health, hands_over=self._keys)

    def worker(self, shard: int) -> ChildSpec:
        """The worker of one shard."""
        argv = _python(self._programs.worker, *self._places, "--shard", str(shard))
        return ChildSpec(
            f"worker-{shard}",
            lambda epoch: [*argv, "--epoch", str(epoch)],
            PageHealth(self._files.worker_page(shard), "state", WorkerState.RUNNING),
            shard,
            self._keys,
        )

    def spare(self) -> ChildSpec:
        """A worker that waits until it is given a shard."""
        argv = _python(self._programs.worker, *self._places, "--spare")
        return ChildSpec("spare", lambda _: argv, hands_over=self._keys)

    def companion(self, name: str) -> ChildSpec:
        """One of ``COMPANIONS``. It is up at once: a run waits for nothing of it."""
        argv = _python(f"arbshard.{name}", *self._places)
        return ChildSpec(name, lambda _: argv)

    def recorder(self, arguments: Sequence[str]) -> ChildSpec:
        """The writer of the tape of a run that only records."""
        argv = _python("arbshard.tape", *self._places, *arguments)
        return ChildSpec("recorder", lambda _: argv)

    def viewer(self) -> ChildSpec:
        """The live table."""
        argv = [sys.executable, "-m", "arbshard.status", "--run-dir", str(self._files.dir)]
        return ChildSpec("viewer", lambda _: argv, draws=True)


def _python(module: str, *arguments: str) -> Sequence[str]:
    """A module as a program that is given the pid of its parent."""
    return [sys.executable, "-m", module, *arguments, "--parent-pid", str(os.getpid())]
