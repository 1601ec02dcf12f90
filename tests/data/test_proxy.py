"""Loopback is reached directly; other hosts by the environment's proxy, whatever the client."""

import pytest

from arbshard.data.proxy import is_loopback, proxy_for
from arbshard.errors import UsageError

PROXY, SECURE_PROXY = "http://proxy.test:3128", "http://user:pass@secure.test:3129"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.fixture
def proxies(environment):
    environment.setenv("http_proxy", PROXY)
    environment.setenv("https_proxy", SECURE_PROXY)
    return environment


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.1:8080", "localhost", "LOCALHOST:1", "[::1]:80", "upbit.localhost"]
)
@pytest.mark.parametrize("scheme", ["ws", "wss", "http", "https"])
def test_loopback_never(proxies, scheme, host):
    assert proxy_for(f"{scheme}://{host}/path") is None


@pytest.mark.parametrize(
    ("address", "proxy"),
    [
        ("wss://api.upbit.com/websocket/v1", SECURE_PROXY),
        ("https://api.upbit.com", SECURE_PROXY),
        ("ws://api.upbit.com:80/", PROXY),
        ("http://10.0.0.7:80/", PROXY),
    ],
)
def test_streams_and_rest_follow_one_rule(proxies, address, proxy):
    assert proxy_for(address) == proxy


def test_upper_case_counts_too(environment):
    environment.setenv("HTTPS_PROXY", PROXY)
    assert proxy_for("wss://api.upbit.com") == PROXY


def test_none_without_one(environment):
    assert proxy_for("wss://api.upbit.com") is None


@pytest.mark.parametrize("spared", ["api.upbit.com", ".upbit.com", "other.test, upbit.com", "*"])
def test_no_proxy(proxies, spared):
    proxies.setenv("no_proxy", spared)
    assert proxy_for("wss://api.upbit.com/") is None
    if spared != "*":
        assert proxy_for("wss://api.binance.com/") == SECURE_PROXY


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://user:s3cret@p:1",
        "https://user:s3cret@p:1",
        "http://",
        "http://user:s3cret@p:port",
        "user:s3cret",
    ],
)
def test_one_that_cannot_be_used_is_named_without_its_password(environment, proxy):
    environment.setenv("https_proxy", proxy)
    with pytest.raises(UsageError, match=r"^https_proxy in the environment: ") as caught:
        proxy_for("wss://api.upbit.com/")
    assert "s3cret" not in str(caught.value)
    assert proxy_for("wss://127.0.0.1/") is None


@pytest.mark.parametrize("host", ["10.0.0.1", "localhost.test", "::2", "", "128.0.0.1"])
def test_others_are_not_loopback(host):
    assert not is_loopback(host)
