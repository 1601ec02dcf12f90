"""Launches the system under test: ``arbshard run`` with the harness's own exchanges and workers.

``load`` starts it with ``python -m perf.system``. Everything else is as in a real run.
"""

import argparse
import sys
from pathlib import Path

from arbshard.config import load_config
from arbshard.errors import UsageError
from supervisor.main import Options, run
from supervisor.processes.specs import Programs


def main() -> int:
    """Run until a signal ends the run; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perf.system")
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--exchanges", default="perf.generator")
    parser.add_argument("--worker", default="perf.worker")
    given = parser.parse_args()
    try:
        return run(load_config(given.config), Options(), Programs(sim=given.exchanges, worker=given.worker))
    except UsageError as error:
        print(f"perf.system: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
