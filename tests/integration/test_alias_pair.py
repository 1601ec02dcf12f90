"""A coin that both venues list under different tickers, traded on paper and live: money, coins and ledger agree."""

import json
import urllib.request
from decimal import Decimal

import msgspec
import pytest

from arbshard.config import Config
from arbshard.model.universe import Universe
from support.instance import LIVE, SIM_KEYS, Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CONFIG = """
[sim]
coins = 6
aliases = ["upbit:ADA binance:ADAX"]
[symbols]
aliases = ["upbit:ADA binance:ADAX"]
[strategy]
max_hold_s = 4.0
[run]
shards = 1
"""


class Desk(Instance):
    """A run of one pair on the embedded exchanges."""

    def until_traded(self) -> None:
        self.until(lambda status: status["portfolio"]["exits"] > 0, 90.0)

    def pair(self) -> tuple[str, str, str]:
        (pair,) = msgspec.json.decode(self.files.universe.read_bytes(), type=Universe).pairs
        return pair.base, pair.home.market.symbol, pair.away.market.symbol

    def held(self, venue: str, currency: str) -> Decimal:
        """What the exchange says that the account holds."""
        config = msgspec.json.decode(self.files.config.read_bytes(), type=Config, strict=False)
        token = json.loads(self.files.sim_ready.read_bytes())["token"]
        url = f"{config.venues.get(venue).rest_url}/sim/accounts"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            (account,) = msgspec.json.decode(reply.read()).values()
        row = account["balances"].get(currency, {"free": "0", "locked": "0"})
        return Decimal(row["free"]) + Decimal(row["locked"])

    def booked(self, venue: str, currency: str) -> Decimal:
        """What the ledger says."""
        row = self.status()["balances"].get(venue, {}).get(currency)
        return Decimal(row["total"]) if row is not None else Decimal(0)

    def currencies(self) -> dict[str, set[str]]:
        return {venue: set(rows) for venue, rows in self.status()["balances"].items()}


def trades_of(desk: Desk) -> list[tuple[str, str]]:
    """(venue, symbol) of both legs of every intent."""
    intents = [one["intent"] for one in desk.events("IntentApproved")]
    return sorted(
        {
            (leg["market"]["venue"], leg["market"]["symbol"])
            for one in intents
            for leg in (one["home"], one["away"])
        }
    )


@pytest.mark.nightly  # the live run shows the same, and more
def test_on_paper_each_venue_has_its_own_ticker(tmp_path):
    with Desk(tmp_path, CONFIG, arguments=("--symbols", "ADA")) as desk:
        desk.start()
        desk.until_traded()
        assert desk.pair() == ("ADA", "KRW-ADA", "ADAXUSDT")
        assert desk.currencies() == {"upbit": {"KRW", "ADA"}, "binance": {"USDT", "ADAX"}}
        assert desk.status()["problems"] == ()
        assert desk.stop().code == 0
        desk.verify()
        assert trades_of(desk) == [("binance", "ADAXUSDT"), ("upbit", "KRW-ADA")]


def test_live_the_venues_hold_what_the_ledger_says_of_either_ticker(tmp_path):
    with Desk(
        tmp_path, f"{LIVE}{CONFIG}", arguments=("--live", "--symbols", "ADA"), environment=SIM_KEYS
    ) as desk:
        desk.start()
        desk.until_traded()
        desk.do("halt", "--flatten", "--reason", "enough seen")
        desk.until(lambda _: not desk.risk_note().positions and not desk.risk_note().open_intents)
        for venue, currency in (("upbit", "ADA"), ("binance", "ADAX"), ("binance", "USDT")):
            desk.wait_for(lambda at=(venue, currency): desk.booked(*at) == desk.held(*at))
        assert desk.booked("binance", "ADA") == desk.booked("upbit", "ADAX") == 0
        assert desk.risk_note().differences == ()
        assert "ADAX" in desk.do("inventory")
        desk.stop()
        desk.verify()
        assert trades_of(desk) == [("binance", "ADAXUSDT"), ("upbit", "KRW-ADA")]
