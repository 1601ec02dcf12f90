"""Which deposits and withdrawals are open, asked at a slow pace, of the coins that are traded."""

import json

import pytest

from arbshard.accounts.wallets import WalletReader
from arbshard.model.warning import CoinName, WalletReport, WalletWarning
from arbshard.venues.binance.account import BinanceAccount
from arbshard.venues.unified.account import UnifiedAccount
from arbshard.venues.upbit.account import UpbitAccount


def row(currency, state, block="normal", net="Main"):
    return {
        "currency": currency,
        "wallet_state": state,
        "block_state": block,
        "network_name": net,
        "net_type": net,
    }


def upbit_rows(*rows):
    return json.dumps(rows).encode()


@pytest.fixture
def reader(script, clock, counted, markets):
    def build(venue, body, every_s=60.0):
        path = {"upbit": "status/wallet", "binance": "/sapi/v1/capital/config/getall"}[venue.name]
        asker = script(**{path: body})
        return WalletReader(venue, asker, markets[venue.name], counted, clock, every_s), asker

    return build


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([row("BTC", "working")], ()),
        ([row("BTC", "paused")], ("deposits_closed", "withdrawals_closed")),
        ([row("BTC", "unsupported")], ("deposits_closed", "withdrawals_closed")),
        ([row("BTC", "a word of tomorrow")], ("deposits_closed", "withdrawals_closed")),
        ([row("BTC", "withdraw_only")], ("deposits_closed",)),
        ([row("BTC", "deposit_only")], ("withdrawals_closed",)),
        ([row("BTC", "working"), row("BTC", "paused", net="Lightning")], ("network_closed",)),
        ([row("BTC", "working", "delayed")], ("network_delayed",)),
        ([row("BTC", "working", "inactive")], ("network_delayed",)),
        ([row("BTC", "working", None)], ()),
        ([row("XYZ", "paused")], ()),  # it is not traded
    ],
)
async def test_states_of_wallets_of_upbit(reader, clock, rows, found):
    one, _ = reader(UpbitAccount(), upbit_rows(*rows))
    report = await one.report()
    assert report.problem == ""
    assert report.at_ms == clock.wall_ms()
    assert tuple(warning.kind for warning in report.warnings) == found


def network(name, *, deposits, withdrawals, **more):
    return {"network": name, "depositEnable": deposits, "withdrawEnable": withdrawals, **more}


@pytest.mark.parametrize(
    ("networks", "found"),
    [
        ([network("BTC", deposits=True, withdrawals=True)], {}),
        ([network("BTC", deposits=False, withdrawals=True)], {"deposits_closed": "BTC"}),
        (
            [
                network("BTC", deposits=False, withdrawals=False),
                network("BSC", deposits=False, withdrawals=True),
            ],
            {"deposits_closed": "BTC, BSC", "network_closed": ""},
        ),
        (
            [
                network("BTC", deposits=True, withdrawals=True),
                network("BSC", deposits=True, withdrawals=False),
            ],
            {"network_closed": "BSC"},
        ),
        ([network("BTC", deposits=True, withdrawals=True, busy=True)], {"network_delayed": "BTC"}),
    ],
)
async def test_states_of_networks_of_binance(reader, networks, found):
    body = json.dumps([{"coin": "BTC", "name": "Bitcoin", "networkList": networks}]).encode()
    report = await reader(BinanceAccount(), body)[0].report()
    told = {one.kind: one.detail for one in report.warnings}
    assert told == {kind: detail for kind, detail in found.items() if detail}
    assert report.coin_names == (CoinName("binance", "BTC", "Bitcoin"),)


async def test_a_coin_that_counts_by_the_thousand_says_so(reader):
    networks = [network("BSC", deposits=True, withdrawals=True, denomination=1000)]
    body = json.dumps([{"coin": "BTC", "name": "1000 x", "networkList": networks}]).encode()
    report = await reader(BinanceAccount(), body)[0].report()
    assert report.coin_names == (CoinName("binance", "BTC", "1000 x", 1000),)


async def test_it_is_asked_at_its_own_pace(reader, clock):
    one, asker = reader(UpbitAccount(), upbit_rows(row("BTC", "paused")))
    first = await one.report()
    assert await one.report() is first
    clock.advance_ms(60_000)
    assert await one.report() is not first
    assert len(asker.asked) == 2


async def test_a_failure_keeps_what_was_known_and_is_part_of_the_report(reader, counted, clock, lost):
    one, asker = reader(UpbitAccount(), upbit_rows(row("BTC", "paused")))
    known = await one.report()
    asker.then("status/wallet", lost)
    clock.advance_ms(60_000)
    report = await one.report()
    assert (report.warnings, report.at_ms) == (known.warnings, known.at_ms)
    assert report.problem
    assert counted.counts["wallet_errors"] == 1
    assert WalletWarning("upbit", "BTC", "deposits_closed", "Main") in report.warnings


async def test_a_body_that_cannot_be_read_is_a_problem_too(reader, counted):
    one, _ = reader(UpbitAccount(), b'[{"currency": 1}]')
    report = await one.report()
    assert report == WalletReport(0, problem=report.problem)
    assert report.problem
    assert counted.counts["wallet_errors"] == 1


async def test_nothing_is_asked_where_it_is_switched_off_or_unknown(reader, script, counted, clock):
    one, asker = reader(UpbitAccount(), b"[]", every_s=0.0)
    assert await one.report() is None
    assert asker.asked == []
    unified = WalletReader(UnifiedAccount("kraken"), script(), {}, counted, clock, 60.0)
    assert await unified.report() is None
