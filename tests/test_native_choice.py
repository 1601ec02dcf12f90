"""Where the compiled twin is used, and that it is said why it is not."""

import pytest

from arbshard import native
from arbshard.doctor.checks import examine_machine


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        ({}, ""),
        ({"switch": "1"}, ""),
        ({"switch": "0"}, "ARBSHARD_NATIVE=0 switches it off"),
        ({"size_max": 2**31 - 1}, "32-bit build"),
        ({"ordered_stores": False}, "not of x86"),
    ],
)
def test_where_the_twin_is_not_used_it_is_said_why(given_, why):
    usual = {"ordered_stores": True, "size_max": 2**63 - 1, "switch": None}
    said = native.objection(**(usual | given_))
    assert why in said
    assert bool(said) is bool(why)


def test_it_is_used_or_said_why_not():
    assert native.IS_BUILT is (not native.WHY_NOT)
    (check,) = examine_machine(native.WHY_NOT)
    assert check.verdict == ("ok" if native.IS_BUILT else "warning")


def test_the_doctor_says_why_it_is_not_used():
    (check,) = examine_machine("it is not built")
    assert (check.verdict, check.found) == ("warning", "not used: it is not built")
    assert check.advice
