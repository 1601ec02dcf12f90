"""Defines a run's children: each with its argument list, its standard input, and where it shows that it is up."""

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
    """Names modules that are run as ``python -m``. The perf harness and tests replace some by their own."""

    sim: str = "arbshard.exchanges"
    worker: str = "arbshard.worker"
    agent: str = "arbshard.cluster"
    risk: str = "arbshard.risk"


class ChildSpecs:
    """Describes how each child is started; ``process_supervisor`` starts and watches them."""

    def __init__(
        self,
        programs: Programs,
        files: RunFiles,
        state_dir: Path,
        opening: Opening,
        keys: Callable[[], Secret] | None = None,
    ) -> None:
        """Begin. ``opening``: what risk must find at its ledger's path.

        ``keys``: what is sent to the processes that sign orders; None when no process does.
        """
        self._keys = keys
        self._programs = programs
        self._files = files
        self._opening = opening
        self._places = ("--run-dir", str(files.dir), "--state-dir", str(state_dir))

    def sim(self, settings: Callable[[], SimConfig]) -> ChildSpec:
        """Return the simulated exchanges. ``settings``, called at each start, are sent to their standard input."""
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

    def ready_risk(self) -> ChildSpec:
        """Return risk of a host of a cluster, which waits until it is given the term in which the host leads."""
        which = "any" if self._opening == "new" else self._opening
        argv = _python(self._programs.risk, *self._places, "--ready", "--ledger", which)
        return ChildSpec("ready-risk", lambda _: argv)

    def risk(self, term: int | None = None) -> ChildSpec:
        """Return risk with its ledger. ``opening`` is for its first start; each successor takes the ledger of the
        run.

        ``term``: that of its leadership in a run on several hosts, where the ledger is the copy that this host keeps,
        which may have come from another host since the run began.
        """
        argv = _python(self._programs.risk, *self._places)
        health = PageHealth(self._files.risk_page, "ready", 1)
        if term is not None:
            which = "any" if self._opening == "new" else self._opening
            argv = [*argv, "--term", str(term), "--ledger", which]
            return ChildSpec("risk", lambda _: argv, health, term=term)
        return ChildSpec(
            "risk", lambda epoch: [*argv, "--ledger", self._opening if epoch == 1 else "same"], health
        )

    def agent(self) -> ChildSpec:
        """Return the cluster agent, which only a run on several hosts has."""
        argv = _python(self._programs.agent, *self._places)
        return ChildSpec("agent", lambda _: argv, PageHealth(self._files.cluster_page, "ready", 1))

    def accounts(self) -> ChildSpec:
        """Return the process of private streams and balances, live only."""
        argv = _python("arbshard.accounts", *self._places)
        health = PageHealth(self._files.accounts_page, "ready", 1)
        return ChildSpec("accounts", lambda _: argv, health, hands_over=self._keys)

    def worker(self, shard: int) -> ChildSpec:
        """Return the worker of one shard."""
        argv = _python(self._programs.worker, *self._places, "--shard", str(shard))
        return ChildSpec(
            f"worker-{shard}",
            lambda epoch: [*argv, "--epoch", str(epoch)],
            PageHealth(self._files.worker_page(shard), "state", WorkerState.RUNNING),
            shard,
            self._keys,
        )

    def spare(self) -> ChildSpec:
        """Return a worker that waits until it is given a shard."""
        argv = _python(self._programs.worker, *self._places, "--spare")
        return ChildSpec("spare", lambda _: argv, hands_over=self._keys)

    def companion(self, name: str) -> ChildSpec:
        """Return one of ``COMPANIONS``. It counts as up at once: a run does not wait for it."""
        argv = _python(f"arbshard.{name}", *self._places)
        return ChildSpec(name, lambda _: argv)

    def recorder(self, arguments: Sequence[str]) -> ChildSpec:
        """Return the writer of the tape of a run that only records."""
        argv = _python("arbshard.tape", *self._places, *arguments)
        return ChildSpec("recorder", lambda _: argv)

    def viewer(self) -> ChildSpec:
        """Return the live table."""
        argv = [sys.executable, "-m", "arbshard.status", "--run-dir", str(self._files.dir)]
        return ChildSpec("viewer", lambda _: argv, draws=True)


def _python(module: str, *arguments: str) -> Sequence[str]:
    """Return the command that runs a module as a program and gives it the pid of its parent."""
    return [sys.executable, "-m", module, *arguments, "--parent-pid", str(os.getpid())]
