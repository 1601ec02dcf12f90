"""Defines the cluster file: which hosts run one arbshard together, and how they find each other.

Each host has the same file. ``host`` is not written in it: ``arbshard run --host`` sets it. A run without a cluster
has no ``ClusterConfig`` at all.
"""

from hashlib import sha256
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from arbshard.config.section import Section, matching

HOSTS_MAX = 16
PORTS = 3
"""Number of ports of a host, beginning with ``HostConfig.port``: the agent, risk's requests, risk's followers."""
AGREEMENT_BYTES = 8
PATIENCE = 1.2
"""Number of leases after which another host's lease has certainly expired, though clocks differ by up to 2 %."""
_AWAY_S = 5.0

HostName = Annotated[
    str,
    matching(
        r"^[a-z0-9][a-z0-9_-]{0,31}\Z",
        "must be 1 to 32 characters of a-z, 0-9, '_' and '-', the first one a letter or a digit",
    ),
]
HostKey = Annotated[
    str,
    matching(r"^[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}\Z", "must be a public key of 40 characters (Z85)"),
]


class HostConfig(Section, frozen=True):
    """Is one host of the cluster."""

    address: Annotated[str, Meta(min_length=1, max_length=255)]
    """Name or IP address at which the other hosts reach it."""
    key: HostKey
    """Public key of its agent and risk (CURVE, Z85); ``arbshard cluster init`` makes it."""
    port: Annotated[int, Meta(ge=1, le=65533)] = 7400
    """The first of its three ports."""
    capacity: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    """How much of the load it takes, relative to the other hosts."""

    @property
    def agent_endpoint(self) -> str:
        """Return the endpoint at which its agent votes."""
        return self._endpoint(0)

    @property
    def requests_endpoint(self) -> str:
        """Return the endpoint at which its risk answers the workers of other hosts, while it leads."""
        return self._endpoint(1)

    @property
    def follow_endpoint(self) -> str:
        """Return the endpoint at which its risk serves its followers, while it leads."""
        return self._endpoint(2)

    def _endpoint(self, number: int) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"tcp://{address}:{self.port + number}"


class ClusterConfig(Section, frozen=True):
    """Is the cluster file, and the name of the host that reads it."""

    name: HostName
    """The name separates clusters that share a NATS."""
    hosts: Annotated[dict[HostName, HostConfig], Meta(min_length=1, max_length=HOSTS_MAX)]
    nats: Annotated[tuple[str, ...], Meta(min_length=1, max_length=HOSTS_MAX)]
    """Addresses of the NATS servers, as ``nats://host:4222`` or ``tls://host:4222``; no password in them."""
    shards: Annotated[int, Meta(ge=1, le=64)] = 4
    """Number of shards of the whole cluster."""
    replication: Literal["sync", "async"] = "sync"
    """``sync``: an approval waits until a majority of the hosts has stored it, so no event is ever lost. ``async``:
    it does not wait, and at most ``async_lag_ms`` of events are lost with the leader's host."""
    lease_ms: Annotated[int, Meta(ge=300, le=60_000)] = 1000
    """How long a host may trade, and a leader may decide, without a sign from the others (ms)."""
    beat_ms: Annotated[int, Meta(ge=20, le=10_000)] = 100
    """How often each host reports to the leader (ms)."""
    async_lag_ms: Annotated[int, Meta(ge=10, le=60_000)] = 500
    """With ``async``: how far followers may lag before approvals wait for them (ms)."""
    samples_hz: Annotated[float, Meta(ge=0.1, le=20)] = 2.0
    """How often each host sends the leader its newest books, by which the leader values positions (per second)."""
    key_file: str = ""
    """This host's secret keys; empty for ``<host>.key`` beside the cluster file."""
    host: str = field(default="")
    """Name of the host that reads the file."""

    @property
    def agreement(self) -> bytes:
        """Return a digest of that on which all hosts must agree, so that no two of them count votes differently or
        wait for different times. The rest, such as addresses, may differ for a while.
        """
        hosts = sorted((name, one.key) for name, one in self.hosts.items())
        agreed = self.name, self.shards, self.replication, self.lease_ms, self.async_lag_ms, hosts
        return sha256(msgspec.json.encode(agreed)).digest()[:AGREEMENT_BYTES]

    @property
    def away_s(self) -> float:
        """Return after how long (s) without a message another host is shown as away. Agents send four in a lease."""
        return max(_AWAY_S, 2 * self.lease_ms / 1000)

    @property
    def majority(self) -> int:
        """Return how many hosts are a majority."""
        return len(self.hosts) // 2 + 1

    @property
    def own(self) -> HostConfig:
        """Return the host that reads the file."""
        return self.hosts[self.host]
