"""Computes which part of the limits that a venue counts by account this host of a cluster may use.

Each host takes (shards that it holds + 1) / (all shards + number of hosts): the parts of all hosts never add up to
more than the whole, and a host without a shard can still ask about its orders.
"""

from collections.abc import Callable
from pathlib import Path

from arbshard.config.cluster import ClusterConfig
from arbshard.errors import SharedMemoryError
from arbshard.shm.pages import PageReader

_AGAIN_NS = 200_000_000
"""How often the grants are read again, in ns."""


class AccountPart:
    """Follows the grants on the page of the cluster agent."""

    def __init__(self, path: Path, cluster: ClusterConfig, monotonic_ns: Callable[[], int]) -> None:
        self._path = path
        self._shards, self._hosts = cluster.shards, len(cluster.hosts)
        self._now_ns = monotonic_ns
        self._read_ns = -_AGAIN_NS
        self._held = 0

    def __call__(self) -> float:
        """Return the part at this moment."""
        now_ns = self._now_ns()
        if now_ns - self._read_ns >= _AGAIN_NS:
            self._read_ns = now_ns
            self._read()
        return (self._held + 1) / (self._shards + self._hosts)

    def _read(self) -> None:
        try:
            with PageReader.attach(self._path) as page:
                self._held = sum(page.value(f"grant_{shard}") > 0 for shard in range(self._shards))
        except SharedMemoryError:
            return  # the agent has not begun, or is being replaced; what was read last counts
