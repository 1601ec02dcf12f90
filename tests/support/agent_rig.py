"""Hosts with real agents, risk processes and a NATS server on this machine; the test is each host's supervisor."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from arbshard.clock import lease_ns
from arbshard.config.cluster import ClusterConfig
from arbshard.errors import SharedMemoryError
from arbshard.model.cluster_note import ClusterNote, decode_cluster_note
from arbshard.model.universe import Universe
from arbshard.shm.pages import PageReader, PageWriter
from arbshard.wire.cluster import EPOCHS_PER_GRANT
from support import world as w
from support.made_cluster import make_hosts
from support.nats_server import NatsServer
from support.risk_run import RiskRun

WAIT_S = 60.0


class AgentHost(RiskRun):
    """One host: it does what the agent's page shows, as a supervisor does."""

    def __init__(self, directory: Path, cluster: ClusterConfig, universe: Universe) -> None:
        directory.mkdir()
        super().__init__(directory)
        self.state_dir.mkdir()
        self.cluster = cluster
        self.name = cluster.host
        self.world.universe = universe
        self.files.config.write_bytes(msgspec.json.encode(replace(self.world.config, cluster=cluster)))
        self.files.universe.write_bytes(msgspec.json.encode(universe))
        self.shards = range(cluster.shards)
        names = ["pid", "universe", "risk_term", "leaves", "phase"]
        names += [f"{kind}_{shard}" for kind in ("epoch", "back") for shard in self.shards]
        self.page_writer = PageWriter.create(self.files.supervisor_page, names)
        self.universe_serial = universe.serial
        self.agent: subprocess.Popen[bytes] | None = None
        self.risk: subprocess.Popen[bytes] | None = None
        self.follows_grants = True
        self.show("universe", universe.serial)

    def show(self, name: str, value: int) -> None:
        self.page_writer.set(self.page_writer.counter(name), value)

    def start(self) -> None:
        command = [sys.executable, "-m", "arbshard.cluster"]
        command += ["--run-dir", str(self.files.dir), "--state-dir", str(self.state_dir)]
        self.agent = subprocess.Popen(command, stderr=subprocess.PIPE)
        self.processes.append(self.agent)

    def value(self, name: str) -> int:
        """Return a counter of the agent's page; 0 without one of the present agent."""
        try:
            with PageReader.attach(self.files.cluster_page) as page:
                is_own = self.agent is not None and page.value("pid") == self.agent.pid
                return page.value(name) if is_own else 0
        except SharedMemoryError:
            return 0

    def cluster_note(self) -> ClusterNote | None:
        try:
            with PageReader.attach(self.files.cluster_page) as page:
                raw = page.note()
        except SharedMemoryError:
            return None
        return decode_cluster_note(raw) if raw else None

    @property
    def leads(self) -> bool:
        """Return whether risk of this host answers."""
        is_up = self.risk is not None and self.risk.poll() is None and self.page("pid") == self.risk.pid
        return is_up and self.page("ready") == 1 and self.value("leads") == 1

    @property
    def held(self) -> dict[int, int]:
        """Return the grants by which workers of this host may trade now."""
        if self.value("valid_until_ns") <= lease_ns():
            return {}
        return {shard: grant for shard in self.shards if (grant := self.value(f"grant_{shard}"))}

    def step(self) -> None:
        self.beat()
        if self.risk is not None and self.risk.poll() is not None:
            self.risk = None
            self.show("risk_term", 0)
        term = self.value("term")
        if self.value("leads") and self.risk is None and self.agent is not None:
            self.risk = self.spawn("--term", str(term))
            self.show("risk_term", term)
        elif self.risk is not None and not self.value("leads"):
            self.risk.terminate()
        for shard in self.shards:
            grant = self.value(f"grant_{shard}") if self.follows_grants else 0
            self.show(f"epoch_{shard}", grant * EPOCHS_PER_GRANT + 1 if grant else 0)

    def kill(self) -> None:
        """Lose the host: its processes end at once, its files stay."""
        for process in (self.agent, self.risk):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(10)
        self.agent = self.risk = None
        for name in ("risk_term", *(f"epoch_{shard}" for shard in self.shards)):
            self.show(name, 0)

    def stderr_of_agent(self) -> str:
        assert self.agent is not None
        assert self.agent.stderr is not None
        return self.agent.stderr.read().decode()

    def close(self) -> None:
        super().close()
        self.page_writer.close()


class AgentRig:
    """Some hosts and a NATS server."""

    def __init__(self, folder: Path, hosts: str = "abc", shards: int = 1) -> None:
        self.shards = shards
        self.nats = NatsServer(folder / "nats")
        self.nats.start()
        # A second is little when many processes start at once on a machine that does other work as well.
        made = make_hosts(folder / "files", hosts, (self.nats.address,), shards, lease_ms=2000)
        self.hosts: dict[str, AgentHost] = {}
        found = w.World().universe
        universe = replace(found, serial=1, shards=(*found.shards, *((),) * (shards - 1)))
        for name, cluster in made.items():
            self.hosts[name] = AgentHost(folder / name, cluster, universe)

    @property
    def living(self) -> list[AgentHost]:
        return [host for host in self.hosts.values() if host.agent is not None and host.agent.poll() is None]

    @property
    def leader(self) -> AgentHost | None:
        return next((host for host in self.living if host.leads), None)

    @property
    def traders(self) -> dict[int, list[str]]:
        """Return the names of the hosts that may trade each shard."""
        found: dict[int, list[str]] = {}
        for host in self.living:
            for shard in host.held:
                found.setdefault(shard, []).append(host.name)
        return found

    def start(self) -> None:
        for host in self.hosts.values():
            host.start()

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline_s, f"waited in vain: {what} {self.report()}"
            for host in self.hosts.values():
                host.step()
            assert all(len(names) == 1 for names in self.traders.values()), self.traders
            await asyncio.sleep(0.01)

    async def at_work(self) -> AgentHost:
        """Wait until all shards are granted; return the leader."""
        await self.until(
            lambda: self.leader is not None and len(self.traders) == self.shards, "no shard is granted"
        )
        assert self.leader is not None
        return self.leader

    def report(self) -> list[str]:
        """Return why the hosts do not trade, for a failed test."""
        found = []
        for host in self.hosts.values():
            note, agent = host.cluster_note(), host.agent
            why = note.why if note is not None else "no note"
            code = agent.poll() if agent is not None else None
            found.append(
                f"{host.name}: {why}" if code is None else f"{host.name}: its agent ended with code {code}"
            )
        return found

    def close(self) -> None:
        for host in self.hosts.values():
            host.close()
        self.nats.kill()
