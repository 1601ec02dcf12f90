"""Keys are found, checked, and never shown."""

import json
import os
import pickle
import sys
from pathlib import Path

import msgspec
import pytest

import arbshard
from arbshard import private_files
from arbshard.clock import SystemClock
from arbshard.config import Config, LiveConfig
from arbshard.data.clients import open_client
from arbshard.errors import ProtocolError, UsageError
from arbshard.execution.live.keys import hand_over, load_keys, receive_keys
from arbshard.secret import hidden_file
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.signing import SigningMoment
from arbshard.venues.binance.account import BinanceAccount
from arbshard.venues.binance.signing import BinanceSigning
from arbshard.venues.keys import Keys
from arbshard.venues.upbit.account import UpbitAccount
from arbshard.venues.upbit.signing import UpbitSigning

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


def shown(keys):
    """What the keys hold, in clear text."""
    return keys.key.use(str), keys.secret.use(str)


FILE = f'[upbit]\nkey = "fu"\nsecret = "{SECRET}"\n[binance]\nkey = "fb"\nsecret = "{SECRET}"\n'


class TestWhereTheyComeFrom:
    def test_environment(self):
        keys = load_keys(PUBLIC, ENVIRON.get)
        assert {venue: shown(key) for venue, key in keys.items()} == {
            "upbit": ("uk", SECRET),
            "binance": ("bk", SECRET),
        }

    def test_file(self, with_file):
        keys = load_keys(with_file(FILE), {}.get)
        assert shown(keys["upbit"]) == ("fu", SECRET)
        assert shown(keys["binance"]) == ("fb", SECRET)

    def test_environment_goes_before_the_file(self, with_file):
        keys = load_keys(with_file(FILE), {name: ENVIRON[name] for name in list(ENVIRON)[:2]}.get)
        assert shown(keys["upbit"]) == ("uk", SECRET)
        assert shown(keys["binance"]) == ("fb", SECRET)

    def test_file_that_a_service_manager_hands_over(self, with_file, tmp_path):
        with_file(FILE)
        keys = load_keys(PUBLIC, {"CREDENTIALS_DIRECTORY": str(tmp_path)}.get)
        assert shown(keys["upbit"]) == ("fu", SECRET)

    def test_a_service_without_a_file_of_keys(self, tmp_path):
        keys = load_keys(PUBLIC, {**ENVIRON, "CREDENTIALS_DIRECTORY": str(tmp_path)}.get)
        assert shown(keys["upbit"]) == ("uk", SECRET)

    def test_the_configured_file_goes_before_what_is_handed_over(self, with_file, tmp_path):
        handed = tmp_path / "handed"
        handed.mkdir()
        (handed / "keys.toml").write_text("nothing of use")
        keys = load_keys(with_file(FILE), {"CREDENTIALS_DIRECTORY": str(handed)}.get)
        assert shown(keys["upbit"]) == ("fu", SECRET)

    def test_access_list_of_a_credential_is_no_right_of_others(self, with_file, tmp_path, monkeypatch):
        monkeypatch.setattr(private_files, "_CREDENTIALS", tmp_path)
        assert shown(load_keys(with_file(FILE, 0o440), {}.get)["upbit"]) == ("fu", SECRET)
        for mode in (0o460, 0o444):
            with pytest.raises(UsageError, match="is open to others"):
                load_keys(with_file(FILE, mode), {}.get)

    def test_the_simulation_opens_itself(self):
        config = Config(mode="live")
        assert shown(load_keys(config, {}.get)["upbit"]) == (
            config.sim.accounts.upbit_key,
            config.sim.accounts.upbit_secret,
        )

    def test_nothing_opens_a_real_venue(self):
        with pytest.raises(UsageError, match="no API key for upbit: set ARBSHARD_UPBIT_KEY"):
            load_keys(PUBLIC, {}.get)

    def test_ed25519(self, tmp_path):
        path = tmp_path / "key.pem"
        path.write_text(PEM)
        path.chmod(0o600)
        environ = {**ENVIRON, "ARBSHARD_BINANCE_ED25519_KEY_FILE": str(path)}
        del environ["ARBSHARD_BINANCE_SECRET"]
        keys = load_keys(PUBLIC, environ.get)["binance"]
        assert keys.is_ed25519
        assert shown(keys) == ("bk", PEM.strip())


class TestRefused:
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
    def test_file_open_to_others(self, with_file, mode):
        with pytest.raises(UsageError, match="is open to others"):
            load_keys(with_file(FILE, mode), {}.get)

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
            load_keys(with_file(text), {}.get)
        assert SECRET not in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_file_that_is_not_there(self):
        config = msgspec.structs.replace(PUBLIC, live=LiveConfig(keys_file="/nowhere/keys.toml"))
        with pytest.raises(UsageError, match="cannot be read"):
            load_keys(config, {}.get)

    def test_credentials_that_may_not_be_read(self, monkeypatch):
        def refuse(_path):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "is_file", refuse)
        with pytest.raises(UsageError, match=r"/c/keys\.toml cannot be read: Permission denied"):
            load_keys(PUBLIC, {"CREDENTIALS_DIRECTORY": "/c"}.get)

    @pytest.mark.parametrize("name", list(ENVIRON))
    def test_half_a_key(self, name):
        with pytest.raises(UsageError, match="must both be set"):
            load_keys(PUBLIC, {**ENVIRON, name: " "}.get)

    @pytest.mark.parametrize("name", ["ARBSHARD_UPBIT_KEY", "ARBSHARD_BINANCE_SECRET"])
    def test_a_key_in_other_letters_is_refused_and_not_shown(self, name):
        with pytest.raises(UsageError, match="must be plain ASCII") as raised:
            load_keys(PUBLIC, {**ENVIRON, name: "ключ-от-счёта"}.get)
        assert "ключ" not in str(raised.value)

    @pytest.mark.parametrize("pair", [["k"], ["k", "s", "x"], "ks", 7, None])
    def test_handed_over_in_another_shape_they_are_refused(self, pair):
        reading, writing = os.pipe()
        os.write(writing, json.dumps({"upbit": pair, "binance": ["k", "s"]}).encode() + b"\n")
        os.close(writing)
        try:
            with pytest.raises(ProtocolError):
                receive_keys(reading)
        finally:
            os.close(reading)

    def test_secret_and_key_file(self):
        with pytest.raises(UsageError, match="one too many"):
            load_keys(PUBLIC, {**ENVIRON, "ARBSHARD_BINANCE_ED25519_KEY_FILE": "x"}.get)

    def test_key_file_that_is_no_key(self, tmp_path):
        path = tmp_path / "key.pem"
        path.write_text("-----BEGIN RSA PRIVATE KEY-----" + "A" * 1600)
        path.chmod(0o600)
        environ = {"ARBSHARD_BINANCE_KEY": "bk", "ARBSHARD_BINANCE_ED25519_KEY_FILE": str(path)}
        with pytest.raises(UsageError, match="not a private Ed25519 key"):
            load_keys(PUBLIC, {**ENVIRON, **environ, "ARBSHARD_BINANCE_SECRET": ""}.get)


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


class TestHandedOver:
    def receive(self, keys):
        with hidden_file(hand_over(keys)) as file:
            return receive_keys(file.fileno())

    def test_a_child_gets_the_same_keys(self):
        pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
        given = {"upbit": Keys("upbit", "uk", SECRET), "binance": Keys("binance", "bk", pem)}
        taken = self.receive(given)
        assert {venue: shown(one) for venue, one in taken.items()} == {
            "upbit": ("uk", SECRET),
            "binance": ("bk", pem),
        }
        assert taken["binance"].is_ed25519

    def test_over_a_pipe_that_stays_open(self):
        reading, writing = os.pipe()
        keys = {venue: Keys(venue, "k", SECRET) for venue in ("upbit", "binance")}
        try:
            hand_over(keys).use_encoded(lambda line: os.write(writing, line + b"\n"))
            assert set(receive_keys(reading)) == {"upbit", "binance"}
            os.write(writing, b"0 1\n")
            assert os.read(reading, 64) == b"0 1\n"
        finally:
            os.close(reading)
            os.close(writing)

    def test_half_of_them_is_refused(self):
        with pytest.raises(ProtocolError, match="not complete"):
            self.receive({"upbit": Keys("upbit", "uk", SECRET)})

    @pytest.mark.parametrize(("said", "why"), [(b"", "no whole line"), (b"{\n", "cannot be read")])
    def test_anything_else_is_refused(self, said, why):
        reading, writing = os.pipe()
        os.write(writing, said)
        os.close(writing)
        try:
            with pytest.raises(ProtocolError, match=why):
                receive_keys(reading)
        finally:
            os.close(reading)


class TestNoFrameKeepsThem:
    """Everything that is done with keys, watched line by line: what do our frames hold in local variables?"""

    OURS = str(Path(arbshard.__file__).parent)
    EXEMPT = str(Path(arbshard.__file__).parent / "secret.py")

    @pytest.fixture
    def watch(self):
        """Calls a function; the names of the frames of ours that showed a marker."""

        def call(function, *markers):
            found = set()

            def trace(frame, _event, _argument):
                name = frame.f_code.co_filename
                if not name.startswith(self.OURS) or name == self.EXEMPT:
                    return None
                for local, value in frame.f_locals.items():
                    # An object whose ``__init__`` has only just been entered cannot show itself yet.
                    shows = "" if local == "self" and frame.f_code.co_name == "__init__" else repr(value)
                    if any(marker in shows for marker in markers):
                        found.add(f"{frame.f_code.co_name}: {local}")
                return trace

            before = sys.gettrace()
            sys.settrace(trace)
            try:
                function()
            finally:
                sys.settrace(before)
            return found

        return call

    def test_reading_them(self, watch, with_file, monkeypatch):
        config = with_file(FILE.replace("fu", "MARKUPKEY").replace("fb", "MARKUPKEY"))
        assert watch(lambda: load_keys(config), "MARKUPKEY", SECRET) == set()
        for name in ENVIRON:
            monkeypatch.setenv(name, "MARKUPKEY")
        assert watch(lambda: load_keys(PUBLIC), "MARKUPKEY") == set()

    def test_handing_them_over(self, watch):
        keys = {venue: Keys(venue, "MARKUPKEY", SECRET) for venue in ("upbit", "binance")}

        def both():
            with hidden_file(hand_over(keys)) as file:
                receive_keys(file.fileno())

        assert watch(both, "MARKUPKEY", SECRET) == set()

    def test_signing_with_them(self, watch):
        keys = Keys("upbit", "MARKUPKEY", SECRET)

        def use():
            UpbitAccount().headers(keys, "n")
            UpbitAccount().opening(keys, "t", 1, 1)
            BinanceAccount().opening(keys, "t", 1, 1)
            for signing in (UpbitSigning(), BinanceSigning()):
                for method in ("GET", "POST"):
                    signing.sign(
                        VenueRequest(method, "/order", {"name": "x"}, {}), keys, SigningMoment(1, 1, "n")
                    )

        assert watch(use, "MARKUPKEY", SECRET) == set()

    def test_making_a_client(self, watch):
        venues = msgspec.structs.replace(
            PUBLIC.venues.upbit, rest_url="https://api.upbit.com", ca_file="/nowhere/ca.pem"
        )
        config = msgspec.structs.replace(PUBLIC, venues=msgspec.structs.replace(PUBLIC.venues, upbit=venues))

        keys = Keys("upbit", "MARKUPKEY", SECRET)

        def make():
            with pytest.raises((OSError, UsageError)):  # as when the certificates were moved away
                open_client("upbit", config, keys, SystemClock())

        assert watch(make, "MARKUPKEY", SECRET) == set()
