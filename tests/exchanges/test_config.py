"""The sections of the simulated exchanges: shown in full in the default file, passed on whole to their process."""

import io
import tomllib
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from rich.pretty import Pretty

from arbshard.config import Config, FaultsConfig, SimAccountsConfig, SimConfig, load_config, without_secrets
from arbshard.errors import ConfigError

DEFAULT = Path(__file__).parents[2] / "configs" / "default.toml"


def keys(tree, prefix=""):
    found = set()
    for key, value in tree.items():
        found |= keys(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return found


def test_the_default_file_is_the_default_and_shows_every_key():
    assert load_config(DEFAULT).sim == SimConfig()
    shown = tomllib.loads(DEFAULT.read_text())["sim"]
    assert keys(shown) == keys(msgspec.to_builtins(SimConfig()))


def test_goes_to_the_process_and_back(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(
        "[sim.accounts]\nquote_home = 0.1\npermissions = { can_trade = false }\n"
        "[sim.faults.late_event]\nshare = 0.25\n"
    )
    sim = load_config(path).sim
    assert str(sim.accounts.quote_home) == "0.1"
    assert not sim.accounts.permissions.can_trade
    assert msgspec.json.decode(msgspec.json.encode(sim), type=SimConfig) == sim


def test_part_of_a_fault_keeps_the_other_defaults():
    """As in ``--settings`` by hand, where nothing is laid over the defaults."""
    for field in msgspec.structs.fields(FaultsConfig):
        if field.name != "seed":
            given = msgspec.convert({field.name: {"share": 0.5}}, FaultsConfig)
            expected = msgspec.structs.replace(getattr(FaultsConfig(), field.name), share=0.5)
            assert getattr(given, field.name) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[sim.faults]\nspeed = 1", "unknown key 'sim.faults.speed'; known here: seed, delay, "),
        ("[sim.faults.delay]\nspeed = 1", "unknown key 'sim.faults.delay.speed'; known here: venue, "),
        ("[sim.faults.delay]\nshare = 1.5", "sim.faults.delay.share: must be a number of at most 1"),
        ("[sim.faults.delay]\nms_min = 900", "sim.faults.delay: ms_max is below ms_min"),
        ('[sim.faults.sequence_gap]\nvenue = "upbit"', "sim.faults.sequence_gap.venue: must be one of "),
        ("[sim.accounts]\nquote_home = -1", "sim.accounts.quote_home: must be a number that is not negative"),
        ('[sim.accounts]\nupbit_key = ""', "sim.accounts.upbit_key: "),
        ("[sim.accounts]\nkey = 1", "unknown key 'sim.accounts.key'; known here: upbit_key, "),
    ],
)
def test_mistakes_are_named(tmp_path, text, said):
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_all_faults_are_off_but_for_what_the_real_venue_does():
    faults = Config().sim.faults
    names = [field.name for field in msgspec.structs.fields(FaultsConfig)]
    on = [
        name
        for name in names
        if not isinstance(fault := getattr(faults, name), int) and (fault.share or fault.times)
    ]
    assert on == ["rounded_statement", "figures_as_doubles"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "exchange.lan", ""])
def test_a_host_that_others_reach_needs_a_word(tmp_path, host):
    path = tmp_path / "my.toml"
    path.write_text(f'[sim]\nhost = "{host}"\n')
    with pytest.raises(ConfigError, match="set expose = true") as caught:
        load_config(path)
    assert "\n" not in str(caught.value)
    path.write_text(f'[sim]\nhost = "{host}"\nexpose = true\n')
    assert load_config(path).sim.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machine_needs_none(tmp_path, host):
    path = tmp_path / "my.toml"
    path.write_text(f'[sim]\nhost = "{host}"\n')
    assert load_config(path).sim.host == host


def test_keys_of_the_accounts_are_not_shown_and_not_copied():
    names = ("upbit_key", "upbit_secret", "binance_key", "binance_secret")
    config = Config(sim=SimConfig(accounts=SimAccountsConfig(**dict.fromkeys(names, "MARKUPKEY"))))
    console = Console(file=io.StringIO(), width=10_000)
    console.print(Pretty(config, max_string=None))
    copy = msgspec.json.encode(without_secrets(config))
    for text in (repr(config), f"{config}", console.file.getvalue(), copy.decode()):
        assert "MARKUPKEY" not in text
    assert msgspec.json.decode(copy, type=Config).sim.accounts.quote_home == config.sim.accounts.quote_home
    assert "MARKUPKEY" in msgspec.json.encode(config).decode()  # as their process is told
