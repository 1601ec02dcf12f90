"""Makes hosts of network namespaces: several hosts on one machine, for what crosses a network.

Each host has two interfaces. ``cluster`` is a TUN device whose packets pass through ``Wire``, a router in this
process, which delays them and cuts hosts off, also in one direction. ``market`` is a veth pair to a bridge, over
which the embedded exchanges are reached; it has no delay. Needs root, ``/dev/net/tun`` and iproute2.
"""

import fcntl
import heapq
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path

from support.hosts import Host

_TUNSETIFF = 0x400454CA
_TUN_WITHOUT_HEADER = 0x0001 | 0x1000
_PACKET_BYTES = 65_536
_QUEUE_MAX = 20_000
_CLUSTER_NET, _MARKET_NET = "10.97.0", "10.96.0"
MARKET_ADDRESS = f"{_MARKET_NET}.100"
"""Address of the namespace in which the exchanges run."""

_number = count()


def why_impossible() -> str:
    """Return why no namespaces can be made here; empty when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "there is no /dev/net/tun"
    made = subprocess.run(["ip", "netns", "add", f"try{os.getpid()}"], capture_output=True, check=False)
    if made.returncode:
        return f"no namespace can be made: {made.stderr.decode().strip()}"
    _ip("netns", "del", f"try{os.getpid()}")
    return ""


def _remove_those_of_the_dead() -> None:
    """Remove the namespaces that a killed process has left, with what still runs in them."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        name = line.split()[0]
        owner = re.match(r"h(\d+)-", name)
        if owner is not None and not Path("/proc", owner[1]).exists():
            NamespaceHost(name, name, "").kill()
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


class Wire:
    """Routes packets between the hosts' ``cluster`` interfaces in a thread, each after ``delay_s``."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.dropped = 0
        """Number of packets that were dropped because of a cut or a full queue."""
        self._devices: dict[str, int] = {}
        self._lock = threading.Lock()
        self._cuts: set[tuple[str, str]] = set()
        self._closing = False
        self._wake_r, self._wake_w = os.pipe()
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)

    def attach(self, address: str, device: int) -> None:
        """Route packets to ``address`` to the TUN device with this descriptor."""
        with self._lock:
            self._devices[address] = device

    def start(self) -> None:
        """Begin to route."""
        self._thread.start()

    def cut(self, source: str, target: str) -> None:
        """Drop what goes from one address to the other."""
        with self._lock:
            self._cuts.add((source, target))

    def heal(self) -> None:
        """Drop nothing any more."""
        with self._lock:
            self._cuts.clear()

    def close(self) -> None:
        """End the thread and close the devices."""
        self._closing = True
        os.write(self._wake_w, b".")
        if self._thread.is_alive():
            self._thread.join(5)
        for descriptor in (*self._devices.values(), self._wake_r, self._wake_w):
            os.close(descriptor)

    def _run(self) -> None:
        waiting: list[tuple[float, int, int, bytes]] = []
        numbers = count()
        while not self._closing:
            with self._lock:
                devices, cuts = dict(self._devices), set(self._cuts)
            pause_s = max(waiting[0][0] - time.monotonic(), 0) if waiting else 0.2
            readable, _, _ = select.select([*devices.values(), self._wake_r], [], [], pause_s)
            for device in readable:
                if device == self._wake_r:
                    continue
                packet = os.read(device, _PACKET_BYTES)
                if len(packet) < 20 or packet[0] >> 4 != 4:
                    continue  # IPv6 of the kernel's own
                source, target = (str(IPv4Address(packet[at : at + 4])) for at in (12, 16))
                if target not in devices or (source, target) in cuts or len(waiting) >= _QUEUE_MAX:
                    self.dropped += 1
                    continue
                due_s = time.monotonic() + self.delay_s
                heapq.heappush(waiting, (due_s, next(numbers), devices[target], packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, device, packet = heapq.heappop(waiting)
                with suppress(OSError):  # the device is down: the packet is lost, as on a network
                    os.write(device, packet)


class NamespaceHost(Host):
    """A namespace with its addresses, and the processes that run in it."""

    def __init__(self, name: str, namespace: str, address: str) -> None:
        super().__init__(name, address)
        self.namespace = namespace

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command that runs ``command`` in the namespace."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def pids(self) -> list[int]:
        """The pids of all processes in the namespace, whoever started them."""
        found = subprocess.run(
            ["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]


class NamespaceNetwork:
    """Holds hosts, their networks, and the namespace of the exchanges. ``close`` removes all of it."""

    def __init__(self, names: Sequence[str], *, delay_s: float = 0.001) -> None:
        self.wire = Wire(delay_s)
        self._made: list[str] = []
        self._all: list[Host] = []
        _remove_those_of_the_dead()
        prefix = f"h{os.getpid()}-{next(_number)}"
        try:
            self.market = NamespaceHost("market", self._namespace(f"{prefix}-market"), MARKET_ADDRESS)
            self._all.append(self.market)
            bridge = self.market.namespace
            _ip("-n", bridge, "link", "add", "bridge", "type", "bridge")
            _ip("-n", bridge, "addr", "add", f"{MARKET_ADDRESS}/24", "dev", "bridge")
            _ip("-n", bridge, "link", "set", "bridge", "up")
            self.hosts = {
                name: self._make_host(name, f"{prefix}-{name}", number)
                for number, name in enumerate(names, 1)
            }
        except BaseException:
            self.close()
            raise
        self.wire.start()

    def cut_off(self, name: str) -> None:
        """Cut a host off from the others and from the exchanges."""
        self.isolate(name)
        _ip("-n", self.hosts[name].namespace, "link", "set", "market", "down")

    def isolate(self, name: str) -> None:
        """Cut a host off from the other hosts; it reaches the exchanges all the same."""
        own = self.hosts[name].address
        for other in self.hosts.values():
            self.wire.cut(own, other.address)
            self.wire.cut(other.address, own)

    def heal(self) -> None:
        """Connect all hosts again."""
        self.wire.heal()
        for host in self.hosts.values():
            _ip("-n", host.namespace, "link", "set", "market", "up")

    def close(self) -> None:
        """End all processes of the hosts and remove the namespaces."""
        for name in self._made:
            NamespaceHost(name, name, "").signal(signal.SIGCONT)
            NamespaceHost(name, name, "").kill()
        for host in self._all:
            host.reap()
        self.wire.close()
        for name in self._made:
            _ip("netns", "del", name)
        self._made.clear()

    def _namespace(self, name: str) -> str:
        _ip("netns", "add", name)
        self._made.append(name)
        _ip("-n", name, "link", "set", "lo", "up")
        return name

    def _make_host(self, name: str, namespace: str, number: int) -> NamespaceHost:
        host = NamespaceHost(name, self._namespace(namespace), f"{_CLUSTER_NET}.{number}")
        self._all.append(host)
        device = f"t{os.getpid() % 100_000}-{next(_number)}"
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", device.encode(), _TUN_WITHOUT_HEADER))
        self.wire.attach(host.address, descriptor)
        _ip("link", "set", device, "netns", namespace)
        _ip("-n", namespace, "link", "set", device, "name", "cluster")
        _ip("-n", namespace, "addr", "add", f"{host.address}/24", "dev", "cluster")
        _ip("-n", namespace, "link", "set", "cluster", "up")
        peer = f"v{number}"
        _ip("-n", namespace, "link", "add", "market", "type", "veth", "peer", "name", peer)
        _ip("-n", namespace, "link", "set", peer, "netns", self.market.namespace)
        _ip("-n", self.market.namespace, "link", "set", peer, "master", "bridge")
        _ip("-n", self.market.namespace, "link", "set", peer, "up")
        _ip("-n", namespace, "addr", "add", f"{_MARKET_NET}.{number}/24", "dev", "market")
        _ip("-n", namespace, "link", "set", "market", "up")
        return host


def _ip(*arguments: str) -> None:
    subprocess.run([shutil.which("ip") or "ip", *arguments], check=True, capture_output=True)
