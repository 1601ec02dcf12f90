"""Measures how long after a frame its order is at the exchange, both legs, for this system and for a script on
ccxt.pro.

Both do the same job on the same embedded exchanges (``order_exchange``), in turns and each time in another order:
read the books of all pairs, and place both legs at once where a gap pays. This system also asks risk, whose approval
is on disk before an order leaves, and keeps positions and a ledger. ``python -m perf.orders``
is a command of its own, which ``make perf`` leaves out.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from arbshard.config import SimConfig
from perf.peers.environment import PeerUnavailable, ensure_environment
from perf.running import ROOT, MeasurementFailed, System, end_process

GROUP = "Frame sent → order at the exchange, ms"
_COINS = 20
_WARM_UP_S = 5.0
_READY_S = 30.0
_Given = dict[str, dict[str, str]]
_Client = Callable[[_Given, float], None]
_ONE_LEG = "Nautilus, away leg alone"
_PEERS = (("ccxt.pro", "ccxt", (3, 11), 0.0), (_ONE_LEG, "nautilus", (3, 12), 10.0))
"""Name, environment and script, oldest Python, and how much longer than others it takes to start, in seconds."""


def measure(seconds: float = 15.0, turns: int = 3) -> dict[str, float]:
    """Return medians over the turns, in milliseconds, and ratios, by name. Raises ``MeasurementFailed``.

    Without an environment for ccxt only this system is measured.
    """
    clients: dict[str, _Client] = {"arbshard": _arbshard}
    for name, environment, oldest, extra_s in _PEERS:
        try:
            python = ensure_environment(environment, oldest)
        except PeerUnavailable as error:
            print(f"{environment}: {error}", file=sys.stderr)
        else:
            clients[name] = partial(_peer, environment, python, extra_s)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in clients}
    for turn in range(turns):
        names = sorted(clients, reverse=turn % 2 == 1)
        for name in names:
            found[name].append(_turn(name, clients[name], seconds))
    return _figures(found)


def _turn(name: str, client: _Client, seconds: float) -> dict[str, float]:
    with TemporaryDirectory() as folder, _exchanges(Path(folder)) as given:
        client(given, seconds)
        rows = [line.split() for line in Path(folder, "stamps").read_text().splitlines()]
    figures: dict[str, float] = {}
    for venue in ("upbit", "binance"):
        waited = sorted(int(ns) / 1e6 for where, ns in rows if where == venue)
        if not waited:
            if venue == "upbit" and name == _ONE_LEG:
                continue
            raise MeasurementFailed(f"{name}: no order has reached {venue}")
        figures[f"{venue}, orders"] = len(waited)
        figures[f"{venue}, p50"] = waited[len(waited) // 2]
        figures[f"{venue}, p90"] = waited[int(len(waited) * 0.9)]
        figures[f"{venue}, p99"] = waited[int(len(waited) * 0.99)]
    return figures


def _figures(found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    shown: dict[str, float] = {}
    for name, turns in found.items():
        for key in turns[0]:
            shown[f"{name}: {key}"] = statistics.median(turn[key] for turn in turns)
    for other, slower in found.items():
        if other == "arbshard":
            continue
        for venue in ("upbit", "binance"):
            key = f"{venue}, p50"
            if key not in slower[0]:
                continue
            ratios = [theirs[key] / ours[key] for theirs, ours in zip(slower, found["arbshard"], strict=True)]
            shown[f"{other} to arbshard, {key}"] = statistics.median(ratios)
            shown[f"{other} to arbshard, {key}, least"] = min(ratios)
            shown[f"{other} to arbshard, {key}, most"] = max(ratios)
    return shown


@contextmanager
def _exchanges(folder: Path) -> Iterator[_Given]:
    private, public = _ed25519()
    settings = {
        "coins": _COINS,
        "updates_per_s": 10.0,
        "regime": "high-win",
        "accounts": {"binance_ed25519_public": public},
    }
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "perf.order_exchange", str(folder / "stamps")]
    process = subprocess.Popen(
        [*command, "--settings", json.dumps(settings), "--ready-file", str(ready)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    accounts = SimConfig().accounts
    try:
        end_s = time.monotonic() + _READY_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > end_s:
                raise MeasurementFailed("the exchanges that stamp orders did not come up")
            time.sleep(0.05)
        found = json.loads(ready.read_text())
        yield {
            venue: {
                "ws_url": found[venue]["ws_url"],
                "rest_url": found[venue]["rest_url"],
                "key": accounts.key_of(venue)[0],
                "secret": accounts.key_of(venue)[1],
                "ed25519_key": private if venue == "binance" else "",
            }
            for venue in ("upbit", "binance")
        }
    finally:
        end_process(process)


def _arbshard(given: _Given, seconds: float) -> None:
    config: dict[str, Any] = {
        "mode": "live",
        "data": "public",
        "run": {"shards": 2, "log_level": "warning"},
        # Positions are closed when the gap has closed, and not by a timer, which follows no frame.
        "strategy": {"max_hold_s": 3600.0},
        "venues": {
            venue: {"ws_url": one["ws_url"], "rest_url": one["rest_url"]} for venue, one in given.items()
        },
    }
    keys = {
        f"ARBSHARD_{venue.upper()}_{part}": one[part.lower()]
        for venue, one in given.items()
        for part in ("KEY", "SECRET")
    }
    before = dict(os.environ)
    os.environ.update(keys)
    try:
        with System(("-m", "arbshard", "run", "--live", "--new-ledger"), config) as system:
            system.until_running()
            time.sleep(_WARM_UP_S + seconds)
            system.require_alive()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _peer(environment: str, python: Path, extra_s: float, given: _Given, seconds: float) -> None:
    script = ROOT / "perf" / "peers" / f"{environment}_orders.py"
    done = subprocess.run(
        [str(python), str(script), str(extra_s + _WARM_UP_S + seconds)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=_READY_S + extra_s + _WARM_UP_S + 2 * seconds,
        check=False,
    )
    if done.returncode:
        raise MeasurementFailed(
            f"{environment} ended with code {done.returncode}: {done.stderr.strip()[-300:]}"
        )
    if done.stderr:
        print(done.stderr.strip()[-300:], file=sys.stderr)


def _ed25519() -> tuple[str, str]:
    """Return a new private key and its public key in PEM."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perf.orders", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="measured window of each turn")
    parser.add_argument("--turns", type=int, default=3, help="how often each client takes its turn")
    given = parser.parse_args(arguments)
    if given.seconds <= 0 or given.turns < 1:
        parser.error("--seconds must be above 0 and --turns at least 1")
    try:
        figures = measure(given.seconds, given.turns)
    except MeasurementFailed as error:
        print(f"orders: {error}", file=sys.stderr)
        return 2
    for name, value in figures.items():
        print(f"{name:60} {value:10.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
