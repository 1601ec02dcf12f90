"""``python tests/torture --kills N --seed S``: kills for as long as one likes; ``make torture`` calls it.

Exit code 0 when exchange and ledger agree after every session, 1 otherwise; what was found and how to see it again is
printed, and the session's folder is kept.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

# The root comes first, because tests/supervisor has the name of a package of the product.
sys.path += [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from arbshard.model.money import use_money_context
from kills.torture import MANNERS, Torture

_SHARE = {"children": 0.34, "points": 0.34, "runs": 0.14, "stops": 0.14, "files": 0.04}
"""An act on files costs a start of the run, so these are fewer."""


def _session(manner: str, kills: int, seed: int) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="arbshard-torture-"))
    torture = Torture(folder, manner, kills, seed, say=lambda line: print(line, flush=True))
    try:
        report = torture()
    except RuntimeError as error:
        torture.report.problems.append(str(error))
        report = torture.report
    finally:
        torture.close()
    print(report.text(), flush=True)
    if report.problems:
        print(f"  kept: {folder}", flush=True)
        return False
    shutil.rmtree(folder)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/torture")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--manner", choices=(*MANNERS, "every"), default="every")
    given = parser.parse_args()
    use_money_context()
    seed = given.seed if given.seed is not None else random.randrange(1_000_000)
    print(f"seed {seed}", flush=True)
    if given.manner != "every":
        return 0 if _session(given.manner, given.kills, seed) else 1
    agreed = [_session(manner, max(1, round(given.kills * _SHARE[manner])), seed) for manner in MANNERS]
    return 0 if all(agreed) else 1


if __name__ == "__main__":
    sys.exit(main())
