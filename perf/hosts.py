"""Measures what several hosts cost and hold on this machine: ``python -m perf.hosts``. It needs ``nats-server``.

``load``: the generator sends at fixed rates to one host alone, to three hosts that know nothing of each other and
share the same pairs, and to clusters of one, two and three hosts, in turns. It shows CPU and memory by process, and
receive → decision. A model gives what hosts with cores of their own would hold.

``approval``: decision → approval on paper, on the leader's host and on the others, which are network namespaces 1 ms
from each other, and beside them on a single host. It needs root.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil

from arbshard.config import SimConfig
from arbshard.errors import SharedMemoryError
from arbshard.exchanges.coins import coin_table
from arbshard.model.rundir import RunFiles
from arbshard.shm.books import BooksReader
from arbshard.shm.pages import Histogram, PageReader, bucket_end
from perf.generator import PAGE
from perf.load import UNTRADED, updates_of
from perf.reading import cpu_s_of
from perf.running import ROOT, MeasurementFailed, System, as_toml, end_process, temporary_place
from support.cluster import Cluster
from support.hosts import LoopbackNetwork
from support.namespaces import NamespaceNetwork, why_impossible

_NAMES = "abc"
_SHARDS = 2
"""Shards of each host."""
_RUN = ("-m", "arbshard", "run")
_LEFT_OUT = len(UNTRADED)
"""Number of the generator's coins that arbshard does not trade; they are among the first ones."""
_WARM_UP_S = 3.0
_READY_S = 60.0
_SETTLED_S = 120.0
_KINDS = {
    "nats-server": "NATS",
    "arbshard.cluster": "agent",
    "arbshard.risk": "risk",
    "arbshard.worker": "workers",
    "arbshard": "supervisor",
}
"""What a process is, by a part of its command line."""
_ALONE, _APART, _CLUSTER = "alone", "apart", "cluster"
SETUPS = ((_ALONE, 1), (_APART, 3), (_CLUSTER, 1), (_CLUSTER, 2), (_CLUSTER, 3))
"""How hosts belong together, and how many there are."""
_CORES, _SHARE = 2.0, 0.5
"""Cores of each host of the model, and the share of them that may be used."""
_GOAL_US = 200.0
_LEAST = 0.05
"""The quantile that shows what something takes when it need not wait for a core."""


class _Host(NamedTuple):
    """Is a running host: its files, and the pids of its processes."""

    name: str
    files: RunFiles
    pids: Callable[[], Sequence[int]]


class Reading(NamedTuple):
    """Holds what a host has done since its start, at one moment."""

    at_s: float
    messages: int
    cpu_s: dict[tuple[int, str], float]
    """By pid and kind of process."""
    decisions: dict[tuple[str, int], Histogram]
    """Receive → decision, by page and epoch."""


class HostRow(NamedTuple):
    """Holds what a host did in a window."""

    rate: float
    """Messages received per second."""
    cpu: dict[str, float]
    """CPU seconds per second, by kind of process."""
    uss_mb: dict[str, float]
    decisions: Histogram

    @property
    def cpu_s(self) -> float:
        """Return the CPU seconds per second of all its processes."""
        return sum(self.cpu.values())


class Row(NamedTuple):
    """Holds one turn of one set-up at one rate."""

    hosts: tuple[HostRow, ...]
    late_share: float
    """Share of the generator's messages that left more than a millisecond late."""

    @property
    def cpu_us(self) -> float:
        """Return the CPU of all hosts for each message, in µs."""
        return (
            sum(sum(host.cpu.values()) for host in self.hosts) / sum(host.rate for host in self.hosts) * 1e6
        )

    def cpu_us_by_kind(self) -> dict[str, float]:
        """Return the CPU for each message by kind of process, in µs."""
        found: dict[str, float] = defaultdict(float)
        total = sum(host.rate for host in self.hosts)
        for host in self.hosts:
            for kind, used in host.cpu.items():
                found[kind] += used / total * 1e6
        return dict(found)


def quantile_us(histogram: Histogram, share: float) -> float:
    """Return a quantile in µs, evenly interpolated within its bucket; 0 when nothing was recorded."""
    below = list(accumulate(histogram.buckets))
    if not below or not below[-1]:
        return 0.0
    rank = share * below[-1]
    bucket = bisect_left(below, max(rank, 1))
    start = bucket_end(bucket - 1) if bucket else 0
    before = below[bucket - 1] if bucket else 0
    part = (rank - before) / histogram.buckets[bucket]
    return (start + max(part, 0.0) * (bucket_end(bucket) - start)) / 1000


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return (value at 0, slope) of the line of least squares through ``points``."""
    slope, at_zero = statistics.linear_regression([x for x, _ in points], [y for _, y in points])
    return at_zero, slope


def held(hosts: int, at_zero: float, slope: float, cores: float = _CORES, share: float = _SHARE) -> float:
    """Return how many messages a second ``hosts`` hold together when each uses ``share`` of ``cores``.

    ``at_zero`` is the CPU of a host without messages (seconds per second), ``slope`` that of a message (seconds).
    """
    return hosts * max(cores * share - at_zero, 0.0) / slope


# load


def measure_load(
    rates: Sequence[float], turns: int, seconds: float, pairs: int
) -> dict[tuple[str, int, float], list[Row]]:
    """Return the rows of each set-up and rate. Raises ``MeasurementFailed``."""
    found: dict[tuple[str, int, float], list[Row]] = defaultdict(list)
    for turn in range(turns):
        for rate in rates:
            for kind, hosts in SETUPS if turn % 2 == 0 else SETUPS[::-1]:
                row = _load_turn(kind, hosts, rate, seconds, pairs)
                found[kind, hosts, rate].append(row)
                p50, p99 = (quantile_us(_merged(row), share) for share in (0.5, 0.99))
                print(
                    f"  {_title(kind, hosts)}, {rate:,.0f} msg/s: {row.cpu_us:.0f} µs a message, "
                    f"receive → decision p50 {p50:,.0f} p99 {p99:,.0f} µs",
                    flush=True,
                )
    return found


def _load_turn(kind: str, hosts: int, rate: float, seconds: float, pairs: int) -> Row:
    rig = _cluster_under_load if kind == _CLUSTER else _hosts_apart
    with rig(hosts, rate, pairs) as (running, page):
        time.sleep(_WARM_UP_S)
        sent, before = _sent(page), [_read(host) for host in running]
        time.sleep(seconds)
        after, last = [_read(host) for host in running], _sent(page)
        memory = [_memory(host) for host in running]
    rows = tuple(map(row_of, before, after, memory))
    return Row(rows, (last[1] - sent[1]) / max(last[0] - sent[0], 1))


@contextmanager
def _hosts_apart(hosts: int, rate: float, pairs: int) -> Iterator[tuple[list[_Host], Path]]:
    """Run hosts that know nothing of each other, each with its part of the pairs."""
    coins = pairs + _LEFT_OUT
    bases = [coin.base for coin in coin_table(coins) if coin.base not in UNTRADED]
    folder = temporary_place()
    try:
        with _generator(folder, rate, coins) as venues, ExitStack() as opened:
            systems = []
            for number in range(hosts):
                config = {"data": "public", "venues": venues, **_settings()}
                config["run"] = {**config["run"], "shards": _SHARDS, "symbols": bases[number::hosts]}
                systems.append(opened.enter_context(System(_RUN, config)))
            for system in systems:
                system.until_running(_READY_S)
                system.until_deciding(_READY_S)
            yield (
                [
                    _Host(name, one.files, partial(_family, one.pid))
                    for name, one in zip(_NAMES, systems, strict=False)
                ],
                folder / PAGE,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _cluster_under_load(hosts: int, rate: float, pairs: int) -> Iterator[tuple[list[_Host], Path]]:
    """Run a cluster on loopback addresses. All hosts have the same number of shards."""
    folder = temporary_place()
    try:
        with Cluster(
            folder,
            LoopbackNetwork(_NAMES[:hosts]),
            shards=_SHARDS * hosts,
            coins=pairs + _LEFT_OUT,
            updates_per_s=updates_of(rate, pairs),
            regime="calm",
            config=as_toml(_settings()),
            exchanges="perf.generator",
        ) as cluster:
            cluster.start()
            _until_settled(cluster)
            yield _hosts_of(cluster), folder / PAGE
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _until_settled(cluster: Cluster) -> None:
    """Wait until all shards are decided on, as many on each host."""

    def is_settled() -> bool:
        found = [one.host for one in cluster.deciding().values()]
        return all(found.count(name) == _SHARDS for name in cluster.names)

    try:
        cluster.wait_for(is_settled, _SETTLED_S)
    except AssertionError as error:
        raise MeasurementFailed(str(error)) from error


def _hosts_of(cluster: Cluster) -> list[_Host]:
    return [_Host(name, cluster.runs[name].files, cluster.network.hosts[name].pids) for name in cluster.names]


def _settings() -> dict[str, Any]:
    return {
        "run": {"log_level": "warning", "rebalance_s": 0.0},
        # The generator sends the same frames again and again, with the exchange time at which they were made.
        "data_quality": {"max_lag_ms": 0},
    }


@contextmanager
def _generator(folder: Path, rate: float, coins: int) -> Iterator[dict[str, dict[str, str]]]:
    """Run the generator; yield the addresses by venue."""
    ready = folder / "sim.json"
    sim = SimConfig(coins=coins, updates_per_s=updates_of(rate, coins - _LEFT_OUT), regime="calm", seed=11)
    settings = msgspec.json.encode(sim).decode()
    with (folder / "generator.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "perf.generator", "--settings", settings, "--ready-file", str(ready)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    try:
        end_s = time.monotonic() + _READY_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > end_s:
                raise MeasurementFailed(
                    f"the generator did not start: {(folder / 'generator.log').read_text()}"
                )
            time.sleep(0.02)
        said = json.loads(ready.read_bytes())
        yield {venue: said[venue] for venue in ("upbit", "binance")}
    finally:
        end_process(process)


def _family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def _sent(page: Path) -> tuple[int, int]:
    """Return how many messages the generator has sent, and how many of them late or never."""
    with PageReader.attach(page) as reader:
        values = reader.values()
    return values["sent"] + values["skipped"], values["late"] + values["skipped"]


def _read(host: _Host) -> Reading:
    cpu_s = {}
    for pid in host.pids():
        process = psutil.Process(pid)
        cpu_s[pid, kind_of(process.cmdline())] = cpu_s_of(process)
    books = BooksReader.attach(host.files.books)
    try:
        messages = sum(books.sequence(slot) // 2 for slot in range(books.slot_count))
    finally:
        books.close()
    return Reading(time.monotonic(), messages, cpu_s, _histograms(host, "receive_decision"))


def _histograms(host: _Host, name: str) -> dict[tuple[str, int], Histogram]:
    """Return a histogram of each worker of a host, by its page and epoch."""
    found = {}
    for shard in range(_SHARDS * len(_NAMES)):
        path = host.files.worker_page(shard)
        try:
            with PageReader.attach(path) as page:
                found[path.name, page.value("epoch")] = page.histogram(name)
        except SharedMemoryError:
            continue  # another host has the shard
    return found


def _memory(host: _Host) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for pid in host.pids():
        process = psutil.Process(pid)
        found[kind_of(process.cmdline())] += process.memory_full_info().uss / 1e6
    return dict(found)


def kind_of(command: Sequence[str]) -> str:
    """Return what kind of process has this command line."""
    words = [word.rpartition("/")[2] for word in command]
    return next((kind for part, kind in _KINDS.items() if part in words), "other")


def row_of(first: Reading, last: Reading, memory: dict[str, float]) -> HostRow:
    """Return what a host did between two readings. Raises ``MeasurementFailed`` if its processes changed."""
    if first.cpu_s.keys() != last.cpu_s.keys() or first.decisions.keys() != last.decisions.keys():
        raise MeasurementFailed("processes came or went, or a shard moved, while they were measured")
    span_s = last.at_s - first.at_s
    cpu: dict[str, float] = defaultdict(float)
    for (pid, kind), used_s in last.cpu_s.items():
        cpu[kind] += (used_s - first.cpu_s[pid, kind]) / span_s
    return HostRow(
        (last.messages - first.messages) / span_s, dict(cpu), memory, _since(first.decisions, last.decisions)
    )


def _since(first: Mapping[Any, Histogram], last: Mapping[Any, Histogram]) -> Histogram:
    found = Histogram()
    for key, histogram in last.items():
        found = found.merge(histogram.minus(first.get(key, Histogram())))
    return found


def _title(kind: str, hosts: int) -> str:
    if kind == _ALONE:
        return "one host alone"
    return f"{hosts} hosts apart" if kind == _APART else f"cluster of {hosts}"


def show_load(found: Mapping[tuple[str, int, float], Sequence[Row]], pairs: int) -> None:
    """Print medians of the turns, with the least and the most."""
    rates = sorted({rate for _, _, rate in found})
    for rate in rates:
        print(f"\n{rate:,.0f} messages a second, {pairs} pairs: medians (least - most) of the turns")
        for kind, hosts in SETUPS:
            rows = found[kind, hosts, rate]
            p50, p99 = ([quantile_us(_merged(row), share) for row in rows] for share in (0.5, 0.99))
            late = _spread([row.late_share for row in rows], ".1%")
            print(
                f"  {_title(kind, hosts):16} CPU {_spread([row.cpu_us for row in rows])} µs a message, receive → "
                f"decision p50 {_spread(p50)} p99 {_spread(p99)} µs, late {late}"
            )
            middle = sorted(rows, key=lambda row: row.cpu_us)[len(rows) // 2]
            by_kind = ", ".join(
                f"{kind} {used:.0f}" for kind, used in sorted(middle.cpu_us_by_kind().items())
            )
            memory = ", ".join(f"{sum(host.uss_mb.values()):.0f}" for host in middle.hosts)
            print(f"  {'':16} of that: {by_kind}; memory of each host {memory} MB")
            each = ", ".join(
                f"{host.rate:,.0f}/s p50 {quantile_us(host.decisions, 0.5):.0f} p99 "
                f"{quantile_us(host.decisions, 0.99):.0f}"
                for host in middle.hosts
            )
            print(f"  {'':16} by host: {each}")
    if len(rates) > 1:
        _show_model(found, rates, pairs)


def _show_model(
    found: Mapping[tuple[str, int, float], Sequence[Row]], rates: Sequence[float], pairs: int
) -> None:
    """Print what hosts would hold. No frame crosses hosts, so a message costs each what it costs one host alone."""
    alone = [
        (host.rate, host.cpu_s) for rate in rates for row in found[_ALONE, 1, rate] for host in row.hosts
    ]
    _, slope = line(alone)
    print(
        f"\nModel: a message costs {slope * 1e6:.1f} µs, the slope of one host alone. What else a host uses is that "
        f"of {rates[0]:,.0f} messages a second. Of {_CORES:g} cores {_SHARE:.0%} may be used. Pairs are as busy as "
        f"at {rates[-1]:,.0f} messages a second."
    )
    for kind, hosts in SETUPS:
        rows = found[kind, hosts, rates[0]]
        at_zero = statistics.median(host.cpu_s - slope * host.rate for row in rows for host in row.hosts)
        messages = held(hosts, at_zero, slope)
        print(
            f"  {_title(kind, hosts):16} a host without messages {at_zero:.1%} of a core: {messages:,.0f} messages "
            f"a second, {messages / rates[-1] * pairs:,.0f} pairs"
        )


def _merged(row: Row) -> Histogram:
    found = Histogram()
    for host in row.hosts:
        found = found.merge(host.decisions)
    return found


def _spread(values: Sequence[float], form: str = ",.0f") -> str:
    middle = statistics.median(values)
    return f"{middle:{form}} ({min(values):{form}}-{max(values):{form}})"


# approval

_APPROVAL = {
    "run": {"log_level": "warning", "rebalance_s": 0.0},
    "strategy": {"max_hold_s": 2.0, "cooldown_ms": 100.0},
}
_UPDATES_PER_S = 5.0
_PROBES = 200
_ECHO = f"""
import socket, sys, time
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if len(sys.argv) == 2:
    probe.bind((sys.argv[1], 9))
    while True:
        probe.sendto(*probe.recvfrom(64))
took = []
probe.settimeout(1.0)
for _ in range({_PROBES}):
    began_ns = time.perf_counter_ns()
    probe.sendto(b"x", (sys.argv[1], 9))
    probe.recvfrom(64)
    took.append((time.perf_counter_ns() - began_ns) / 2000)
    time.sleep(0.02)
took.sort()
print(took[len(took) // 2])
"""


class Approvals(NamedTuple):
    """Holds decision → approval by place, and what the wire took, for each turn."""

    places: dict[str, list[Histogram]]
    wire_us: list[float]
    """Median delay between two hosts, one way, in µs: 1,000, and longer on a machine that is busy."""


def measure_approval(turns: int, seconds: float, pairs: int) -> Approvals:
    """Return what was measured. Raises ``MeasurementFailed``."""
    found = Approvals(defaultdict(list), [])
    for _ in range(turns):
        for names in ("a", _NAMES):
            folder = temporary_place()
            try:
                with Cluster(
                    folder,
                    NamespaceNetwork(names),
                    shards=_SHARDS * len(names),
                    coins=pairs + _LEFT_OUT,
                    updates_per_s=_UPDATES_PER_S,
                    config=as_toml(_APPROVAL),
                ) as cluster:
                    cluster.start()
                    _until_settled(cluster)
                    _approvals(cluster, seconds, found)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    return found


def _approvals(cluster: Cluster, seconds: float, found: Approvals) -> None:
    time.sleep(_WARM_UP_S)
    leader, hosts = cluster.leader(), _hosts_of(cluster)
    before = [_histograms(host, "decision_approval") for host in hosts]
    began_s = time.monotonic()
    if len(hosts) > 1:
        found.wire_us.append(_wire_us(cluster))
    time.sleep(max(seconds - (time.monotonic() - began_s), 0.0))
    by_place: dict[str, Histogram] = defaultdict(Histogram)
    for host, first in zip(hosts, before, strict=True):
        place = (
            "another host"
            if host.name != leader
            else "the leader's host"
            if len(hosts) > 1
            else "cluster of one"
        )
        by_place[place] = by_place[place].merge(_since(first, _histograms(host, "decision_approval")))
    if cluster.leader() != leader:
        raise MeasurementFailed("the leader changed while approvals were measured")
    for place, histogram in by_place.items():
        if not histogram.count:
            raise MeasurementFailed(f"nothing was approved on {place}")
        found.places[place].append(histogram)
        print(f"  {place}: {_approval_line([histogram])}", flush=True)


def _wire_us(cluster: Cluster) -> float:
    """Return the median delay between two hosts, one way, in µs."""
    first, second = (cluster.network.hosts[name] for name in cluster.names[:2])
    echo = second.start([sys.executable, "-c", _ECHO, second.address])
    try:
        time.sleep(0.5)
        asked = first.run([sys.executable, "-c", _ECHO, second.address, "ask"], env=os.environ)
    finally:
        echo.kill()
        echo.wait(10)
    if asked.returncode:
        raise MeasurementFailed(f"the wire was not measured: {asked.stderr.strip()[-200:]}")
    return float(asked.stdout)


def _approval_line(turns: Sequence[Histogram]) -> str:
    shown = (
        f"p{share:.0%} {_spread([quantile_us(one, share) for one in turns])}".replace("%", "")
        for share in (_LEAST, 0.5, 0.9, 0.99)
    )
    return f"{' '.join(shown)} µs, {sum(one.count for one in turns):,} approvals"


def show_approval(found: Approvals) -> None:
    """Print the percentiles, and how much longer another host waits than the leader's, against the goal."""
    print("\nDecision → approval: medians (least-most) of the turns")
    for place, turns in found.places.items():
        print(f"  {place:18} {_approval_line(turns)}")
    print(f"  the wire, one way: {_spread(found.wire_us)} µs")
    local, other = (found.places[place] for place in ("the leader's host", "another host"))
    for share in (_LEAST, 0.5):
        more = [
            quantile_us(away, share) - quantile_us(here, share)
            for here, away in zip(local, other, strict=True)
        ]
        beyond = [one - 2 * wire for one, wire in zip(more, found.wire_us, strict=True)]
        print(
            f"  another host at p{100 * share:.0f}: {_spread(more)} µs longer, which is two ways over the wire and "
            f"{_spread(beyond)} µs; the goal is {_GOAL_US:,.0f}"
        )


def _rates(text: str) -> list[float]:
    rates = sorted(_number(100.0, 100_000.0, part) for part in text.split(","))
    if len(set(rates)) < len(rates):
        raise argparse.ArgumentTypeError("a rate is there twice")
    return rates


def _number(least: float, most: float, text: str) -> float:
    try:
        found = float(text.replace("_", ""))
    except ValueError:
        found = least - 1
    if not least <= found <= most:
        raise argparse.ArgumentTypeError(f"a number from {least:,.0f} to {most:,.0f}, and not {text!r}")
    return found


def _whole(least: int, most: int, text: str) -> int:
    return int(_number(least, most, text))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perf.hosts")
    parser.add_argument("part", nargs="?", choices=("load", "approval", "all"), default="all")
    parser.add_argument("--turns", type=partial(_whole, 1, 20), default=3)
    parser.add_argument("--seconds", type=partial(_number, 1.0, 600.0), default=8.0, help="of each window")
    parser.add_argument(
        "--rates", type=_rates, default=[600.0, 6000.0], help="messages a second, with commas"
    )
    parser.add_argument("--pairs", type=partial(_whole, 12, 1000), default=60)
    given = parser.parse_args(arguments)
    why = "nats-server is not installed" if shutil.which("nats-server") is None else ""
    if not why and given.part != "load":
        why = why_impossible()
    if why:
        print(f"perf.hosts: {why}", file=sys.stderr)
        return 2
    try:
        if given.part != "approval":
            show_load(measure_load(given.rates, given.turns, given.seconds, given.pairs), given.pairs)
        if given.part != "load":
            show_approval(measure_approval(given.turns, 3 * given.seconds, given.pairs))
    except MeasurementFailed as error:
        print(f"perf.hosts: failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
