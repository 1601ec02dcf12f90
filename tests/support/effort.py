"""How much the tests try: enough before each change (the gate, ``make test``), far more in ``make nightly``.

What needs many seconds stays in the suite under the marker ``nightly``, or asks here how often it is to be repeated.
Seeds of the gate are fixed, so that a failure there is a failure of the change; those of the night are fresh.
"""

import os

VARIABLE = "ARBSHARD_TESTS"
IS_NIGHTLY = os.environ.get(VARIABLE) == "nightly"


def effort(gate: int, nightly: int) -> int:
    """How often something is tried: ``gate`` times before each change, ``nightly`` times every night."""
    return nightly if IS_NIGHTLY else gate
