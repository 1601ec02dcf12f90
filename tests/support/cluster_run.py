"""Risk of a cluster's leader as a real process, and followers in the test's own loop, over real sockets.

The followers use the real replica and the real links; what the agent decides is left to the test.
"""

import asyncio
import subprocess
import time
from pathlib import Path

import msgspec
import zmq
from msgspec.structs import replace

from arbshard.clock import SystemClock, lease_ns
from arbshard.cluster.replica import Replica
from arbshard.config.cluster import ClusterConfig, HostConfig
from arbshard.config.cluster_file import read_host_keys
from arbshard.errors import ProtocolError
from arbshard.model.cluster_note import counters
from arbshard.shm.pages import PageWriter
from arbshard.wire.cluster import (
    EPOCHS_PER_GRANT,
    Claim,
    ClaimRefused,
    CopyPart,
    Events,
    Granted,
    HeldShard,
    HostBeat,
    Joined,
    LeaderMessage,
    NotJoined,
    PageState,
    Release,
    Valid,
    decode_leader,
    encode,
)
from arbshard.wire.links import HostClient, HostLinks
from support import world as w
from support.ports import free_ports
from support.risk_run import RiskRun

_BEAT_S = 0.02
_SILENT_S = 1.0


class ClusterFiles:
    """Makes the cluster file of some hosts, and their key files, in folders below ``directory``."""

    def __init__(self, directory: Path, *names: str, **settings: object) -> None:
        self.directory = directory
        hosts = {}
        for name in names:
            public, secret = zmq.curve_keypair()
            folder = directory / name
            folder.mkdir()
            key = folder / "key"
            key.touch(0o600)
            key.write_text(f'curve_secret = "{secret.decode()}"\n')
            hosts[name] = HostConfig("127.0.0.1", public.decode(), free_ports(3))
        plain = ClusterConfig("demo", hosts, ("nats://127.0.0.1:4222",), shards=2)
        self.config = replace(plain, **settings)

    def of(self, name: str) -> ClusterConfig:
        return replace(self.config, host=name, key_file=str(self.directory / name / "key"))


class LeaderRun(RiskRun):
    """Is the host whose risk leads; the test is its supervisor, agent and worker."""

    def __init__(self, files: ClusterFiles, name: str) -> None:
        super().__init__(files.directory / name)
        self.cluster = files.of(name)
        config = replace(self.world.config, cluster=self.cluster)
        self.files.config.write_bytes(msgspec.json.encode(config))
        self.config = config
        self._agent = PageWriter.create(self.files.cluster_page, counters(2), note_bytes=0)
        self.may_lead(3600)

    def may_lead(self, seconds: float) -> None:
        """Show on the agent's page that this host may lead for so long."""
        self._agent.set(self._agent.counter("lead_until_ns"), lease_ns() + int(seconds * 1e9))

    def lead(self, term: int = 1) -> subprocess.Popen[bytes]:
        return self.spawn("--term", str(term))

    def close(self) -> None:
        super().close()
        self._agent.close()


class Follower:
    """Is a host that follows: the shell that the agent puts around its replica."""

    def __init__(self, files: ClusterFiles, name: str, leader: str, term: int = 1) -> None:
        self.name = name
        self.leader = leader
        self.term = term
        self.cluster = files.of(name)
        self.state_dir = files.directory / name / "state"
        self.ledger = self.state_dir / "ledger.sqlite"
        self.state_dir.mkdir(exist_ok=True)
        config = replace(w.World().config, cluster=self.cluster)
        self.replica = Replica(self.ledger, config, SystemClock(), {})
        self.links = HostLinks(self.cluster, read_host_keys(self.cluster).curve)
        self.client: HostClient | None = None
        self.messages: list[LeaderMessage] = []
        """What came, but for events, copies and what the page shows."""
        self.page: dict[str, int] = {}
        self.note = b""
        self.held: dict[int, int] = {}
        """Grants by shard."""
        self.valid = 0
        self.is_mute = False
        """Whether it acknowledges nothing, as one whose disk hangs."""
        self.stored = 0
        self._number = 0
        self._is_joined = False
        self._heard_s = 0.0
        self._beating: asyncio.Task[None] | None = None

    def follow(self, leader: str | None = None, term: int | None = None) -> None:
        """Begin to follow, or follow another leader."""
        self.leader, self.term = leader or self.leader, term or self.term
        if not self.replica.is_open:
            self.replica.open()
        self._connect()
        if self._beating is None:
            self._beating = asyncio.ensure_future(self._beat())

    def leave(self) -> None:
        """Follow no more, and close the ledger."""
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
        if self.client is not None:
            self.client.close()
            self.client = None
        self.replica.close()

    def close(self) -> None:
        self.leave()
        self.links.close()

    def claim(self, shard: int, grant: int) -> None:
        self.send(Claim(shard, grant))

    def release(self, shard: int) -> None:
        self.send(Release(shard, self.held.pop(shard)))

    def send(self, message: msgspec.Struct) -> bool:
        return self.client is not None and self.client.send(encode(message))

    def _connect(self) -> None:
        if self.client is not None:
            self.client.close()
        self._is_joined = False
        self._heard_s = time.monotonic()
        self.client = HostClient(
            self.links, self.leader, self.cluster.hosts[self.leader].follow_endpoint, self._receive
        )

    async def _beat(self) -> None:
        while True:
            if time.monotonic() - self._heard_s > _SILENT_S:
                self._connect()
            if not self._is_joined:
                self._is_joined = self.send(self.replica.join(self.name, self.term))
            else:
                self._number += 1
                held = (
                    HeldShard(shard, grant, grant * EPOCHS_PER_GRANT + 1, 0)
                    for shard, grant in self.held.items()
                )
                self.send(HostBeat(self._number, tuple(held)))
            self.replica.tick(time.monotonic_ns())
            await asyncio.sleep(_BEAT_S)

    def _receive(self, data: bytes) -> None:
        self._heard_s = time.monotonic()
        match decode_leader(data):
            case NotJoined() as message:
                self.messages.append(message)
                self._is_joined = False
            case Joined() | Events() | CopyPart() as message:
                if isinstance(message, Joined):
                    self.messages.append(message)
                self._store(message)
            case Valid() as message:
                self.valid = message.number
            case PageState() as message:
                self.page.update(message.values)
                self.note = message.note or self.note
            case Granted() as message:
                self.messages.append(message)
                self.held[message.shard] = message.grant
            case ClaimRefused() as message:
                self.messages.append(message)
                if message.is_lasting:
                    self.held.pop(message.shard, None)

    def _store(self, message: Joined | Events | CopyPart) -> None:
        if self.is_mute:
            return
        try:
            answer = self.replica.receive(message)
        except ProtocolError:
            self._is_joined = False
            return
        if answer is not None:
            self.stored = answer.seq
            self.send(answer)
