"""Hosts of a cluster on one machine: each has a loopback address of its own, and the processes started on it.

Those of ``namespaces`` have networks of their own, which can be cut; these here need no privileges.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import psutil


class Host:
    """An address, and the processes that were started on it."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        """Its address on the cluster's network."""
        self._started: list[subprocess.Popen[bytes]] = []

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command that runs ``command`` on this host."""
        return list(command)

    def start(self, command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
        """Start a program on this host, in a session of its own."""
        process = subprocess.Popen(self.inside(command), start_new_session=True, **options)
        self.adopt(process)
        return process

    def adopt(self, process: "subprocess.Popen[bytes]") -> None:
        """Count a process, and its descendants, among those of this host."""
        self._started.append(process)

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str], timeout_s: float = 30
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program on this host to its end."""
        return subprocess.run(
            self.inside(command),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env=dict(env),
        )

    def pids(self) -> list[int]:
        """The pids of all processes that run on this host."""
        found: set[int] = set()
        for one in self._started:
            if one.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    found |= {
                        one.pid,
                        *(child.pid for child in psutil.Process(one.pid).children(recursive=True)),
                    }
        return sorted(found)

    def signal(self, number: int) -> None:
        """Send a signal to all processes of this host, again until no new ones appear."""
        sent: set[int] = set()
        for _ in range(10):
            new = set(self.pids()) - sent
            if not new:
                return
            for pid in new:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            sent |= new

    def kill(self) -> None:
        """Kill all processes of this host, as if its power had failed."""
        for _ in range(100):
            pids = self.pids()
            if not pids:
                return
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for one in self._started:
                one.poll()
            time.sleep(0.02)
        raise AssertionError(f"{self.name}: processes that cannot be killed: {self.pids()}")

    def reap(self) -> None:
        """Wait for the processes that were started here, which must have been killed."""
        for one in self._started:
            one.wait(10)


class Network(Protocol):
    """Connects hosts and the exchanges."""

    @property
    def hosts(self) -> Mapping[str, Host]:
        """The hosts by name."""
        ...

    @property
    def market(self) -> Host:
        """The host of the exchanges."""
        ...

    def close(self) -> None:
        """End all processes, and remove what was made."""
        ...


class LoopbackNetwork:
    """Hosts on loopback addresses of this machine. Nothing cuts them off; they can be killed and paused."""

    def __init__(self, names: Sequence[str]) -> None:
        self.market = Host("market", "127.0.0.1")
        high, low = divmod(os.getpid(), 250)  # tests that run at the same time have addresses of their own
        net = f"127.{high % 250 + 1}.{low + 1}"
        self.hosts = {name: Host(name, f"{net}.{number}") for number, name in enumerate(names, 1)}

    def close(self) -> None:
        """End all processes of the hosts."""
        for host in (*self.hosts.values(), self.market):
            host.signal(signal.SIGCONT)
            host.kill()
            host.reap()
