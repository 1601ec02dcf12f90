"""A ``ca_file`` is read once, read again when it is replaced, and named when it cannot be used."""

import shutil
import ssl

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from arbshard.config import Config
from arbshard.data import trust as trusts
from arbshard.data.trust import Trust, system_trust, trust_of
from arbshard.errors import ConfigError

pytestmark = pytest.mark.needs("tls")


@pytest.fixture
def make_authority(tmp_path):
    import trustme

    def make(name):
        path = tmp_path / name
        trustme.CA(organization_name=name).cert_pem.write_to_path(path)
        return path

    return make


def named(context):
    """The organisations that ``context`` trusts."""
    return [dict(pair for (pair,) in one["subject"])["organizationName"] for one in context.get_ca_certs()]


def settings_with(ca_file):
    return replace(Config().venues.upbit, ca_file=str(ca_file))


def test_the_context_is_made_once(make_authority, monkeypatch):
    made = []
    original = ssl.create_default_context

    def counted(**how):
        made.append(how)
        return original(**how)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    settings = settings_with(make_authority("one.pem"))
    first = trust_of("upbit", settings)
    contexts = {first.context() for _ in range(5)} | {trust_of("binance", settings).context()}
    assert len(contexts) == 1
    assert len(made) == 1


def test_without_a_file_it_is_the_systems_and_one_for_all(monkeypatch):
    assert trust_of("upbit", Config().venues.upbit) is trust_of("binance", Config().venues.binance)
    context = system_trust().context()
    assert context is system_trust().context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_replaced_file_is_read_again(make_authority):
    path, other = make_authority("one.pem"), make_authority("two.pem")
    trust = Trust(str(path), "venues.upbit.ca_file")
    assert named(trust.context()) == ["one.pem"]
    other.replace(path)
    assert named(trust.context()) == ["two.pem"]
    assert trust.context() is trust.context()


@pytest.mark.parametrize("spoil", ["remove", "damage"])
def test_a_file_that_is_spoilt_later_changes_nothing(make_authority, spoil):
    path = make_authority("one.pem")
    trust = Trust(str(path), "venues.upbit.ca_file")
    if spoil == "remove":
        path.unlink()
    else:
        path.write_text("no certificate")
    with capture_logs() as lines:
        assert [named(trust.context()) for _ in range(3)] == [["one.pem"]] * 3
    assert [line["log_level"] for line in lines] == ["warning"]
    assert lines[0]["setting"] == "venues.upbit.ca_file"


def test_a_file_that_comes_back_is_read(make_authority, tmp_path):
    path, other = make_authority("one.pem"), make_authority("two.pem")
    trust = Trust(str(path), "venues.upbit.ca_file")
    path.unlink()
    assert named(trust.context()) == ["one.pem"]
    shutil.copy(other, path)
    assert named(trust.context()) == ["two.pem"]


@pytest.mark.parametrize("kind", ["missing", "a directory", "no PEM", "empty", "not text"])
def test_a_file_that_cannot_be_used_is_named(tmp_path, kind):
    path = tmp_path / "ca.pem"
    match kind:
        case "a directory":
            path.mkdir()
        case "no PEM":
            path.write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
        case "empty":
            path.write_text("")
        case "not text":
            path.write_bytes(b"\x00\xff" * 100)
    with pytest.raises(ConfigError) as caught:
        trust_of("upbit", settings_with(path))
    assert caught.value.where == "venues.upbit.ca_file"
    assert str(path) in caught.value.problem
    assert "\n" not in str(caught.value)
    assert str(path) not in trusts._trusts
