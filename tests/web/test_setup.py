"""Where the desk listens, and what it demands before other computers reach it."""

import stat

import pytest

from arbshard.config.web import WebConfig
from arbshard.errors import UsageError
from arbshard.web.setup import open_desk


@pytest.fixture
def token(tmp_path):
    def make(name, text="a-token-of-24-characters", mode=0o600):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    return make


def opened(config, state_dir):
    address = open_desk(config, state_dir)
    address.listener.close()
    return address


def test_by_default_this_computer_looks_and_a_token_is_made_for_acting(tmp_path):
    address = opened(WebConfig(port=0), tmp_path / "state")
    assert stat.S_IMODE(address.token_file.stat().st_mode) == 0o600
    token = address.token_file.read_text().strip()
    assert len(token) >= 32
    assert address.access.viewing_is_open
    assert address.access.sign_in(token, "", 0, "k", "p").right == "operator"
    port = int(address.url.split(":")[2][:-1])
    assert address.access.origins == {
        f"http://127.0.0.1:{port}", f"http://localhost:{port}", f"http://[::1]:{port}"
    }  # fmt: skip
    assert token not in address.sentence()
    assert opened(WebConfig(port=0), tmp_path / "state").token_file.read_text().strip() == token


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "desk.example.org"])
def test_an_address_that_others_reach_needs_everything(host, tmp_path, token):
    with pytest.raises(UsageError) as refused:
        open_desk(WebConfig(host=host, port=0), tmp_path)
    for name in ("viewer_token_file", "operator_token_file", "certificate", "key", "names"):
        assert f"web.{name}" in str(refused.value)
    half = WebConfig(host=host, port=0, viewer_token_file=token("v"), operator_token_file=token("o"))
    with pytest.raises(UsageError, match=r"missing: web\.certificate, web\.key, web\.names"):
        open_desk(half, tmp_path)


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("short", 0o600, "16 characters"),
        ("a-token-of-24-characters", 0o644, "chmod 600"),
        ("", 0o600, "16 char"),
    ],
)
def test_a_token_that_is_weak_or_open_to_others_is_refused(text, mode, why, tmp_path, token):
    for key in ("viewer_token_file", "operator_token_file"):
        with pytest.raises(UsageError, match=why) as refused:
            open_desk(WebConfig(port=0, **{key: token(key, text, mode)}), tmp_path)
        assert f"web.{key}" in str(refused.value)
        assert not text or text not in str(refused.value)


def test_a_token_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"web.viewer_token_file = .*missing: cannot be read"):
        open_desk(WebConfig(port=0, viewer_token_file=str(tmp_path / "missing")), tmp_path)


def test_a_port_in_use_is_named(tmp_path):
    first = open_desk(WebConfig(port=0), tmp_path)
    port = first.listener.getsockname()[1]
    try:
        with pytest.raises(
            UsageError, match=f"web.port = {port}: cannot be listened on: Address already in use$"
        ):
            open_desk(WebConfig(port=port), tmp_path)
    finally:
        first.listener.close()


def test_a_certificate_that_is_none_is_named(tmp_path, token):
    config = WebConfig(port=0, certificate=token("c"), key=token("k"))
    with pytest.raises(UsageError, match=r"web.certificate = .* cannot be used with its key"):
        open_desk(config, tmp_path)
