"""Measurements: what each stage costs, and how long the whole loop takes. ``make perf``.

Measurements use the helpers of the tests (``tests/support``), so both drive a running arbshard in the same way.
"""

import sys
from pathlib import Path

_TESTS = str(Path(__file__).resolve().parents[1] / "tests")
if _TESTS not in sys.path:
    sys.path.append(_TESTS)
