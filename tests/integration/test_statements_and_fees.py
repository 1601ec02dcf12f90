"""A live run that a venue states nothing any more, and one whose account pays another fee: refused, shown, over."""

import pytest

from support.instance import LIVE, SIM_KEYS, Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CONFIG = f"""{LIVE}statement_age_max_s = 10
[sim]
coins = 4
[strategy]
max_hold_s = 4.0
[run]
shards = 1
"""


class Desk(Instance):
    """A live run on the embedded exchanges, whose faults the test sets."""

    def refused(self, reason: str) -> int:
        """How often an entry was refused for ``reason``, by the worker or by risk."""
        status = self.status()
        by_workers = sum(shard["refusals"].get(reason, 0) for shard in status["shards"])
        return by_workers + int(status["risk"]["refusals"].get(reason, 0))

    def entries(self) -> int:
        return self.risk_note().portfolio.entries

    def problem(self, begins: str) -> str:
        return next((line for line in self.status()["problems"] if line.startswith(begins)), "")

    def expect_no_entries(self, reason: str) -> None:
        """The rule holds for every pair: of what is refused from now on nothing becomes an entry."""
        self.wait_for(lambda: self.refused(reason) > 0)
        self.wait_for(lambda: not self.risk_note().open_intents)
        before, refused = self.entries(), self.refused(reason)
        self.wait_for(lambda: self.refused(reason) > refused + 20)
        assert self.entries() == before

    def expect_entries(self) -> None:
        before = self.entries()
        self.wait_for(lambda: self.entries() > before, 60.0)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A run for both tests. Each leaves it trading."""
    folder = tmp_path_factory.mktemp("desk")
    with Desk(folder, CONFIG, arguments=("--live",), environment=SIM_KEYS) as one:
        one.start()
        one.wait_for(lambda: one.entries() > 0)
        yield one
        one.stop()
        one.verify()


def test_nothing_is_entered_where_statements_are_too_old_to_be_compared(desk):
    """Orders go out and are filled as ever; only questions are lost on the way."""
    desk.set_faults("binance", {"set": {"lost_request": {"share": 1, "calls": "asking"}}})
    desk.expect_no_entries("STATEMENT_OLD")
    assert desk.status()["state"] == "degraded"
    assert desk.problem("binance has made no settled statement of what we own for 10 s")
    desk.set_faults("binance", {"clear": ["lost_request"]})
    desk.until(lambda status: status["state"] == "running")
    desk.expect_entries()


def test_nothing_is_entered_where_the_account_pays_a_larger_fee_than_is_configured(desk):
    """Fees are asked for every ten minutes, and at each start of the process that asks."""
    desk.set_faults("binance", {"set": {"changed_fees": {"share": 1, "bps": 30}}})
    desk.kill("accounts")
    desk.expect_no_entries("FEE_ABOVE_CONFIGURED")
    assert desk.status()["state"] == "degraded"
    assert desk.problem("binance states a fee of 30 bps for a buy, configured are 10: ")
    desk.set_faults("binance", {"clear": ["changed_fees"]})
    desk.kill("accounts")
    desk.wait_for(lambda: not desk.problem("binance states a fee"))
    desk.expect_entries()
