"""A running instance under garbage: a short siege in every test run."""

import pytest

from fuzzing.instance import siege

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def test_an_instance_trades_on_and_counts_what_was_bad():
    said = []
    report = siege(600, 20, said.append)
    assert not report.findings, report.text()
    assert report.cases == 600
    assert len(report.outcomes) >= 9, report.text()
