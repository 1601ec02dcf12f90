"""Defines the names of the files in a run directory, by which the processes of one run find each other.

Only files whose names are listed here are ever removed from a run directory. To add a file, add an attribute to
``RunFiles`` and the name to ``OWN_NAMES`` (or the pattern to ``_NUMBERED``, when there is one file for each shard or
process).
"""

import errno
import re
from pathlib import Path

LOCK = "arbshard.lock"
"""The lock file. It also marks the directory: arbshard made a directory that has it, and may clean it."""

OWN_NAMES = frozenset(
    {
        LOCK,
        "children.json",
        "config.json",
        "universe.json",
        "books",
        "sim.json",
        "sim-ca.pem",
        "sim-accounts.sqlite",
        "sim-accounts.sqlite-shm",
        "sim-accounts.sqlite-wal",
        "page-supervisor",
        "page-risk",
        "page-accounts",
        "page-ledger",
        "page-series",
        "page-metrics",
        "page-alerts",
        "page-web",
        "page-cluster",
        "cluster-universe.json",
        "budget-accounts",
        "budget-supervisor",
        "risk.ipc",
        "risk.sock",
        "bus.ipc",
        "raw.ipc",
        "accounts.ipc",
        "control.sock",
    }
)

_NUMBERED = re.compile(r"(page-worker|budget-worker|ring|park|bell)-[0-9]{1,6}")
_UNFINISHED = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{1,16}")
"""Matches what is written before it is renamed: ``write_whole`` adds a pid, ``tempfile`` adds letters."""


def is_own_name(name: str) -> bool:
    """Return whether a file of this name in a run directory is ours, so that we may remove it."""
    unfinished = _UNFINISHED.fullmatch(name)
    if unfinished is not None:
        name = unfinished["name"]
    name = name.removesuffix(".former")
    return name in OWN_NAMES or _NUMBERED.fullmatch(name) is not None


def reason_of(error: OSError) -> str:
    """Return why a file of the run directory could not be written; where its place is full, also what can be done."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{reason}; free space there, or choose another place with $ARBSHARD_RUN_ROOT"
    return reason


class RunFiles:
    """Holds paths below a run directory. The supervisor creates and removes the directory."""

    def __init__(self, run_dir: Path) -> None:
        self.dir = run_dir
        self.lock = run_dir / LOCK
        self.children = run_dir / "children.json"
        self.config = run_dir / "config.json"
        self.universe = run_dir / "universe.json"
        self.books = run_dir / "books"
        self.sim_ready = run_dir / "sim.json"
        self.sim_accounts = run_dir / "sim-accounts.sqlite"
        """The accounts of the simulated exchanges, with ``-wal`` and ``-shm`` beside it."""
        self.supervisor_page = run_dir / "page-supervisor"
        self.risk_page = run_dir / "page-risk"
        self.accounts_page = run_dir / "page-accounts"
        self.ledger_page = run_dir / "page-ledger"
        self.series_page = run_dir / "page-series"
        self.metrics_page = run_dir / "page-metrics"
        self.alerts_page = run_dir / "page-alerts"
        self.web_page = run_dir / "page-web"
        self.cluster_page = run_dir / "page-cluster"
        self.cluster_universe = run_dir / "cluster-universe.json"
        """The newest universe of the cluster, where another host leads."""
        self.raw_socket = run_dir / "raw.ipc"

    def worker_page(self, shard: int) -> Path:
        """Return the page of a shard's worker; a successor writes it anew."""
        return self.dir / f"page-worker-{shard}"

    @property
    def risk_endpoint(self) -> str:
        """Return the endpoint at which risk answers operators, the accounts process, and workers."""
        return f"unix://{self.dir}/risk.sock"

    @property
    def risk_zmq_endpoint(self) -> str:
        """Return the endpoint at which it also answers workers with ``run.transport = "zmq"``."""
        return f"ipc://{self.dir}/risk.ipc"

    @property
    def bus_endpoint(self) -> str:
        """Return the endpoint at which the supervisor publishes."""
        return f"ipc://{self.dir}/bus.ipc"

    @property
    def raw_endpoint(self) -> str:
        """Return the endpoint at which the supervisor publishes for recorders what its feeds receive."""
        return f"ipc://{self.raw_socket}"

    @property
    def accounts_endpoint(self) -> str:
        """Return the endpoint at which the accounts process publishes what venues state of our orders."""
        return f"ipc://{self.dir}/accounts.ipc"

    @property
    def control_endpoint(self) -> str:
        """Return the endpoint at which the supervisor accepts orders from the command line."""
        return f"unix://{self.dir}/control.sock"
