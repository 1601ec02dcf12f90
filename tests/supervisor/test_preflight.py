"""A live run that is not fit does not start; a dry one says so and goes on."""

import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.doctor.checks import Check
from arbshard.errors import UsageError
from supervisor import preflight

CHECKS = (
    Check("upbit", "key", "ok", "accepted"),
    Check("upbit", "clock", "warning", "300 ms", "NTP"),
    Check("binance", "fees", "fail", "buy 12", "set 12"),
)


@pytest.fixture
def found(monkeypatch):
    """The verdicts, in place of asking venues."""

    async def gather(config, universe, keys):
        return keys

    def set_checks(checks):
        monkeypatch.setattr(preflight, "examine", lambda config, facts: checks)

    monkeypatch.setattr(preflight, "gather_facts", gather)
    return set_checks


def config(*, dry_run):
    return replace(Config(), mode="live", live=replace(Config().live, dry_run=dry_run))


async def test_a_failed_check_stops_the_start(found):
    found(CHECKS)
    with pytest.raises(UsageError, match=r"binance fees: buy 12 \(set 12\)"):
        await preflight.run_preflight(config(dry_run=False), None, {}, pytest.fail)


async def test_a_dry_run_only_says_so(found):
    found(CHECKS)
    said = []
    await preflight.run_preflight(config(dry_run=True), None, {}, said.append)
    assert said == ["doctor: binance fees: buy 12 (set 12)"]


async def test_warnings_stop_nothing(found):
    found(CHECKS[:2])
    await preflight.run_preflight(config(dry_run=False), None, {}, pytest.fail)
