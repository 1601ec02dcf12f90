"""A live run whose venues warn of markets and close wallets: what each rule makes of it."""

import msgspec
import pytest

from arbshard.clock import SystemClock
from arbshard.ledger.verify import verify
from arbshard.model.risk_note import WarningNote
from arbshard.model.universe import Universe
from arbshard.status.collect import Collector
from support.instance import LIVE, SIM_KEYS, Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CONFIG = f"""{LIVE}
[sim]
coins = 3
[venues]
listing_every_s = 1.0
[warnings]
wallets_every_s = 1.0
[run]
shards = 1
"""
PATIENT = f"""{CONFIG}
[strategy]
max_hold_s = 3600.0
take_profit_bps = 500.0
stop_loss_bps = 2000.0
"""


class Desk(Instance):
    """A live run on the embedded exchanges, whose faults the test sets."""

    def warnings(self) -> tuple[WarningNote, ...]:
        return self.risk_note().warnings

    def symbol(self, base: str, venue: str) -> str:
        universe = msgspec.json.decode(self.files.universe.read_bytes(), type=Universe)
        return next(pair.leg(venue).market.symbol for pair in universe.pairs if pair.base == base)

    def status_warnings(self) -> tuple[str, ...]:
        status = Collector(self.files.dir, SystemClock()).collect()
        assert status is not None
        return status.warnings

    def open_pairs(self) -> set[str]:
        return {one.pair for one in self.risk_note().positions}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A run whose markets two tests warn of; each leaves it without warnings."""
    folder = tmp_path_factory.mktemp("desk")
    with Desk(folder, PATIENT, arguments=("--live",), environment=SIM_KEYS) as one:
        one.start()
        yield one
        one.stop()
        assert verify(one.ledger).differences == ()


def test_a_warning_closes_what_is_open_and_bars_the_pair_until_it_is_over(desk):
    base = min(desk.wait_for(desk.open_pairs))
    symbol = desk.symbol(base, "upbit")
    desk.set_faults("upbit", {"set": {"market_state": {"share": 1, "market": symbol, "state": "warned"}}})
    desk.wait_for(lambda: [(one.pair, one.rule) for one in desk.warnings()] == [(base, "close")])
    desk.wait_for(lambda: base not in desk.open_pairs())
    assert desk.risk_note().reasons["warned"] >= 1
    assert [bar.reason for bar in desk.wait_for(lambda: desk.risk_note().entries[base].bars)] == [
        "MARKET_WARNED"
    ]
    assert desk.status_warnings() == (
        f"{base}: upbit warns of {symbol}: warning: it enters nothing, and is closed once both venues can be used",
    )
    assert f"upbit:{symbol}: the venue warns of it: warning" in desk.alerts()
    desk.set_faults("upbit", {"clear": ["market_state"]})
    desk.wait_for(lambda: desk.warnings() == () and base in desk.open_pairs())


def test_a_caution_bars_entries_and_closes_nothing_and_one_that_is_ignored_is_only_shown(desk):
    base = min(desk.wait_for(desk.open_pairs))
    symbol = desk.symbol(base, "upbit")
    fault = {"share": 1, "market": symbol, "state": "warned", "caution": "GLOBAL_PRICE_DIFFERENCES"}
    desk.set_faults("upbit", {"set": {"market_state": fault}})
    desk.wait_for(lambda: [one.rule for one in desk.warnings()] == ["no_entries"])
    desk.wait_for(lambda: [bar.reason for bar in desk.risk_note().entries[base].bars] == ["MARKET_WARNED"])
    assert base in desk.open_pairs()
    desk.set_faults("upbit", {"set": {"market_state": {**fault, "caution": "TRADING_VOLUME_SOARING"}}})
    desk.wait_for(lambda: [one.rule for one in desk.warnings()] == ["ignore"])
    desk.wait_for(lambda: desk.risk_note().entries[base].bars == ())
    desk.set_faults("upbit", {"clear": ["market_state"]})
    desk.wait_for(lambda: desk.warnings() == ())


@pytest.mark.parametrize(
    ("venue", "wallet", "kinds"),
    [
        ("upbit", "paused", ["deposits_closed", "withdrawals_closed"]),
        pytest.param("binance", "deposit_only", ["withdrawals_closed"], marks=pytest.mark.nightly),
    ],
)
def test_a_closed_wallet_bars_entries_over_a_restart_of_accounts_and_risk(tmp_path, venue, wallet, kinds):
    with Desk(tmp_path, CONFIG, arguments=("--live",), environment=SIM_KEYS) as desk:
        desk.start()
        base = min(desk.wait_for(desk.open_pairs))
        symbol = desk.symbol(base, venue)
        fault = {"share": 1, "market": symbol, "wallet": wallet, "gap_bps": 0.0}
        desk.set_faults(venue, {"set": {"closed_wallet": fault}})
        desk.wait_for(lambda: [one.text.split(": ")[1].split(" ")[0] for one in desk.warnings()] == kinds)
        desk.wait_for(
            lambda: [bar.reason for bar in desk.risk_note().entries[base].bars] == ["WALLET_CLOSED"]
        )
        for process in ("risk", "accounts"):
            desk.kill(process)
            desk.wait_for(
                lambda: [bar.reason for bar in desk.risk_note().entries[base].bars] == ["WALLET_CLOSED"]
            )
        desk.set_faults(venue, {"clear": ["closed_wallet"]})
        desk.wait_for(lambda: desk.warnings() == ())
        desk.stop()
        assert verify(desk.ledger).differences == ()


def test_a_coin_whose_prices_step_is_set_apart_until_a_person_has_confirmed_it(tmp_path):
    config = f"""{PATIENT}
[limits]
position_loss_bps_max = 20000
[symbols]
price_ratio_s = 2.0
""".replace("wallets_every_s = 1.0", "wallets_every_s = 0.0")
    config = config.replace("stop_loss_bps = 2000.0", "stop_loss_bps = 20000.0")
    with Desk(tmp_path, config, arguments=("--live",), environment=SIM_KEYS) as desk:
        desk.start()
        base = min(desk.wait_for(desk.open_pairs))
        fault = {"share": 1, "market": desk.symbol(base, "upbit"), "gap_bps": 5000.0}
        desk.set_faults("upbit", {"set": {"closed_wallet": fault}})
        desk.wait_for(lambda: desk.risk_note().apart.get(base))
        assert desk.risk_note().apart[base].cause == "identity"
        desk.wait_for(
            lambda: any(bar.reason == "IDENTITY_DOUBTED" for bar in desk.risk_note().entries[base].bars)
        )
        assert "trade the same coin" in desk.do(
            "symbols", "confirm", base, "--reason", "ten old ones for fifteen new"
        )
        desk.do("resume", base, "--reason", "looked into")
        desk.wait_for(lambda: base not in desk.risk_note().apart)
        assert desk.events("CoinConfirmed")[-1]["reason"] == "ten old ones for fifteen new"
        ended = desk.call("symbols", "confirm", "NOSUCH", "--reason", "x")
        assert ended.code != 0
        assert "NOSUCH is not traded in this run" in ended.err
        desk.set_faults("upbit", {"clear": ["closed_wallet"]})
        desk.stop()
