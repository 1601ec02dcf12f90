"""Keys are found, checked, and never shown."""

import pickle

import msgspec
import pytest

from arbshard.config import Config, LiveConfig
from arbshard.errors import UsageError
from arbshard.execution.live.keys import Keys, load_keys

SECRET = "do-not-show-me-4711"
PEM = f"-----BEGIN PRIVATE KEY-----\n{'A' * 64}\n-----END PRIVATE KEY-----\n"
ENVIRON = {
    "ARBSHARD_UPBIT_KEY": "uk",
    "ARBSHARD_UPBIT_SECRET": SECRET,
    "ARBSHARD_BINANCE_KEY": "bk",
    "ARBSHARD_BINANCE_SECRET": SECRET,
}
PUBLIC = Config(mode="live", data="public")


@pytest.fixture
def with_file(tmp_path):
    """A configuration whose keys are in a file of this text and mode."""

    def write(text, mode=0o600):
        path = tmp_path / "keys.toml"
        path.write_text(text)
        path.chmod(mode)
        return msgspec.structs.replace(PUBLIC, live=LiveConfig(keys_file=str(path)))

    return write


FILE = f'[upbit]\nkey = "fu"\nsecret = "{SECRET}"\n[binance]\nkey = "fb"\nsecret = "{SECRET}"\n'


class TestWhereTheyComeFrom:
    def test_environment(self):
        keys = load_keys(PUBLIC, ENVIRON)
        assert {venue: key.reveal() for venue, key in keys.items()} == {
            "upbit": ("uk", SECRET),
            "binance": ("bk", SECRET),
        }

    def test_file(self, with_file):
        keys = load_keys(with_file(FILE), {})
        assert keys["upbit"].reveal() == ("fu", SECRET)
        assert keys["binance"].reveal() == ("fb", SECRET)

    def test_environment_goes_before_the_file(self, with_file):
        keys = load_keys(with_file(FILE), {name: ENVIRON[name] for name in list(ENVIRON)[:2]})
        assert keys["upbit"].reveal() == ("uk", SECRET)
        assert keys["binance"].reveal() == ("fb", SECRET)

    def test_the_simulation_opens_itself(self):
        config = Config(mode="live")
        assert load_keys(config, {})["upbit"].reveal() == (
            config.sim.accounts.upbit_key,
            config.sim.accounts.upbit_secret,
        )

    def test_nothing_opens_a_real_venue(self):
        with pytest.raises(UsageError, match="no API key for upbit: set ARBSHARD_UPBIT_KEY"):
            load_keys(PUBLIC, {})

    def test_ed25519(self, tmp_path):
        path = tmp_path / "key.pem"
        path.write_text(PEM)
        path.chmod(0o600)
        environ = {**ENVIRON, "ARBSHARD_BINANCE_ED25519_KEY_FILE": str(path)}
        del environ["ARBSHARD_BINANCE_SECRET"]
        keys = load_keys(PUBLIC, environ)["binance"]
        assert keys.is_ed25519
        assert keys.reveal() == ("bk", PEM.strip())


class TestRefused:
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
    def test_file_open_to_others(self, with_file, mode):
        with pytest.raises(UsageError, match="is open to others"):
            load_keys(with_file(FILE, mode), {})

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            (f"[upbit]\nkey = 'k'\nsecret = '{SECRET}", "not valid TOML"),
            (f"[bithumb]\nkey = 'k'\nsecret = '{SECRET}'", "tables may be"),
            (f"[upbit]\nkey = 'k'\npassword = '{SECRET}'", "may hold"),
            (f"[upbit]\nsecret = '{SECRET}'", "must both be set"),
            (f"[upbit]\nkey = ['{SECRET}']", "each a text"),
            (f"upbit = '{SECRET}'", "must be a table"),
        ],
    )
    def test_file_of_another_form(self, with_file, text, why):
        with pytest.raises(UsageError, match=why) as caught:
            load_keys(with_file(text), {})
        assert SECRET not in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_file_that_is_not_there(self):
        config = msgspec.structs.replace(PUBLIC, live=LiveConfig(keys_file="/nowhere/keys.toml"))
        with pytest.raises(UsageError, match="cannot be read"):
            load_keys(config, {})

    @pytest.mark.parametrize("name", list(ENVIRON))
    def test_half_a_key(self, name):
        with pytest.raises(UsageError, match="must both be set"):
            load_keys(PUBLIC, {**ENVIRON, name: " "})

    def test_secret_and_key_file(self):
        with pytest.raises(UsageError, match="one too many"):
            load_keys(PUBLIC, {**ENVIRON, "ARBSHARD_BINANCE_ED25519_KEY_FILE": "x"})

    def test_key_file_that_is_no_key(self, tmp_path):
        path = tmp_path / "key.pem"
        path.write_text("-----BEGIN RSA PRIVATE KEY-----" + "A" * 1600)
        path.chmod(0o600)
        environ = {"ARBSHARD_BINANCE_KEY": "bk", "ARBSHARD_BINANCE_ED25519_KEY_FILE": str(path)}
        with pytest.raises(UsageError, match="no private Ed25519 key"):
            load_keys(PUBLIC, {**ENVIRON, **environ, "ARBSHARD_BINANCE_SECRET": ""})


class TestNeverShown:
    def test_in_text(self):
        keys = Keys("upbit", "access", SECRET)
        for text in (repr(keys), str(keys), f"{keys}", f"{[keys]}", repr({"k": keys})):
            assert SECRET not in text
            assert "access" not in text

    def test_by_encoding(self):
        keys = Keys("upbit", "access", SECRET)
        with pytest.raises(TypeError):
            pickle.dumps(keys)
        with pytest.raises(TypeError):
            msgspec.json.encode(keys)
        assert not hasattr(keys, "__dict__")
