"""Strict clients accept the simulated exchanges' certificate, for its hosts and by its own authority only."""

import ssl
import time

import pytest

from arbshard.errors import ConfigError
from arbshard.exchanges import tls
from arbshard.exchanges.tls import VALID_FOR, server_context

needs_trustme = pytest.mark.needs("tls")


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> ssl.SSLObject:
    """Both sides in memory; the client's side. Raises ``ssl.SSLError``."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=host)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [ours, theirs]
    while waiting:
        for side in tuple(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
    return ours


@pytest.fixture
def server(tmp_path) -> ssl.SSLContext:
    return server_context("sim.test", int(time.time()), tmp_path / "ca.pem")


@pytest.fixture
def client(server, tmp_path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    # As from Python 3.13 on.
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


@needs_trustme
@pytest.mark.parametrize("host", ["sim.test", "localhost", "127.0.0.1", "::1"])
def test_strict_clients_accept_it(server, client, host):
    assert handshake(server, client, host).version() == "TLSv1.3"


@needs_trustme
@pytest.mark.parametrize("host", ["api.upbit.com", "api.binance.com", "127.0.0.2"])
def test_not_for_other_hosts(server, client, host):
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        handshake(server, client, host)


@needs_trustme
def test_those_who_do_not_know_the_authority_refuse_it(server):
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer certificate"):
        handshake(server, ssl.create_default_context(), "localhost")


@needs_trustme
def test_another_start_has_another_authority(server, client, tmp_path):
    other = server_context("", int(time.time()), tmp_path / "other.pem")
    with pytest.raises(ssl.SSLCertVerificationError, match="CERTIFICATE_VERIFY_FAILED"):
        handshake(other, client, "localhost")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem", "other.pem"]
    assert "PRIVATE KEY" not in (tmp_path / "other.pem").read_text()


@needs_trustme
def test_valid_from_a_day_ago_for_a_year(tmp_path):
    now_s = int(time.time())
    server = server_context("", now_s, tmp_path / "ca.pem")
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    found = handshake(server, client, "localhost").getpeercert()
    begins, ends = (ssl.cert_time_to_seconds(found[when]) for when in ("notBefore", "notAfter"))
    assert begins == now_s - 86_400
    assert ends - begins == VALID_FOR.total_seconds()


def test_without_the_library_it_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(tls, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"^sim.tls: needs the library trustme") as caught:
        server_context("", 0, tmp_path / "ca.pem")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
