"""``python tests/soak --minutes 10 --rate 5000``: a real run at a steady rate; ``make soak`` calls it.

Prints a table. Exit code 0 when memory is flat and descriptors, threads and shared memory are as at the beginning, 1
otherwise.
"""

import argparse
import sys
from pathlib import Path

sys.path.extend(map(str, Path(__file__).resolve().parents[1:3]))  # tests, and the checkout

from perf.running import MeasurementFailed
from soaking.judge import Bounds
from soaking.run import soak, table


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python tests/soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=5000.0)
    parser.add_argument("--growth-mb", type=float, default=Bounds().growth_mb, help="allowed in ten minutes")
    given = parser.parse_args()
    if not (given.minutes > 0 and 10 <= given.rate <= 200_000):
        parser.error("--minutes above 0, --rate between 10 and 200,000")
    try:
        outcome = soak(given.minutes * 60, given.rate, bounds=Bounds(growth_mb=given.growth_mb), say=_say)
    except MeasurementFailed as error:
        _say(f"failed: {error}")
        return 1
    _say(table(outcome))
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
