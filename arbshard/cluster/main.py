"""Is the cluster agent as a process: ``python -m arbshard.cluster --run-dir DIR --state-dir DIR``.

The supervisor of each host of a cluster starts it, before anything that needs risk. It reads ``config.json`` of the
run directory, and the key file that this names. Exit codes: ``agent.AgentExit``.
"""

import argparse
import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import uvloop

from arbshard.clock import SystemClock
from arbshard.cluster.agent import Agent, AgentExit, AgentPorts
from arbshard.cluster.store import LeaseStore, StoredEntry
from arbshard.config import Config
from arbshard.config.cluster import ClusterConfig
from arbshard.config.cluster_file import HostKeys, read_host_keys
from arbshard.errors import ArbshardError, LedgerError, RunDirError, UsageError
from arbshard.last_words import end_with
from arbshard.log import get_logger, setup
from arbshard.model.money import use_money_context
from arbshard.model.rundir import RunFiles
from arbshard.optional import require_libraries
from arbshard.process import (
    Parent,
    add_parent_option,
    freeze_gc,
    leave_ending_to_the_supervisor,
    protect_memory,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until asked to stop. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m arbshard.cluster")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    add_parent_option(parser)
    given = parser.parse_args(arguments)
    leave_ending_to_the_supervisor()
    use_money_context()
    try:
        protect_memory()
        files = RunFiles(given.run_dir)
        config = _read(files.config)
        setup("cluster", given.state_dir / "logs", config.run.log_level)
        return uvloop.run(_serve(config, files, given.state_dir, Parent(given.parent_pid)))
    except (ArbshardError, OSError) as error:
        get_logger().error("the cluster agent ends", error=str(error))
        return end_with(_exit_code_of(error), f"cluster agent: {error}")
    except Exception:
        get_logger().exception("the cluster agent ends: a mistake in the program")
        raise


async def _serve(config: Config, files: RunFiles, state_dir: Path, parent: Parent) -> AgentExit:
    if config.cluster is None:
        raise UsageError("the configuration of this run names no cluster")
    require_libraries("a cluster", "nats")
    keys = read_host_keys(config.cluster)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    make_store = partial(_make_store, config.cluster, keys)
    ports = AgentPorts(SystemClock(), files, state_dir, os.getpid(), keys, make_store, parent.is_gone)
    agent = Agent(ports, config)
    try:
        get_logger().info("the cluster agent begins", cluster=config.cluster.name, host=config.cluster.host)
        freeze_gc()
        return await agent.run(stop)
    finally:
        agent.close()
        get_logger().info("the cluster agent has ended")


def _make_store(
    cluster: ClusterConfig,
    keys: HostKeys,
    on_entry: Callable[[StoredEntry], None],
    on_state: Callable[[bool], None],
) -> LeaseStore:
    from arbshard.cluster.nats_store import NatsStore

    return NatsStore(cluster, keys, on_entry, on_state)


def _exit_code_of(error: Exception) -> AgentExit:
    if isinstance(error, LedgerError):
        return AgentExit.LEDGER
    return AgentExit.USAGE if isinstance(error, UsageError) else AgentExit.FAILED


def _read(path: Path) -> Config:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Config, strict=False)
    except OSError as error:
        raise RunDirError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise RunDirError(f"{path}: {error}") from error
