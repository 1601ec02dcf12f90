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

    sim: str = "arbshard.exchanges"
    worker: str = "arbshard.worker"


def sim_command(module: str, files: RunFiles) -> Command:
    """The simulated exchanges; they read their settings from their standard input."""
    argv = _python(
        module,
        "--settings",
        "-",
        "--ready-file",
        str(files.sim_ready),
        "--accounts-file",
        str(files.sim_accounts),
    )
    return lambda _: argv


def risk_command(files: RunFiles, state_dir: Path, opening: Opening) -> Command:
    """Risk and its ledger. ``opening`` is for the first start; each successor takes the ledger of the run."""
    argv = _in_place("arbshard.risk", files, state_dir)
    return lambda epoch: [*argv, "--ledger", opening if epoch == 1 else "same"]


def accounts_command(files: RunFiles, state_dir: Path) -> Command:
    """Private streams and balances, live only."""
    argv = _in_place("arbshard.accounts", files, state_dir)
    return lambda _: argv


def worker_command(module: str, files: RunFiles, state_dir: Path, shard: int) -> Command:
    """One shard."""
    argv = _in_place(module, files, state_dir)
    return lambda epoch: [*argv, "--shard", str(shard), "--epoch", str(epoch)]


def spare_command(module: str, files: RunFiles, state_dir: Path) -> Sequence[str]:
    """A worker that waits until it is told its shard."""
    return [*_in_place(module, files, state_dir), "--spare"]


def _in_place(module: str, files: RunFiles, state_dir: Path) -> Sequence[str]:
    return _python(module, "--run-dir", str(files.dir), "--state-dir", str(state_dir))


def _python(module: str, *arguments: str) -> Sequence[str]:
    """A module as a program that is told who its parent is."""
    return [sys.executable, "-m", module, *arguments, "--parent-pid", str(os.getpid())]


def viewer_command(files: RunFiles) -> Command:
    """The live table."""
    return lambda _: [sys.executable, "-m", "arbshard.status", "--run-dir", str(files.dir)]


def state_dir_of(config: Config) -> Path:
    """Where ledger and logs of an instance are kept: for ever, so never in a temporary place."""
    if config.state_dir:
        return Path(config.state_dir).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return (Path(base).expanduser() / "arbshard" / config.name).absolute()
