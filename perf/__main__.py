"""``make perf``: stage costs and loop latencies, as tables, and as JSON in ``perf/out/latest.json``."""

import json
import os
import platform
from pathlib import Path

from rich.console import Console
from rich.table import Table

from perf import loop, stages

_OUT = Path(__file__).resolve().parent / "out" / "latest.json"
_SECONDS = 15.0


def main() -> int:
    """Measure, print, save."""
    console = Console()
    load = os.getloadavg()[0]
    conditions = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load before the start {load:.2f}"
    )
    console.print(conditions)
    costs = stages.measure()
    table = Table(title="Stage costs, µs per call (best of 7 x 5,000)", title_justify="left")
    table.add_column("stage")
    table.add_column("µs", justify="right")
    for name, cost in costs.items():
        table.add_row(name, f"{cost:.2f}")
    console.print(table)
    rows = loop.measure(_SECONDS)
    table = Table(title="Receive → decision, 2 shards, generator on the same cores, µs", title_justify="left")
    for heading in ("msg/s", "coins", "p50", "p90", "p99", "p99.9", "max", "approval p50", "memory MB"):
        table.add_column(heading, justify="right")
    for row in rows:
        latency = row["latency_us"]
        cells = [row["msg_s"], row["coins"], *(latency[p] for p in ("p50", "p90", "p99", "p999", "max"))]
        cells += [row["approval_us"]["p50"], row["memory_mb"]]
        table.add_row(*(f"{cell:,.0f}" for cell in cells))
    console.print(table)
    _OUT.parent.mkdir(exist_ok=True)
    _OUT.write_text(json.dumps({"conditions": conditions, "stages_us": costs, "loop": rows}, indent=2) + "\n")
    console.print(f"saved as {_OUT}")
    return 0


raise SystemExit(main())
