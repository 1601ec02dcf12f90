"""Draws the live table of ``arbshard run`` on a terminal: ``python -m arbshard.status --run-dir DIR``.

It is a separate process, so that drawing costs the hot path nothing. It ends with the run, and with its terminal.
"""

import argparse
from pathlib import Path

from arbshard.last_words import end_with
from arbshard.status.watch import watch


def main() -> int:
    """Draw the table. Returns the exit code: 2 when the run cannot be seen, which is a reason to start this again."""
    parser = argparse.ArgumentParser(prog="python -m arbshard.status")
    parser.add_argument("--run-dir", type=Path, required=True)
    given = parser.parse_args()
    try:
        return 2 if watch(given.run_dir) == 2 else 0
    except OSError as error:
        return end_with(0, f"the terminal cannot be written: {error.strerror}")


raise SystemExit(main())
