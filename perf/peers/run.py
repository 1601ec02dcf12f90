"""Measures a peer that is sent messages at a fixed rate, by the same generator as in ``load``: one row of
the table.

With two processes each has half of the coins, as this system's two shards have.
"""

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec
import psutil

from arbshard.config import SimConfig
from arbshard.exchanges.coins import coin_table
from arbshard.shm.pages import Histogram, PageReader
from perf.figures import LoadRow, percentiles_of
from perf.generator import PAGE
from perf.load import coins_at, updates_of
from perf.peers.environment import ensure_environment
from perf.reading import cpu_s_of
from perf.running import ROOT, MeasurementFailed, end_process, temporary_place

_READY_S = 60.0
_REPLY_S = 20.0
_POLL_S = 0.02


class _Figures(msgspec.Struct, frozen=True):
    """Holds the figures that a peer prints at the end (``measure.serve``)."""

    seconds: float
    cpu_s: float
    messages: int
    decided: int
    unstamped: int
    errors: int
    buckets: tuple[int, ...]
    total_ns: int
    max_ns: int
    details: dict[str, str]


class _Address(msgspec.Struct, frozen=True):
    ws_url: str
    rest_url: str


class _Ready(msgspec.Struct, frozen=True):
    upbit: _Address
    binance: _Address


class _Child:
    """Is a peer's process, with which lines are exchanged."""

    def __init__(self, command: Sequence[str], errors: IO[bytes]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        self._rest = b""
        self.pid = self._process.pid

    def send_line(self, line: str) -> None:
        """Send a line. Raises ``MeasurementFailed`` when the peer has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise MeasurementFailed("the peer has ended") from error

    def receive_line(self, timeout_s: float) -> bytes:
        """Return the next line. Raises ``MeasurementFailed`` when none arrives in time or the peer has
        ended.
        """
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline_s = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([descriptor], [], [], left_s)[0]:
                raise MeasurementFailed(f"the peer sent no line for {timeout_s:g} s")
            read = os.read(descriptor, 65536)
            if not read:
                raise MeasurementFailed("the peer has ended")
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def end(self) -> None:
        """End the process, whatever it does, and close its pipes."""
        end_process(self._process, 3.0)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


def measure_peer(
    name: str, rate: float, seconds: float, *, processes: int = 1, coins: int | None = None
) -> LoadRow:
    """Return the row of a peer. Raises ``PeerUnavailable`` and ``MeasurementFailed``.

    ``rate`` is in messages per second; ``coins`` is derived from it when it is not given.
    """
    python = ensure_environment(name)
    coins = coins or coins_at(rate)
    place = temporary_place()
    ready = place / "ready"
    sim = SimConfig(coins=coins, updates_per_s=updates_of(rate, coins))
    settings = msgspec.json.encode(sim).decode()
    command = [sys.executable, "-m", "perf.generator", "--settings", settings, "--ready-file", str(ready)]
    children: list[_Child] = []
    generator: subprocess.Popen[bytes] | None = None
    try:
        with (place / "errors").open("wb") as errors:
            generator = subprocess.Popen(
                [*command, "--parent-pid", str(os.getpid())],
                cwd=ROOT,
                stderr=errors,
                stdin=subprocess.DEVNULL,
            )
            addresses = _until_listening(ready, generator, place)
            bases = [coin.base for coin in coin_table(coins)]
            for number in range(processes):
                mine = ",".join(bases[number::processes])
                children.append(
                    _Child(
                        [str(python), "-m", f"perf.peers.{name}_peer", *addresses, "--bases", mine], errors
                    )
                )
            return _measure(name, rate, seconds, coins, children, psutil.Process(generator.pid), place)
    except MeasurementFailed as error:
        printed = (place / "errors").read_text(errors="replace").strip().splitlines()
        raise MeasurementFailed(
            f"{name} at {rate:,.0f}/s: {error}: {printed[-1] if printed else ''}"
        ) from error
    finally:
        for child in children:
            child.end()
        if generator is not None:
            end_process(generator, 3.0)
        for path in place.iterdir():
            path.unlink()
        place.rmdir()


def _until_listening(ready: Path, generator: "subprocess.Popen[bytes]", place: Path) -> list[str]:
    deadline_s = time.monotonic() + _REPLY_S
    while not ready.exists():
        if generator.poll() is not None or time.monotonic() > deadline_s:
            raise MeasurementFailed(f"the generator did not start: {(place / 'errors').read_text()[-300:]}")
        time.sleep(_POLL_S)
    found = msgspec.json.decode(ready.read_bytes(), type=_Ready)
    return [
        *("--upbit-rest", found.upbit.rest_url, "--upbit-ws", found.upbit.ws_url),
        *("--binance-rest", found.binance.rest_url, "--binance-ws", found.binance.ws_url),
    ]


def _measure(
    name: str,
    rate: float,
    seconds: float,
    coins: int,
    children: Sequence[_Child],
    generator: psutil.Process,
    place: Path,
) -> LoadRow:
    for child in children:
        child.receive_line(_READY_S)
    with PageReader.attach(place / PAGE) as page:
        for child in children:
            child.send_line("start")
        before, used_s = page.values(), cpu_s_of(generator)
        time.sleep(seconds)
        memory = {
            f"{name}-{n}": psutil.Process(child.pid).memory_full_info() for n, child in enumerate(children)
        }
        for child in children:
            child.send_line("stop")
        after, used_s = page.values(), cpu_s_of(generator) - used_s
    figures = [msgspec.json.decode(child.receive_line(_REPLY_S), type=_Figures) for child in children]
    latency = Histogram.of(())
    for one in figures:
        latency = latency.merge(Histogram(one.buckets, one.total_ns, one.max_ns))
    decided, messages = sum(one.decided for one in figures), sum(one.messages for one in figures)
    return LoadRow(
        client=name,
        processes=len(children),
        rate=rate,
        coins=coins,
        seconds=round(figures[0].seconds, 3),
        offered=after["sent"] - before["sent"],
        delivered=messages,
        send_us=percentiles_of(latency),
        decided=decided,
        unstamped=sum(one.unstamped for one in figures),
        cpu_s={
            "generator": round(used_s, 3),
            **{f"{name}-{number}": round(one.cpu_s, 3) for number, one in enumerate(figures)},
        },
        rss_mb={name: round(found.rss / 1e6, 1) for name, found in memory.items()},
        uss_mb={name: round(found.uss / 1e6, 1) for name, found in memory.items()},
        late=after["late"] - before["late"],
        skipped=after["skipped"] - before["skipped"],
        lost=(after["clients_seen"] - before["clients_seen"]) + (after["dropped"] - before["dropped"]),
        errors=sum(one.errors for one in figures),
        details=figures[0].details,
    )
