"""Starts the recorder as a child of a run that only records: ``python -m arbshard.tape``. Needs pyarrow.

Exit codes: 0 the supervisor asked it to end, 1 a defect (logged), 2 it cannot record with these settings, 4 the
supervisor died.
"""

import argparse
import signal
import sys
from pathlib import Path

import msgspec

from arbshard.config import Config
from arbshard.errors import ArbshardError, RunDirError
from arbshard.last_words import end_with, write_stderr_line
from arbshard.log import get_logger, setup
from arbshard.model.rundir import RunFiles, reason_of
from arbshard.process import Parent, add_parent_option, leave_ending_to_the_supervisor
from arbshard.tape.main import hold, record_run
from arbshard.tape.writing import TapeBounds

_PARENT_GONE = "the supervisor died"


def main() -> int:
    """Record until the supervisor ends this process. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m arbshard.tape")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="the tape's folder")
    parser.add_argument("--bounds", type=_bounds_of, required=True, help="TapeBounds as JSON")
    add_parent_option(parser)
    given = parser.parse_args()
    leave_ending_to_the_supervisor()
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stops.append(number))
    try:
        return _work(given, stops)
    except (RunDirError, OSError) as error:
        why = reason_of(error) if isinstance(error, OSError) else str(error)
        return end_with(2, f"{given.dir}: cannot be recorded into: {why}")
    except ArbshardError as error:
        get_logger().error("the recorder ends", why=str(error))
        return end_with(1, f"record: {error}")


def _work(given: argparse.Namespace, stops: list[int]) -> int:
    files = RunFiles(given.run_dir)
    config = msgspec.json.decode(files.config.read_bytes(), type=Config, strict=False)
    setup("record", given.state_dir / "logs", config.run.log_level)
    parent = Parent(given.parent_pid)

    def why_over() -> str:
        if stops:
            return "stopped"
        return _PARENT_GONE if parent.is_gone() else ""

    lock = hold(given.dir)
    try:
        ledger = given.state_dir / "ledger.sqlite"
        found = record_run(config.name, files, ledger, given.dir, given.bounds, why_over)
    finally:
        lock.release()
    write_stderr_line(found.line())
    return 4 if found.why == _PARENT_GONE else 0


def _bounds_of(text: str) -> TapeBounds:
    return msgspec.json.decode(text, type=TapeBounds)


if __name__ == "__main__":
    sys.exit(main())
