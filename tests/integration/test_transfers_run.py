"""The owner moves money while the system runs live: announced, short, never announced, from outside."""

import json
from decimal import Decimal

import pytest

from support.instance import LIVE, SIM_KEYS, Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

CONFIG = f"""{LIVE}
[sim]
coins = 4
[strategy]
entry_bps = 490.0
[run]
shards = 1
"""
"""No gap is wide enough for an entry: what moves, the owner has moved."""
_LEAST = Decimal("0.00000001")


class Desk(Instance):
    """A live run, and what its owner does at the embedded exchanges."""

    def has(self, venue: str, currency: str) -> Decimal:
        """What the ledger says. There is nothing to see while risk is being replaced, as on a machine under load."""
        balances = self.wait_for(lambda: self.status()["balances"].get(venue))
        return Decimal(balances[currency]["total"])

    def share(self, venue: str, currency: str, part: str) -> Decimal:
        """What ``move`` will move."""
        return abs(self.has(venue, currency) * Decimal(part)).quantize(_LEAST)

    def move(self, venue: str, currency: str, part: str) -> None:
        """Withdraw (below 0) or deposit a part of what is free, at the exchange itself."""
        self.set_faults(venue, {"once": {"hand_transfer": {"currency": currency, "part": float(part)}}})

    def until_has(self, venue: str, currency: str, amount: Decimal) -> None:
        """Wait until the ledger says so."""
        self.wait_for(lambda: self.has(venue, currency) == amount)

    def open_transfers(self) -> list[dict[str, str]]:
        """As the command lists them."""
        return json.loads(self.do("transfer", "list", "--json"))

    def differing(self) -> list[str]:
        """Currencies of which venue and ledger say different amounts."""
        return [one["currency"] for one in self.status()["differences"]]


@pytest.fixture
def desk(tmp_path):
    with Desk(tmp_path, CONFIG) as made:
        made.start("--live", **SIM_KEYS)
        made.until_running()
        made.wait_for(lambda: len(made.events("AccountOpened")) == 2)
        made.wait_for(lambda: float(made.status()["equity"]["account_value"]) > 0)
        yield made


def test_what_the_owner_moves(desk):
    announced_out_and_in(desk)
    arrives_short(desk)
    never_announced(desk)
    from_outside(desk)
    beside = Decimal(desk.status()["lifetime"]["beside"])
    assert not desk.status()["problems"]
    ended = desk.stop()
    assert ended.code == 0, ended.stdout
    assert Decimal(json.loads(desk.do("inventory", "--json"))["lines"][0]["have"]) > 0  # off, by the ledger
    desk.verify()
    print(f"results beside trading {beside:+,.0f} KRW")


def announced_out_and_in(desk):
    """Neither a block nor a difference; its fee is a cost."""
    leaves, arrives = desk.share("upbit", "BTC", "0.25"), desk.share("binance", "BTC", "0.24")
    fee = leaves - arrives
    at_home, away = desk.has("upbit", "BTC"), desk.has("binance", "BTC")
    text = desk.do("transfer", "out", "upbit", "BTC", str(leaves), "--to", "binance", "--fee", str(fee))
    assert "is held on upbit until its statement shows that it has left" in text
    desk.move("upbit", "BTC", "-0.25")
    desk.until_has("upbit", "BTC", at_home - leaves)
    assert [one["left"] for one in desk.open_transfers()] == [str(leaves)]
    assert float(desk.status()["under_way_worth"]) > 0
    desk.move("binance", "BTC", "0.24")
    desk.until_has("binance", "BTC", away + arrives)
    assert desk.open_transfers() == []
    assert desk.events("DifferenceFound") == []
    (ended,) = desk.events("TransferEnded")
    assert (ended["how"], Decimal(ended["fee"])) == ("arrived", fee)
    assert Decimal(desk.status()["lifetime"]["pnl"]) == Decimal(ended["value"]) < 0


def arrives_short(desk):
    """A difference until a person says what has arrived, and a loss once a person gives up the rest."""
    leaves, arrives = desk.share("upbit", "ETH", "0.25"), desk.share("binance", "ETH", "0.2")
    at_home, pnl = desk.has("upbit", "ETH"), Decimal(desk.status()["lifetime"]["pnl"])
    desk.do("transfer", "out", "upbit", "ETH", str(leaves), "--to", "binance")
    desk.move("upbit", "ETH", "-0.25")
    desk.until_has("upbit", "ETH", at_home - leaves)
    desk.move("binance", "ETH", "0.2")
    desk.wait_for(lambda: desk.differing() == ["ETH"])
    (one,) = desk.open_transfers()
    desk.do("transfer", "in", one["transfer_id"], "--amount", str(arrives))
    desk.wait_for(lambda: desk.differing() == [])
    assert Decimal(desk.status()["lifetime"]["pnl"]) == pnl
    desk.do("transfer", "lost", one["transfer_id"])
    desk.wait_for(lambda: Decimal(desk.status()["lifetime"]["pnl"]) < pnl)
    assert desk.open_transfers() == []


def never_announced(desk):
    """It blocks, and ends as what a person says it is."""
    pnl = desk.status()["lifetime"]["pnl"]
    desk.move("upbit", "XRP", "-0.1")
    desk.wait_for(lambda: desk.differing() == ["XRP"])
    desk.do("reconcile", "--accept", "upbit", "XRP", "--as", "deposit", code=2)
    assert "counts as no result" in desk.do("reconcile", "--accept", "upbit", "XRP", "--as", "withdrawal")
    desk.wait_for(lambda: desk.differing() == [])
    assert desk.status()["lifetime"]["pnl"] == pnl


def from_outside(desk):
    """KRW that is announced arrives without a difference, and is no result."""
    found, pnl = len(desk.events("DifferenceFound")), desk.status()["lifetime"]["pnl"]
    arrives, before = desk.share("upbit", "KRW", "0.01"), desk.has("upbit", "KRW")
    desk.do("transfer", "in", "upbit", "KRW", str(arrives), "--from", "outside")
    desk.move("upbit", "KRW", "0.01")
    desk.until_has("upbit", "KRW", before + arrives)
    assert desk.open_transfers() == []
    assert len(desk.events("DifferenceFound")) == found
    assert desk.status()["lifetime"]["pnl"] == pnl
