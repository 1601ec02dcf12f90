"""``python -m arbshard.status --run-dir DIR``: the live table of ``arbshard run`` on a terminal.

A process of its own, so that drawing costs the hot path nothing. It ends when the run ends.
"""

import argparse
from pathlib import Path

from arbshard.status.watch import watch

parser = argparse.ArgumentParser(prog="python -m arbshard.status")
parser.add_argument("--run-dir", type=Path, required=True)
raise SystemExit(watch(parser.parse_args().run_dir))
