"""Pairs from two listings, and the ones a person asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.config import SymbolsConfig
from arbshard.errors import UsageError, VenueError
from arbshard.model.market import Market
from arbshard.venues.base.market import ListedMarket
from arbshard.venues.listing import (
    fx_leg,
    names_without_pair,
    pairs_of,
    select_pairs,
    why_closed,
    with_slots,
)

BASES = ["ETH", "BTC", "SOL", "XRP", "DOGE", "ADA"]


@pytest.fixture
def home(listed):
    rows = [listed(f"KRW-{base}", base, "KRW", "upbit") for base in [*BASES, "USDT", "KLAY"]]
    return {row.market.symbol: row for row in rows}


@pytest.fixture
def away(listed):
    rows = [listed(f"{base}USDT", base, "USDT", "binance") for base in [*reversed(BASES), "BNB"]]
    return {row.market.symbol: row for row in rows}


@pytest.fixture
def pairs(home, away, fees):
    return pairs_of(home, away, fees, fees)


def slots(pairs) -> list[int]:
    return [slot for pair in pairs for slot in (pair.home.slot, pair.away.slot)]


def test_pairs_are_the_bases_of_both_sorted_with_slots_in_order(pairs):
    assert [pair.base for pair in pairs] == sorted(BASES)
    assert slots(pairs) == list(range(1, 13))
    assert str(pairs[0].home.market) == "upbit:KRW-ADA"
    assert str(pairs[0].away.market) == "binance:ADAUSDT"


def test_same_pairs_whatever_the_order_of_the_listings(pairs, home, away, fees):
    turned = pairs_of(dict(reversed(home.items())), dict(reversed(away.items())), fees, fees)
    assert turned == pairs


def test_each_leg_has_its_venues_fees(home, away, fees):
    other = type(fees)(buy_bps=fees.buy_bps, sell_bps=fees.sell_bps, buy_fee_in_base=True)
    pair = pairs_of(home, away, fees, other)[0]
    assert (pair.home.fees, pair.away.fees) == (fees, other)


def test_fx_market_is_a_leg_in_slot_0_and_no_pair(home, away, fees, listed):
    away["USDTUSDT"] = listed("USDTUSDT", "USDT", "USDT", "binance")
    leg = fx_leg(home, fees)
    assert (str(leg.market), leg.slot) == ("upbit:KRW-USDT", 0)
    assert "USDT" not in [pair.base for pair in pairs_of(home, away, fees, fees)]


def test_home_without_the_fx_market(home, fees):
    del home["KRW-USDT"]
    with pytest.raises(VenueError, match="USDT"):
        fx_leg(home, fees)


def test_market_that_is_not_tradable_makes_no_pair(home, away, fees, listed):
    away["BTCUSDT"] = listed("BTCUSDT", "BTC", "USDT", "binance", tradable=False)
    home["KRW-ETH"] = listed("KRW-ETH", "ETH", "KRW", "upbit", tradable=False)
    assert [pair.base for pair in pairs_of(home, away, fees, fees)] == ["ADA", "DOGE", "SOL", "XRP"]


def test_closed_markets_make_pairs_where_that_is_wanted_and_say_why(home, away, fees, listed):
    home["KRW-BTC"] = listed("KRW-BTC", "BTC", "KRW", "upbit", tradable=False, note="halted")
    away["BTCUSDT"] = listed("BTCUSDT", "BTC", "USDT", "binance", tradable=False)
    found = {pair.base: pair for pair in pairs_of(home, away, fees, fees, closed_too=True)}
    assert sorted(found) == ["ADA", "BTC", "DOGE", "ETH", "SOL", "XRP"]
    said = "upbit:KRW-BTC takes no orders (halted), binance:BTCUSDT takes no orders (no reason given)"
    assert why_closed(found["BTC"], home, away) == said
    assert why_closed(found["ETH"], home, away) == ""


def test_away_market_in_another_quote_makes_no_pair(home, away, fees, listed):
    away["KLAYFDUSD"] = listed("KLAYFDUSD", "KLAY", "FDUSD", "binance")
    assert "KLAY" not in [pair.base for pair in pairs_of(home, away, fees, fees)]


def test_nothing_in_common(home, fees):
    assert pairs_of(home, {}, fees, fees) == []


# ---- selection


@pytest.mark.parametrize("names", [["BTC"], ["KRW-BTC"], ["BTCUSDT"], ["btc"], ["krw-Btc"], [" btcusdt "]])
def test_any_name_of_a_pair_selects_it(pairs, names):
    (pair,) = select_pairs(pairs, names)
    assert pair.base == "BTC"
    assert slots([pair]) == [1, 2]


def test_duplicates_collapse_and_the_order_is_the_listings(pairs):
    chosen = select_pairs(pairs, ["XRP", "KRW-BTC", "btc", "BTCUSDT", "xrp", "ETH"])
    assert [pair.base for pair in chosen] == ["BTC", "ETH", "XRP"]
    assert slots(chosen) == [1, 2, 3, 4, 5, 6]


def test_names_that_mean_no_pair(pairs):
    assert names_without_pair(pairs, ["btc", "NOPE", "KRW-ETH", "nope2", "NOPE"]) == ["NOPE", "nope2"]
    assert names_without_pair([], ["BTC"]) == ["BTC"]


def test_no_names_are_all(pairs):
    assert select_pairs(pairs, []) == pairs


def test_unknown_name_with_near_matches(pairs):
    with pytest.raises(UsageError) as caught:
        select_pairs(pairs, ["ETH", "KRW-BTX"])
    assert str(caught.value).startswith("'KRW-BTX' is not tradable on both venues, did you mean BTC")
    assert "\n" not in str(caught.value)


def test_every_unknown_name_is_told_once(pairs):
    with pytest.raises(UsageError) as caught:
        select_pairs(pairs, ["dogge", "BTC", "dogge", "zzzzzz"])
    line = str(caught.value)
    assert line.count("'dogge'") == 1
    assert "did you mean DOGE" in line
    assert line.endswith("'zzzzzz' is not tradable on both venues")


def test_at_most_five_near_matches_each_base_once(listed, fees):
    bases = [f"COIN{letter}" for letter in "ABCDEFGH"]
    home = {f"KRW-{base}": listed(f"KRW-{base}", base, "KRW", "upbit") for base in bases}
    away = {f"{base}USDT": listed(f"{base}USDT", base, "USDT", "binance") for base in bases}
    with pytest.raises(UsageError) as caught:
        select_pairs(pairs_of(home, away, fees, fees), ["COINX"])
    suggested = str(caught.value).partition("did you mean ")[2].rstrip("?").split(", ")
    assert len(suggested) == len(set(suggested)) == 5
    assert set(suggested) <= set(bases)


@given(st.sets(st.sampled_from(BASES)))
def test_slots_have_no_gaps_and_nothing_else_changes(listed, fees, wanted):
    home = {f"KRW-{base}": listed(f"KRW-{base}", base, "KRW", "upbit") for base in BASES}
    away = {f"{base}USDT": listed(f"{base}USDT", base, "USDT", "binance") for base in BASES}
    pairs = pairs_of(home, away, fees, fees)
    chosen = with_slots(pair for pair in pairs if pair.base in wanted)
    assert slots(chosen) == list(range(1, 2 * len(wanted) + 1))
    by_base = {pair.base: pair for pair in pairs}
    for pair in chosen:
        assert pair.home.market == by_base[pair.base].home.market
        assert pair.away.rules == by_base[pair.base].away.rules
        assert pair.answers_to(pair.base)


def listed_coin(venue, symbol, base, quote, rules):
    return {symbol: ListedMarket(Market(venue, symbol, base, quote), rules)}


class TestSameCoin:
    def pairs(self, make, home, away, **settings):
        leg = make.pair.home
        homes = {}
        for base in home:
            homes |= listed_coin("upbit", f"KRW-{base}", base, "KRW", leg.rules)
        aways = {}
        for base in away:
            aways |= listed_coin("binance", f"{base}USDT", base, "USDT", leg.rules)
        found = pairs_of(homes, aways, leg.fees, leg.fees, symbols=SymbolsConfig(**settings))
        return [(pair.base, pair.home.market.base, pair.away.market.base) for pair in found]

    def test_equal_tickers_are_paired(self, make):
        assert self.pairs(make, ["BTC", "ABC"], ["BTC"]) == [("BTC", "BTC", "BTC")]

    def test_an_alias_is_paired_by_both_tickers_and_goes_by_the_one_at_home(self, make):
        aliases = ("upbit:BTT binance:BTTC",)
        assert self.pairs(make, ["BTT"], ["BTTC"], aliases=aliases) == [("BTT", "BTT", "BTTC")]
        # What has the home ticker away is another coin then.
        assert self.pairs(make, ["BTT"], ["BTTC", "BTT"], aliases=aliases) == [("BTT", "BTT", "BTTC")]
        assert self.pairs(make, ["BTT", "BTTC"], ["BTT"], aliases=aliases) == []

    def test_a_homonym_is_never_paired(self, make):
        assert self.pairs(make, ["TON", "BTC"], ["TON", "BTC"]) == [("BTC", "BTC", "BTC")]
        assert self.pairs(make, ["TON"], ["TON"], homonyms=()) == [("TON", "TON", "TON")]
        assert self.pairs(make, ["XYZ"], ["XYZ"], homonyms=("upbit:XYZ binance:XYZ",)) == []

    def test_an_alias_of_other_venues_changes_nothing(self, make):
        assert self.pairs(make, ["BTC"], ["BTC"], aliases=("kraken:BTC binance:XBT",)) == [
            ("BTC", "BTC", "BTC")
        ]
