"""A running instance under garbage: a short siege in every test run."""

import pytest

from fuzzing.instance import siege
from support.effort import effort

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def test_an_instance_trades_on_and_counts_what_was_bad():
    said = []
    cases = effort(300, 600)
    report = siege(cases, 20, said.append)
    assert not report.findings, report.text()
    assert report.cases == cases
    assert len(report.outcomes) >= 9, report.text()
