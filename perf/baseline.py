"""Keeps the baseline: ratios that can be compared across machines, and the commit that they were measured
on.

Costs are relative to one reference stage, and peers are relative to this system. ``make perf
ARGS="--save-baseline"`` writes the baseline; every run prints what got worse by more than a quarter. All
functions but ``load`` and ``save`` are pure.
"""

from pathlib import Path
from typing import NamedTuple

import msgspec

from perf.results import ARBSHARD, EQUAL_RATES, PEERS, Results
from perf.stages import REFERENCE

PATH = Path(__file__).resolve().parent / "baseline.json"
WORSE = 1.25
_PEER = "peer: "
"""Beginning of the names of ratios that are better when larger; all others are better when smaller."""
_CPU_RATES = (5_000, 20_000)


class Baseline(msgspec.Struct, frozen=True):
    """Holds the ratios that were kept, and their commit."""

    commit: str
    ratios: dict[str, float]


class Change(NamedTuple):
    """Holds a ratio now and in the baseline, and whether it became worse."""

    name: str
    before: float
    now: float
    is_worse: bool


def ratios_of(results: Results) -> dict[str, float]:
    """Return every ratio that can be calculated from the results."""
    found: dict[str, float] = {}
    reference = results.stages_us.get(REFERENCE, 0.0)
    if reference:
        for name, cost in results.stages_us.items():
            if name != REFERENCE:
                found[f"stage: {name}"] = cost / reference
        for rate in _CPU_RATES:
            row = results.load_at(rate)
            if row is not None:
                found[f"supervisor per message at {rate:,}"] = (
                    row.cpu_us("supervisor", row.delivered) / reference
                )
                found[f"worker per tick at {rate:,}"] = row.cpu_us("worker", row.decided) / reference
    for client in PEERS:
        found.update(peer_ratios(results, client))
    return {name: round(ratio, 3) for name, ratio in found.items()}


def peer_ratios(results: Results, client: str) -> dict[str, float]:
    """Return how many times better than ``client`` this system is, as a ratio for each row."""
    found: dict[str, float] = {}
    ours, theirs = results.highest_of(ARBSHARD), results.highest_of(client)
    if ours and theirs:
        found["highest sustained rate"] = ours / theirs
    own, cheap = results.load_at(EQUAL_RATES[0]), results.cheapest(client)
    if own is not None and cheap is not None and own.client_cpu_us:
        found[f"CPU per message at {EQUAL_RATES[0]:,}"] = cheap.client_cpu_us / own.client_cpu_us
    for rate in EQUAL_RATES:
        own, peer = results.load_at(rate), results.peer_at(client, rate)
        if own is not None and peer is not None and own.send_us.p50 and own.send_us.p99:
            found[f"p50 at {rate:,}"] = peer.send_us.p50 / own.send_us.p50
            found[f"p99 at {rate:,}"] = peer.send_us.p99 / own.send_us.p99
    return {f"{_PEER}{client}, {name}": ratio for name, ratio in found.items()}


def compare(before: dict[str, float], now: dict[str, float]) -> tuple[Change, ...]:
    """Compare the ratios that are in both, in the order of ``now``."""
    changes = []
    for name, ratio in now.items():
        old = before.get(name)
        if old is not None:
            is_worse = ratio * WORSE < old if name.startswith(_PEER) else ratio > old * WORSE
            changes.append(Change(name, old, ratio, is_worse))
    return tuple(changes)


def load(path: Path = PATH) -> Baseline | None:
    """Return the baseline; None when there is none. Raises ``ValueError`` when the file is not a valid one."""
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Baseline)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: {error}") from error


def save(baseline: Baseline, path: Path = PATH) -> None:
    """Write the baseline."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(baseline)) + b"\n")
