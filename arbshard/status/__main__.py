"""Draws the live table of ``arbshard run`` on a terminal: ``python -m arbshard.status --run-dir DIR``.

It is a separate process, so that drawing costs the hot path nothing. It ends when the run ends.
"""

import argparse
from pathlib import Path

from arbshard.last_words import end_with
from arbshard.status.watch import watch


def main() -> int:
    """Draw the table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m arbshard.status")
    parser.add_argument("--run-dir", type=Path, required=True)
    given = parser.parse_args()
    try:
        return watch(given.run_dir)
    except OSError as error:
        return end_with(1, f"the terminal cannot be written: {error.strerror}")


raise SystemExit(main())
