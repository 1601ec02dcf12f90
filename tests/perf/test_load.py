import pytest

from arbshard.config import load_config
from arbshard.exchanges.world import SimWorld
from arbshard.virtual.settings import universe_of
from perf.load import RATES, coins_at, config_of, traded_of, updates_of
from perf.running import as_toml


@pytest.mark.parametrize("rate", [100, *RATES])
def test_every_rate_makes_a_configuration_that_the_system_takes(tmp_path, rate):
    path = tmp_path / "perf.toml"
    path.write_text(as_toml({**config_of(rate, coins_at(rate), 2, None), "name": "perf"}))
    config = load_config(path)
    assert config.name == "perf"
    assert config.run.shards == 2
    markets = 2 * traded_of(config.sim.coins) + 1
    assert markets * config.sim.updates_per_s == pytest.approx(rate)


@pytest.mark.parametrize(
    ("rate", "coins"), [(1_000, 60), (5_000, 60), (10_000, 300), (20_000, 300), (50_000, 1_000)]
)
def test_higher_rates_are_shared_among_more_coins(rate, coins):
    assert coins_at(rate) == coins


@pytest.mark.parametrize("coins", [5, 27, 28, 29, 60])
def test_what_is_traded_of_the_generators_coins_is_what_the_listings_make_pairs_of(coins):
    config = load_config(None, {"sim": {"coins": coins}})
    pairs = universe_of(SimWorld(config.sim), config).pairs
    assert traded_of(coins) == sum(pair.base != "BNB" for pair in pairs)  # fees are paid in it


def test_coins_of_fees_and_homonyms_are_not_traded():
    assert (traded_of(5), traded_of(60)) == (5, 58)


def test_fx_is_a_market_too():
    assert updates_of(121.0, 60) == pytest.approx(1.0)


def test_toml_keeps_strings_numbers_and_booleans(tmp_path):
    import tomllib

    config = {"a": 'x"y\\', "b": {"c": 1.5, "d": True, "e": 3}, "f": 2}
    assert tomllib.loads(as_toml(config)) == config
