"""A live run whose venues change their rules, close a market and revoke a key: what the run makes of it."""

import time

import msgspec
import pytest

from arbshard.clock import SystemClock
from arbshard.ledger.verify import verify
from arbshard.model.universe import Universe
from arbshard.status.collect import Collector
from support.instance import LIVE, SIM_KEYS, Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CONFIG = f"""{LIVE}
[sim]
coins = 4
[venues]
listing_every_s = 2.0
[strategy]
max_hold_s = 4.0
[run]
shards = 1
"""


class Desk(Instance):
    """A live run on the embedded exchanges, whose faults the test sets."""

    def universe(self) -> Universe:
        return msgspec.json.decode(self.files.universe.read_bytes(), type=Universe)

    def problems(self) -> tuple[str, ...]:
        status = Collector(self.files.dir, SystemClock()).collect()
        return status.problems if status is not None else ()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A run for all tests. Each leaves it as it was, but for the one of the fees, which is the last."""
    folder = tmp_path_factory.mktemp("desk")
    with Desk(folder, CONFIG, arguments=("--live",), environment=SIM_KEYS) as one:
        one.start()
        yield one
        one.stop()
        assert verify(one.ledger).differences == ()


@pytest.fixture
def desk(shared):
    entries = shared.risk_note().portfolio.entries
    shared.wait_for(lambda: shared.risk_note().portfolio.entries > entries)
    return shared


def until_rules(desk, are_wanted):
    """Wait until the rules of every pair are as wanted."""
    desk.wait_for(lambda: all(map(are_wanted, desk.universe().pairs)))


def test_changed_ticks_and_a_closed_market_take_effect_while_the_run_goes_on(desk):
    before = {pair.base: pair for pair in desk.universe().pairs}
    desk.set_faults("binance", {"set": {"changed_rules": {"share": 1, "tick": 10, "lot": 10}}})
    until_rules(desk, lambda pair: pair.away.rules.lot == before[pair.base].away.rules.lot * 10)
    for pair in desk.universe().pairs:
        assert pair.base in desk.universe().revised
        assert pair.home == before[pair.base].home
    entries = desk.risk_note().portfolio.entries
    desk.wait_for(
        lambda: desk.risk_note().portfolio.entries > entries + 1
    )  # by the new rules, in the same workers
    base = min(before)
    symbol = before[base].away.market.symbol
    desk.set_faults("binance", {"set": {"market_state": {"share": 1, "market": symbol, "state": "halt"}}})
    desk.wait_for(lambda: [one.symbol for one in desk.risk_note().refusing] == [symbol])
    (line,) = (line for line in desk.problems() if "takes no orders" in line)
    assert line.startswith(f"binance {symbol} takes no orders since ")
    desk.set_faults("binance", {"clear": ["market_state"]})
    desk.wait_for(lambda: desk.risk_note().refusing == ())
    assert "lot 0." in desk.alerts()
    assert f"binance:{symbol} has stopped trading (HALT)" in desk.alerts()
    desk.wait_for(lambda: f"binance:{symbol} is listed as trading again" in desk.alerts())
    desk.set_faults("binance", {"clear": ["changed_rules"]})
    until_rules(desk, lambda pair: pair.away == before[pair.base].away)


def test_a_changed_tick_of_upbit_is_read_beside_its_list_of_markets(desk):
    before = {pair.base: pair for pair in desk.universe().pairs}
    desk.set_faults("upbit", {"set": {"changed_rules": {"share": 1, "tick": 5}}})
    until_rules(desk, lambda pair: pair.home != before[pair.base].home)
    for pair in desk.universe().pairs:
        (band,) = pair.home.rules.ticks
        assert band.tick in {one.tick * 5 for one in before[pair.base].home.rules.ticks}
        assert pair.away == before[pair.base].away
    symbols = {pair.home.market.symbol for pair in desk.universe().pairs}
    desk.wait_for(lambda: any(f"upbit:{symbol}" in desk.alerts() for symbol in symbols))
    desk.set_faults("upbit", {"clear": ["changed_rules"]})
    until_rules(desk, lambda pair: pair.home == before[pair.base].home)


def test_a_revoked_key_stops_entries_at_once_and_shows_what_to_do(desk):
    desk.set_faults("binance", {"set": {"key_revoked": {"share": 1}}})
    began = time.monotonic()
    desk.wait_for(lambda: [(one.venue, one.symbol) for one in desk.risk_note().refusing] == [("binance", "")])
    assert desk.risk_note().refusing[0].fault == "venue"
    print(f"refuses after {time.monotonic() - began:.1f} s")
    (line,) = (line for line in desk.problems() if line.startswith("binance takes no orders"))
    assert "check the key" in line
    entries = desk.risk_note().portfolio.entries
    desk.wait_for(lambda: desk.risk_note().refusals.get("VENUE_REFUSES", 0) > 0)
    assert desk.risk_note().portfolio.entries <= entries + 4  # those that were under way
    desk.set_faults("binance", {"clear": ["key_revoked"]})
    desk.wait_for(lambda: desk.risk_note().refusing == (), 80)
    entries = desk.risk_note().portfolio.entries
    desk.wait_for(lambda: desk.risk_note().portfolio.entries > entries)


def test_a_fee_that_is_not_the_configured_one_is_shown_with_both_figures(desk):
    desk.set_faults("binance", {"set": {"changed_fees": {"share": 1, "bps": 30}}})
    fees = desk.wait_for(lambda: desk.risk_note().fees)
    assert {(one.venue, one.configured_bps, one.paid_bps) for one in fees} == {("binance", "10", "30")}
    assert any("charged 30 bps" in line and "configured are 10" in line for line in desk.problems())


@pytest.mark.nightly  # in the gate tests/cases and tests/risk/test_venue_facts.py close while a venue is down
def test_a_close_while_one_venue_is_down_says_what_stays_open_and_why(tmp_path):
    patient = CONFIG.replace("max_hold_s = 4.0", "max_hold_s = 3600.0\ntake_profit_bps = 500.0")
    with Desk(tmp_path, patient, arguments=("--live",), environment=SIM_KEYS) as desk:
        desk.start()
        desk.wait_for(lambda: desk.risk_note().positions)
        desk.set_faults("binance", {"set": {"maintenance": {"share": 1, "ms_min": 0, "ms_max": 0}}})
        desk.wait_for(lambda: desk.risk_note().unclosable)
        desk.wait_for(lambda: desk.risk_note().open_intents == 0)
        open_pairs = {one.pair for one in desk.risk_note().positions}
        ended = desk.call("close", "--all", "--wait", "1")
        assert ended.code == 1, ended
        for pair in open_pairs:
            assert f"{pair}: not closed, binance is down; hedged" in ended.out, ended
        assert any(
            line.startswith(f"{min(open_pairs)}: not closed, binance is down") for line in desk.problems()
        )
        assert {one.pair for one in desk.risk_note().positions} == open_pairs  # left alone, and hedged
        desk.set_faults("binance", {"clear": ["maintenance"]})
        desk.wait_for(lambda: not desk.risk_note().positions)
        desk.stop()
        assert verify(desk.ledger).differences == ()
