"""A cluster file and keys for tests, with hosts on this machine."""

from pathlib import Path

from arbshard.cluster.keys import CLUSTER_FILE, ClusterPlan, HostPlace, make_cluster
from arbshard.config.cluster import ClusterConfig
from arbshard.config.cluster_file import load_cluster
from support.nats_server import PASSWORD, USER
from support.ports import free_ports


def make_hosts(
    folder: Path,
    hosts: str = "abc",
    nats: tuple[str, ...] = ("nats://127.0.0.1:4222",),
    shards: int = 2,
    lease_ms: int = 1000,
) -> dict[str, ClusterConfig]:
    """Return the cluster as each host reads it."""
    places = {host: HostPlace("127.0.0.1", free_ports(3)) for host in hosts}
    make_cluster(ClusterPlan("test", places, nats, shards), folder)
    for host in hosts:
        path = folder / f"{host}.key"
        lines = [line for line in path.read_text().splitlines() if not line.startswith("nats_")]
        lines += [f'nats_user = "{USER}"', f'nats_password = "{PASSWORD}"']
        path.write_text("\n".join(lines) + "\n")
    path = folder / CLUSTER_FILE
    path.write_text(f"lease_ms = {lease_ms}\n{path.read_text()}")
    return {host: load_cluster(folder / CLUSTER_FILE, host) for host in hosts}
