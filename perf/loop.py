"""The whole system under load: real processes and sockets, latencies from the workers' own pages.

The embedded exchanges are the generator: they send on a fixed time grid, whatever becomes of what they sent
(open loop), and count what they could not send in time.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

RATES = ((10, 10.0), (60, 10.0), (100, 20.0))
"""(coins, updates of each market per second): about 200, 1,200 and 4,000 messages per second."""


def measure(seconds: float, shards: int = 2) -> list[dict[str, Any]]:
    """One row per rate, from the summary that ``arbshard run`` writes."""
    rows = []
    for coins, updates in RATES:
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "perf.toml"
            config.write_text(f'name = "perf"\n[sim]\ncoins = {coins}\nupdates_per_s = {updates}\n')
            summary = Path(folder) / "summary.json"
            command = [
                sys.executable,
                "-m",
                "arbshard",
                "run",
                "--config",
                str(config),
                "--shards",
                str(shards),
            ]
            command += ["--duration", str(seconds), "--summary", str(summary), "--state-dir", folder]
            ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 90, check=False)
            if not summary.exists():
                raise SystemExit(
                    f"{coins} coins: the run failed (code {ended.returncode}): {ended.stderr[-500:]}"
                )
            found = msgspec.json.decode(summary.read_bytes())
        rows.append(
            {
                "msg_s": round(found["messages"] / found["duration_s"]),
                "coins": coins,
                "latency_us": found["latency_us"],
                "approval_us": found["approval_us"],
                "conflated": found["conflated"],
                "errors": found["errors"],
                "memory_mb": found["memory_mb"],
            }
        )
    return rows


def main() -> None:
    """Print the rows as JSON; for a look at one part alone."""
    sys.stdout.write(json.dumps(measure(10.0), indent=2) + "\n")
