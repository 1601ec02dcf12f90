"""The campaign's file: what it says, and one clear line for what is wrong in it."""

import re
import tomllib

import pytest

from arbshard.campaign.file import as_toml, campaign_files, config_of, find_campaign, load_campaign, tree_of
from arbshard.errors import ConfigError, UsageError
from arbshard.exchanges.bands import BandGap, BandRules
from arbshard.exchanges.coins import coin_table
from arbshard.exchanges.seeds import seeded

SMALLEST = 'name = "T1"\nabout = "x"\nduration_s = 5\nsymbols = ["BTC"]\n'


@pytest.fixture
def load(tmp_path):
    def written(text):
        path = tmp_path / "one.toml"
        path.write_text(text)
        return load_campaign(path)

    return written


def test_the_campaigns_of_the_project_are_whole():
    found = {name: load_campaign(path) for name, path in campaign_files().items()}
    assert set(found) == {"S0", "S1", "S2", "S3"}
    lengths = {name: (one.duration_s / 60, len(one.symbols)) for name, one in found.items()}
    assert lengths == {"S0": (3, 2), "S1": (60, 2), "S2": (360, 3), "S3": (720, 4)}
    assert all(name == one.name for name, one in found.items())


@pytest.mark.parametrize("name", ["S1", "S2", "S3"])
def test_the_pairs_of_band_return_as_soon_as_their_file_says(name):
    path = campaign_files()[name]
    one = load_campaign(path)
    sim = config_of(one, "").sim
    assert (sim.regime, one.virtual.seed) == ("band", None)
    gaps = {
        coin.base: BandGap(seeded(sim.seed, coin.base, "band"), BandRules()) for coin in coin_table(sim.coins)
    }
    assert not any(gaps[symbol].is_suspended for symbol in one.symbols)
    assert max(gaps[symbol].half_life_s for symbol in one.symbols) < 75.0
    said = re.findall(r"([A-Z]+) \((\d+) s\)", path.read_text())
    assert {base for base, _ in said} <= set(one.symbols)
    assert said
    assert all(round(gaps[base].half_life_s) == int(seconds) for base, seconds in said)


def test_defaults_and_the_configuration_of_the_runs(load):
    one = load(SMALLEST + '[config]\ndata_source = "rest"\n[config.sim]\nregime = "band"\n')
    assert one.instance == "campaign-t1"
    config = config_of(one, "")
    assert (config.name, config.data_source, config.sim.regime) == ("campaign-t1", "rest", "band")
    assert (config.run.symbols, config.run.shards) == (("BTC",), 2)


def test_the_configuration_is_written_as_it_is_read(load):
    one = load(
        SMALLEST
        + "[config.strategy]\nentry_bps = 1e2\nclose_on_spread_reversal = false\n"
        + '[config.live]\nkeys_file = \'a "b" \\ c\'\nbalance_tolerances = { KRW = "1" }\n'
    )
    assert tomllib.loads(as_toml(tree_of(one))) == tree_of(one)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name = ", "is not valid TOML"),
        (SMALLEST.replace("5", '"5"'), "duration_s: must be a number, not text"),
        (SMALLEST.replace("5", "0"), "duration_s: must be a number above 0"),
        (SMALLEST + "length = 3\n", "unknown key 'length'; known here: name, about"),
        (
            SMALLEST + "[rules.disk]\nfree = 3\n",
            "unknown key 'rules.disk.free'; known here: severity, free_mb",
        ),
        (SMALLEST + "[rules.disk]\nfree_mb = nan\n", "rules.disk.free_mb"),
        (SMALLEST + '[rules.disk]\nseverity = "loud"\n', "rules.disk.severity"),
        (SMALLEST + '[rules.identity]\nseverity = "off"\n', "rules.identity.severity"),
        (SMALLEST + "[verdict]\nentries_min = 0\n", "verdict.entries_min"),
        (SMALLEST + '[config]\nname = "x"\n', "config.name: write the campaign's own key 'name'"),
        (SMALLEST + "[config.run]\nshards = 1\n", "config.run.shards: write the campaign's own key 'shards'"),
        (SMALLEST + '[config]\nstate_dir = "x"\n', "config.state_dir: the campaign chooses it itself"),
        (SMALLEST + "[config.sim]\ncoin = 1\n", "in [config]: unknown key 'sim.coin'"),
        (SMALLEST + '[config.sim]\nregime = "calmest"\n', "in [config]: sim.regime: must be one of "),
    ],
)
def test_what_is_wrong_is_one_line_with_the_file_and_the_key(load, tmp_path, text, why):
    with pytest.raises(ConfigError) as raised:
        load(text)
    line = str(raised.value)
    assert line.startswith(f"{tmp_path / 'one.toml'}: ")
    assert why in line
    assert "\n" not in line


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.toml: cannot be read: No such file"):
        load_campaign(find_campaign(str(tmp_path / "no.toml")))


def test_a_campaign_that_does_not_exist_names_those_that_do():
    with pytest.raises(UsageError, match="campaign S9: neither a file nor one of S0, S1, S2, S3"):
        find_campaign("S9")
