"""Every check, well and made to fail in turn: the verdict, and that the advice says what would be right."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.doctor.checks import examine, examine_reach
from arbshard.doctor.facts import (
    DoctorFacts,
    ProbeResult,
    Rates,
    ReportedLimit,
    ReportedTick,
    Rights,
    VenueFacts,
)
from arbshard.model.warning import MarketWarning, WalletWarning

GOOD = ProbeResult(ok=True)


def bad(why):
    return ProbeResult(ok=False, why=why)


@pytest.fixture
def facts(make):
    """Everything as it should be, on both venues."""
    both = {
        "rest": GOOD, "public_stream": GOOD, "private_stream": GOOD, "account": GOOD, "test_order": GOOD,
        "ahead_ms": 3,
        "rights": Rights(withdraw=False, trade=True, addresses_listed=True),
    }  # fmt: skip
    tick = ReportedTick("KRW-BTC", Decimal(146_000_000), Decimal(1000), Decimal(1000))
    upbit = VenueFacts(
        venue="upbit",
        rest_url="http://u",
        free={"KRW": Decimal(10_000_000), "BTC": Decimal(1), "ETH": Decimal(100)},
        rates=Rates("KRW-BTC", Decimal(5), Decimal(5)),
        limits=(ReportedLimit("upbit_default", 30, 30, 1),),
        ticks=(tick,),
        **both,
    )
    binance = VenueFacts(
        venue="binance",
        rest_url="http://b",
        free={"USDT": Decimal(10_000), "BTC": Decimal(1), "ETH": Decimal(100)},
        rates=Rates("BTCUSDT", Decimal("10.0"), Decimal(10)),
        limits=(ReportedLimit("binance_weight", 6000, 6000, 100),),
        **both,
    )
    return DoctorFacts(
        venues=(upbit, binance),
        pairs=(make.pair, make.other_pair("ETH")),
        prices={"BTC": Decimal(146_000_000), "ETH": Decimal(5_000_000)},
        fx=Decimal(1390),
    )


def verdicts(config, facts, venue="upbit", **changes):
    """By check, of one venue with ``changes``."""
    venues = tuple(replace(one, **changes) if one.venue == venue else one for one in facts.venues)
    checks = examine(config, replace(facts, venues=venues))
    for check in checks:
        assert check.found, check
        assert bool(check.advice) == (check.verdict != "ok") or check.name == "not reported", check
    return {check.name: check for check in checks if check.venue == venue}


def test_all_is_well(facts):
    checks = examine(Config(), facts)
    assert {check.verdict for check in checks} == {"ok"}
    assert {check.venue for check in checks} == {"upbit", "binance"}


@pytest.mark.parametrize(
    ("name", "verdict", "changes"),
    [
        ("REST address", "fail", {"rest": bad("Cannot connect")}),
        ("market data stream", "fail", {"public_stream": bad("refused")}),
        ("private stream", "fail", {"private_stream": bad("-2015")}),
        ("clock", "fail", {"ahead_ms": 1200}),
        ("clock", "fail", {"ahead_ms": -1200}),
        ("clock", "fail", {"ahead_ms": None}),
        ("clock", "warning", {"ahead_ms": 300}),
        ("clock", "ok", {"ahead_ms": 1200, "ahead_off_ms": 1000}),
        ("key", "fail", {"account": bad("invalid_access_key")}),
        ("right to trade", "fail", {"rights": Rights(withdraw=False, trade=False)}),
        ("right to trade", "fail", {"test_order": bad("out_of_scope")}),
        ("no right to withdraw", "fail", {"rights": Rights(withdraw=True)}),
        ("no right to withdraw", "fail", {"rights": Rights(withdraw=True, by_account=True)}),
        ("no right to withdraw", "warning", {"rights": Rights()}),
        ("key's addresses", "warning", {"rights": Rights(withdraw=False, addresses_listed=False)}),
        ("balances", "fail", {"free": {"BTC": Decimal(1)}}),
        ("balances", "fail", {"free": {"KRW": Decimal(10_000_000)}}),
        ("balances", "warning", {"free": {"KRW": Decimal(10_000_000), "BTC": Decimal(1)}}),
        ("balances", "warning", {"free": {"KRW": Decimal(30_000), "BTC": Decimal(1), "ETH": Decimal(100)}}),
        ("balances", "warning", {"free": {"KRW": Decimal(10**7), "BTC": Decimal("0.001"), "ETH": Decimal(100)}}),
        ("fees", "fail", {"rates": Rates("KRW-BTC", Decimal(25), Decimal(5))}),
        ("fees", "fail", {"rates": Rates("KRW-BTC", Decimal(5), Decimal("5.1"))}),
        ("fees", "warning", {"rates": Rates("KRW-BTC", Decimal(4), Decimal(5))}),
        ("fee currency", "warning", {"rates": Rates("KRW-BTC", Decimal(5), Decimal(5), "BNB")}),
        ("rate limit", "fail", {"limits": (ReportedLimit("upbit_default", 10, 30),)}),
        ("rate limit", "warning", {"limits": (ReportedLimit("upbit_default", 30, 30, 20),)}),
        ("ticks", "fail", {"ticks": (ReportedTick("KRW-BTC", Decimal(1), Decimal(500), Decimal(1000)),)}),
        ("not reported", "warning", {"missing": ("fees: HTTP 500",)}),
    ],
)  # fmt: skip
def test_each_check_made_to_fail(facts, name, verdict, changes):
    found = verdicts(Config(), facts, **changes)
    assert found[name].verdict == verdict
    others = [check for check in found.values() if check.name != name and check.verdict == "fail"]
    assert not others, "one thing was wrong, and one check failed"


def test_what_cannot_be_asked_is_left_out(facts):
    assert set(verdicts(Config(), facts, rest=bad("x"))) == {"REST address", "market data stream"}
    assert set(verdicts(Config(), facts, account=bad("x"))) == {
        "REST address",
        "market data stream",
        "clock",
        "key",
    }


@pytest.mark.parametrize(
    ("least", "verdict"), [(6000, "fail"), (7500, "warning"), (8000, "warning"), (20_000, "ok")]
)
def test_the_smallest_order_against_the_dearer_venue(facts, least, verdict):
    """5 USDT are 6,950 KRW here, and a lot of 0.00001 BTC is worth 1,460."""
    config = replace(Config(), sizing=replace(Config().sizing, entry_notional_min=Decimal(least)))
    assert verdicts(config, facts, "binance")["minimum order"].verdict == verdict
    if verdict == "fail":
        assert "8,340" in verdicts(config, facts, "binance")["minimum order"].advice


def test_without_prices_nothing_is_said_to_be_enough(facts):
    blind = replace(facts, prices={}, fx=None)
    found = verdicts(Config(), blind, "binance")
    assert found["minimum order"].verdict == "fail"
    assert found["balances"].verdict == "fail"


def test_advice_names_the_settings(facts):
    found = verdicts(Config(), facts, "binance", rates=Rates("BTCUSDT", Decimal("12.5"), Decimal(10)))
    assert "venues.binance.buy_fee_bps = 12.5" in found["fees"].advice


def test_without_markets_at_least_the_addresses_are_tried(facts):
    gone = replace(facts.venues[0], rest=bad("Name or service not known"))
    checks = examine_reach((gone, facts.venues[1]), "upbit does not answer")
    verdicts = {(check.venue, check.name): check.verdict for check in checks}
    assert verdicts["upbit", "REST address"] == "fail"
    assert verdicts["binance", "REST address"] == "ok"
    assert verdicts["both", "markets"] == "fail"


def test_what_the_venues_warn_of_is_shown_with_its_rule(facts) -> None:
    assert verdicts(Config(), facts)["warnings"].verdict == "ok"
    closed = WalletWarning("upbit", "ETH", "deposits_closed", "Ethereum")
    check = verdicts(Config(), facts, warnings=(MarketWarning("upbit", "KRW-BTC", "warning"), closed))[
        "warnings"
    ]
    assert (check.verdict, check.found) == ("warning", "ETH deposits_closed (Ethereum)")
    assert check.advice == "these enter nothing (rule no_entries of [warnings])"
    ignored = verdicts(
        Config(), facts, warnings=(MarketWarning("upbit", "KRW-BTC", "trading_volume_soaring"),)
    )
    assert (ignored["warnings"].verdict, ignored["warnings"].advice) == ("ok", "")
