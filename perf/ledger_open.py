"""Measures how long a ledger of a million events takes to open, and what the snapshots that shorten this
cost.

Options of ``python -m perf.ledger_open``: ``--events``, ``--pairs``, ``--folder`` (a named folder is kept).
The ledger is made by the tests' generator. It is on disk, and it may be in the page cache or not.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from arbshard.ledger import snapshots
from arbshard.ledger.replay import Recovery, recover
from arbshard.ledger.store import LedgerStore
from arbshard.ledger.verify import verify
from arbshard.model.money import use_money_context
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from arbshard.risk.portfolio.state import PortfolioState
from support import history

_TIMES = 7

Value = float | int | str


def _ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def _snapshot_costs(store: LedgerStore, codec: PortfolioCodec, state: PortfolioState) -> dict[str, Value]:
    """Return the two pauses in milliseconds, and let ``store`` write a snapshot when it is closed."""
    store.keep_snapshots(codec.version, lambda: codec.dump(state))
    prepared = [_ms(lambda: codec.dump(state)) for _ in range(_TIMES)]
    state_hash, body = codec.dump(state)
    snapshot = snapshots.Snapshot(store.last_seq, 0, codec.version, state_hash, store.balances, body)
    ready = snapshots.prepare(snapshot)
    writer = store._writer()  # noqa: SLF001 - the store does this in the background; here it is timed directly
    written = [_ms(lambda: snapshots.save(writer, ready)) for _ in range(_TIMES)]
    store._files.wrote()  # noqa: SLF001 - otherwise the store takes these writes for another program's
    return {
        "snapshot, size_mb": round(len(body) / 1e6, 1),
        "snapshot, prepare (median)": statistics.median(prepared),
        "snapshot, prepare (worst)": max(prepared),
        "snapshot, write (median)": statistics.median(written),
        "snapshot, write (worst)": max(written),
    }


def measure(path: Path, events: int, pairs: int) -> dict[str, Value]:
    """Make the ledger unless it exists, and return the figures by name; times are in milliseconds."""
    use_money_context()
    codec = PortfolioCodec()
    rows: dict[str, Value] = {"events": events, "pairs": pairs}
    if not path.exists():
        make = history.History(pairs).write
        rows["make"] = _ms(lambda: make(path, events, positions=pairs // 2, intents=min(90, pairs // 20)))
    rows["size_mb"] = round(path.stat().st_size / 1e6)

    def start() -> tuple[LedgerStore, Recovery[PortfolioState]]:
        store = LedgerStore.open(path, name="sim", mode="sim-paper", now_ms=1)
        return store, recover(store, codec)

    began = time.perf_counter()
    store, found = start()
    rows["start, everything replayed"] = (time.perf_counter() - began) * 1000
    rows["replayed"] = found.replayed
    replayed_hash = found.state.state_hash()
    gc.collect()
    gc.freeze()  # as risk does after its start
    rows |= _snapshot_costs(store, codec, found.state)
    rows["close"] = _ms(store.close)

    began = time.perf_counter()
    store, found = start()
    rows["start, from a snapshot"] = (time.perf_counter() - began) * 1000
    rows["replayed after the snapshot"] = found.replayed
    same = found.state.state_hash() == replayed_hash
    rows["same state"] = "yes" if same else "NO"
    inspection = store._inspection  # noqa: SLF001
    assert inspection is not None
    began = time.perf_counter()
    while not inspection.is_over:
        time.sleep(0.01)
    rows["inspection beside it"] = (time.perf_counter() - began) * 1000
    store.abandon()
    began = time.perf_counter()
    command = [sys.executable, "-c", _START, str(path)]
    subprocess.run(command, check=True, timeout=300)
    rows["start, from a snapshot, with the interpreter's own"] = (time.perf_counter() - began) * 1000
    gc.disable()  # as ``arbshard ledger verify`` does
    rows["verify"] = _ms(lambda: verify(path))
    rows["verify with snapshots replayed"] = _ms(lambda: verify(path, codec))
    return rows


_START = """
import sys
from pathlib import Path
from arbshard.ledger.replay import recover
from arbshard.ledger.store import LedgerStore
from arbshard.model.money import use_money_context
from arbshard.risk.portfolio.snapshot import PortfolioCodec
use_money_context()
store = LedgerStore.open(Path(sys.argv[1]), name="sim", mode="sim-paper", now_ms=1)
assert recover(store, PortfolioCodec()).snapshot_seq > 0
store.abandon()
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the figures as JSON, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perf.ledger_open")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=1_000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        load = os.getloadavg()[0]
        rows = measure(folder / "ledger.sqlite", given.events, given.pairs)
    rows["load before"] = load
    shown = {name: round(value, 1) if isinstance(value, float) else value for name, value in rows.items()}
    sys.stdout.write(json.dumps(shown, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
