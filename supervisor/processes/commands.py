"""How each child process is started: its argument list."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from arbshard.config import Config
from arbshard.ledger.file import Opening
from arbshard.model.rundir import RunFiles

Command = Callable[[int], Sequence[str]]
"""Epoch → argument list."""


class Programs(NamedTuple):
    """Modules run as ``python -m``, each in the place of a process. The perf harness puts its own in."""

    sim: str = "arbshard.sim"
    worker: str = "arbshard.worker"


def sim_command(module: str, files: RunFiles) -> Command:
    """The simulated exchanges; they read their settings from their standard input."""
    argv = [
        sys.executable,
        "-m",
        module,
        "--settings",
        "-",
        "--ready-file",
        str(files.sim_ready),
        "--accounts-file",
        str(files.sim_accounts),
        "--parent-pid",
        str(os.getpid()),
    ]
    return lambda _: argv


def risk_command(files: RunFiles, state_dir: Path, opening: Opening) -> Command:
    """Risk and its ledger. ``opening`` is for the first start; each successor takes the ledger of the run."""
    argv = [sys.executable, "-m", "arbshard.risk", "--run-dir", str(files.dir), "--state-dir", str(state_dir)]
    return lambda epoch: [*argv, "--ledger", opening if epoch == 1 else "same"]


def accounts_command(files: RunFiles, state_dir: Path) -> Command:
    """Private streams and balances, live only."""
    argv = [
        sys.executable,
        "-m",
        "arbshard.accounts",
        "--run-dir",
        str(files.dir),
        "--state-dir",
        str(state_dir),
    ]
    return lambda _: argv


def worker_command(module: str, files: RunFiles, state_dir: Path, shard: int) -> Command:
    """One shard."""
    argv = _worker(module, files, state_dir)
    return lambda epoch: [*argv, "--shard", str(shard), "--epoch", str(epoch)]


def spare_command(module: str, files: RunFiles, state_dir: Path) -> Sequence[str]:
    """A worker that waits until it is told its shard."""
    return [*_worker(module, files, state_dir), "--spare"]


def _worker(module: str, files: RunFiles, state_dir: Path) -> Sequence[str]:
    return [sys.executable, "-m", module, "--run-dir", str(files.dir), "--state-dir", str(state_dir)]


def viewer_command(files: RunFiles) -> Command:
    """The live table."""
    return lambda _: [sys.executable, "-m", "arbshard.status", "--run-dir", str(files.dir)]


def state_dir_of(config: Config) -> Path:
    """Where ledger and logs of an instance are kept: for ever, so never in a temporary place."""
    if config.state_dir:
        return Path(config.state_dir).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return (Path(base).expanduser() / "arbshard" / config.name).absolute()
