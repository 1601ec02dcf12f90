"""Seven kills from one seed; ``make nightly`` does 60 here, and then 1,000 from a fresh seed.

Each manner is a test, so that they can run side by side.
"""

import os

import pytest

from kills.torture import Torture
from support.effort import effort

pytestmark = [pytest.mark.integration, pytest.mark.timeout(290)]


@pytest.mark.parametrize(
    ("manner", "kills"),
    [
        ("points", effort(3, 24)),
        ("children", effort(2, 18)),
        ("runs", effort(1, 6)),
        ("stops", effort(1, 6)),
        # Each kind of harm to files has a test of its own in ``tests/integration``.
        pytest.param("files", effort(2, 6), marks=pytest.mark.nightly),
    ],
)
def test_exchange_and_ledger_agree_to_the_last_digit(tmp_path, manner, kills):
    torture = Torture(tmp_path, manner, kills, seed=20)
    try:
        report = torture()
    finally:
        torture.close()
    assert not report.problems, report.text()
    assert report.kills >= kills
    if os.geteuid() == 0:  # others may not mount the disks that are to be full
        assert not report.untried, report.text()
    # Kills that hit nothing would prove nothing.
    assert report.orders > kills / 2, report.text()
    assert report.fills > kills / 2, report.text()
