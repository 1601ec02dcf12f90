"""A cluster of arbshard on hosts of one machine: its NATS servers, the exchanges, a run on each host.

``Cluster`` starts all of it, breaks it, and reads its state from the files of each host, which are in folders of one
machine. ``hosts`` and ``namespaces`` make the hosts.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, Self, TypeVar

import msgspec

from arbshard.config.sim import SimAccountsConfig
from arbshard.model.cluster_note import ClusterNote, decode_cluster_note
from arbshard.model.phase import WorkerState
from arbshard.model.universe import Universe
from support.hosts import Host, LoopbackNetwork, Network
from support.instance import Ended, Instance

_POLL_S = 0.02
_START_S = 90.0
_FETCH = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]})
print(urllib.request.urlopen(request, timeout=10).read().decode())
"""
Found = TypeVar("Found")


class RunningShard(NamedTuple):
    """Describes the worker of a shard where it decides."""

    host: str
    epoch: int


class HostRun(Instance):
    """A run of arbshard in a namespace."""

    def __init__(
        self,
        host: Host,
        folder: Path,
        config: str,
        cluster_file: Path,
        *,
        further: Sequence[str] = (),
        **others: Any,
    ) -> None:
        folder.mkdir(parents=True)
        super().__init__(
            folder,
            config,
            name="c",
            arguments=("--cluster", str(cluster_file), "--host", host.name, *further),
            **others,
        )
        self.host = host

    def _open(
        self, command: list[str], environment: Mapping[str, str], out: IO[bytes], err: IO[bytes]
    ) -> "subprocess.Popen[bytes]":
        process = super()._open(self.host.inside(command), environment, out, err)
        self.host.adopt(process)
        return process

    def agent(self) -> dict[str, int]:
        """Counters of the cluster agent; empty before it has a page."""
        return self.counters(self.files.cluster_page)

    def cluster_note(self) -> ClusterNote | None:
        """The agent's note; None before there is one."""
        raw = self._note(self.files.cluster_page)
        return decode_cluster_note(raw) if raw else None


class Cluster:
    """Hosts, NATS, exchanges and runs. Closed in one call, also after a failure."""

    def __init__(
        self,
        folder: Path,
        network: Network | None = None,
        *,
        shards: int = 3,
        coins: int = 8,
        updates_per_s: float = 5.0,
        regime: str = "high-win",
        config: str = "",
        is_live: bool = False,
        further: str = "",
        exchanges: str = "arbshard.exchanges",
    ) -> None:
        """``config``: what follows the addresses of the venues. ``further``: first lines of the cluster file.

        ``exchanges`` is the module that runs as the exchanges.
        """
        self.folder = folder
        self._exchanges = exchanges
        self._opened = ExitStack()
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self.shards = shards
        self._is_live = is_live
        self._bases_of: dict[Path, tuple[tuple[int, int], tuple[int, ...]]] = {}
        with ExitStack() as opened:
            self.network = opened.enter_context(closing(network or LoopbackNetwork("abc")))
            self.names = names = tuple(self.network.hosts)
            self._start_exchanges(coins, updates_per_s, regime)
            self._init_files(further)
            for name in names:
                self.start_nats(name)
            self.runs = {name: self._run(name, config, is_live=is_live) for name in names}
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes and remove the namespaces."""
        self._opened.close()

    # what runs

    def start(self, *names: str) -> None:
        """Start arbshard on these hosts, or on all."""
        for name in names or self.names:
            run = self.runs[name]
            is_first = self._is_live and not run.ledger.exists()
            run.start(*(("--new-ledger",) if is_first else ()))

    def start_nats(self, name: str) -> None:
        """Start the NATS server of a host."""
        with (self.folder / f"nats-{name}.log").open("ab") as log:
            self._programs[f"nats-{name}"] = self.network.hosts[name].start(
                ["nats-server", "-c", str(self.folder / "cluster" / f"nats-{name}.conf")],
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def kill_nats(self, name: str) -> None:
        """Kill the NATS server of a host."""
        process = self._programs[f"nats-{name}"]
        process.kill()
        process.wait(10)

    def wipe_nats(self, name: str) -> None:
        """Remove all that the NATS server of a host has stored; it must be down."""
        shutil.rmtree(self._nats_store(name), ignore_errors=True)

    def stop(self, timeout_s: float = 60.0) -> dict[str, Ended]:
        """Stop the cluster in order by a command on one host, and wait until all runs that live have ended."""
        living = [run for run in self.runs.values() if run.process.poll() is None]
        living[0].do("stop")
        return {run.host.name: run.ended(timeout_s=timeout_s) for run in living}

    def kill_host(self, name: str) -> None:
        """Kill all that runs on a host, as if its power had failed."""
        self.network.hosts[name].kill()
        self._programs[f"nats-{name}"].wait(5)

    def restart_host(self, name: str) -> None:
        """Start the NATS server and the run of a host again."""
        self.start_nats(name)
        self.start(name)

    def pause_host(self, name: str) -> None:
        """Stop all that runs on a host, as a paused virtual machine does."""
        self.network.hosts[name].signal(signal.SIGSTOP)

    def wake_host(self, name: str) -> None:
        """Let a paused host go on."""
        self.network.hosts[name].signal(signal.SIGCONT)

    # what it shows

    def leader(self) -> str:
        """The host whose agent shows that it leads; empty for none. Fails if there are several in one term."""
        found = {name: run.agent() for name, run in self.runs.items()}
        leading = {name: page["term"] for name, page in found.items() if page.get("leads")}
        if not leading:
            return ""
        newest = max(leading.values())
        holders = [name for name, term in leading.items() if term == newest]
        assert len(holders) == 1, f"two leaders in term {newest}: {leading}"
        return holders[0]

    def deciding(self, names: Sequence[str] = ()) -> dict[int, RunningShard]:
        """The shards whose worker decides, by the pages of the hosts; of two the one with the newer epoch."""
        found: dict[int, RunningShard] = {}
        for name in names or self.names:
            run = self.runs[name]
            agent = run.agent()
            for shard in range(self.shards):
                if not agent.get(f"grant_{shard}"):
                    continue
                page = run.worker(shard)
                bases = self._bases(run, shard)
                is_up = page.get("state") == WorkerState.RUNNING and page.get("ticks", 0) >= 2 * bases
                if is_up and (shard not in found or found[shard].epoch < page["epoch"]):
                    found[shard] = RunningShard(name, page["epoch"])
        return found

    def until_deciding(
        self, names: Sequence[str] = (), timeout_s: float = _START_S
    ) -> dict[int, RunningShard]:
        """Wait until all shards are decided on at these hosts, or at any."""

        def all_of_them() -> dict[int, RunningShard] | None:
            found = self.deciding(names)
            return found if len(found) == self.shards else None

        return self.wait_for(all_of_them, timeout_s)

    def wait_for(self, condition: Callable[[], Found | None], timeout_s: float) -> Found:
        """Wait for a true value and return it."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            found = condition()
            if found:
                return found
            time.sleep(_POLL_S)
        raise AssertionError(f"not reached within {timeout_s} s:\n{self.describe()}")

    def describe(self) -> str:
        """What each host shows, for a test that fails."""
        lines = []
        for name, run in self.runs.items():
            note = run.cluster_note()
            grants = {key: value for key, value in run.agent().items() if key.startswith("grant_") and value}
            lines.append(
                f"{name}: {note.why if note else 'no note'} leader={note.leader if note else ''} {grants}"
            )
            status = run.status()
            lines.append(f"halted: {status.get('halted')}, problems: {status.get('problems')}")
            for shard in range(self.shards):
                refusals = {
                    key: value for key, value in run.worker(shard).items() if "refus" in key and value
                }
                if refusals:
                    lines.append(f"shard {shard}: {refusals}")
            with suppress(AssertionError, IndexError):
                lines.append(run.output[-1500:])
        return "\n".join(lines)

    def exchange_books(self, venue: str) -> Any:
        """What an exchange says about all accounts."""
        said = json.loads((self.folder / "sim.json").read_bytes())
        done = self.network.market.run(
            [sys.executable, "-c", _FETCH, f"{said[venue]['rest_url']}/sim/accounts", said["token"]],
            env=os.environ,
        )
        return json.loads(done.stdout)

    def _bases(self, run: Instance, shard: int) -> int:
        """Return how many pairs a shard has. A universe is read once: who waits looks many times a second."""
        path = run.files.universe
        try:
            stamp = path.stat().st_ino, path.stat().st_mtime_ns
            if self._bases_of.get(path, ((0, 0), ()))[0] != stamp:
                universe = msgspec.json.decode(path.read_bytes(), type=Universe)
                self._bases_of[path] = stamp, tuple(map(len, universe.shards))
        except OSError:
            return 1
        return self._bases_of[path][1][shard]

    def _start_exchanges(self, coins: int, updates_per_s: float, regime: str) -> None:
        settings = {
            "host": self.network.market.address,
            "expose": True,
            "coins": coins,
            "regime": regime,
            "updates_per_s": updates_per_s,
            "seed": 11,
            "tls": True,
        }
        ready = self.folder / "sim.json"
        with (self.folder / "exchanges.log").open("wb") as log:
            self._programs["exchanges"] = self.network.market.start(
                [
                    sys.executable, "-m", self._exchanges, "--settings", json.dumps(settings),
                    "--ready-file", str(ready),
                ],
                stdout=log,
                stderr=log,
            )  # fmt: skip
        end_s = time.monotonic() + 60
        while not ready.exists():
            assert time.monotonic() < end_s, (self.folder / "exchanges.log").read_text()
            time.sleep(_POLL_S)

    def _init_files(self, further: str) -> None:
        hosts = ",".join(f"{name}={host.address}" for name, host in self.network.hosts.items())
        nats = ",".join(f"nats://{host.address}:4222" for host in self.network.hosts.values())
        done = subprocess.run(
            [
                sys.executable, "-m", "arbshard", "cluster", "init", "--hosts", hosts, "--nats", nats,
                "--shards", str(self.shards), "--out", str(self.folder / "cluster"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.file = self.folder / "cluster" / "cluster.toml"
        for name in self.names:
            settings = self.folder / "cluster" / f"nats-{name}.conf"
            place = f'store_dir: "{self._nats_store(name)}"'
            settings.write_text(re.sub('store_dir: "[^"]*"', place, settings.read_text()))
        if further:
            self.file.write_text(f"{further}\n{self.file.read_text()}")

    def _nats_store(self, name: str) -> Path:
        return self.folder / "cluster" / f"nats-{name}"

    def _run(self, name: str, config: str, *, is_live: bool) -> HostRun:
        said = json.loads((self.folder / "sim.json").read_bytes())
        said = said.get("tls") or said  # the generator of measurements has no TLS
        head = 'data = "public"\n' + ('mode = "live"\n' if is_live else "")
        venues = "".join(
            f'[venues.{venue}]\nws_url = "{said[venue]["ws_url"]}"\nrest_url = "{said[venue]["rest_url"]}"\n'
            f'ca_file = "{said.get("ca_file", "")}"\n'
            for venue in ("upbit", "binance")
        )
        return HostRun(
            self.network.hosts[name],
            self.folder / name,
            f"{head}{venues}{config}",
            self.file,
            environment=_keys() if is_live else None,
            further=("--live",) if is_live else (),
        )


def _keys() -> dict[str, str]:
    """The keys of the exchanges' accounts, where a live run looks for them."""
    accounts = SimAccountsConfig()
    return {
        f"ARBSHARD_{venue}_{kind}".upper(): getattr(accounts, f"{venue}_{kind}")
        for venue in ("upbit", "binance")
        for kind in ("key", "secret")
    }
