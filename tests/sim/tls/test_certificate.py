"""The authority and its server: accepted by Python's own TLS, for the hosts named and no others."""

import random
import ssl

import pytest

from arbshard.sim.tls.certificate import VALID_S, make_chain
from arbshard.sim.tls.context import server_context

NOW_S = 1_795_000_000


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> str | None:
    """Both sides in memory; the protocol agreed on. Raises ``ssl.SSLError``."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=host)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        waiting = 0
        for side in (one, other):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                waiting += 1
        if not waiting:
            return one.version()
    raise AssertionError("no end of the handshake")


@pytest.fixture
def server(tmp_path) -> ssl.SSLContext:
    import time

    return server_context("sim.test", int(time.time()), tmp_path / "ca.pem")


@pytest.fixture
def client(server, tmp_path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    # As from Python 3.13 on.
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


@pytest.mark.parametrize("host", ["sim.test", "localhost", "127.0.0.1", "::1"])
def test_strict_clients_accept_it(server, client, host):
    assert handshake(server, client, host) == "TLSv1.3"


@pytest.mark.parametrize("host", ["api.upbit.com", "api.binance.com", "127.0.0.2"])
def test_not_for_other_hosts(server, client, host):
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        handshake(server, client, host)


def test_those_who_do_not_know_the_authority_refuse_it(server):
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, ssl.create_default_context(), "localhost")


def test_another_start_has_another_authority(server, client, tmp_path):
    import time

    other = server_context("", int(time.time()), tmp_path / "other.pem")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(other, client, "localhost")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem", "other.pem"]


def test_only_the_servers_key_is_given_out():
    chain = make_chain(["localhost"], NOW_S, random.Random(1))
    assert chain.authority.count("BEGIN") == 1
    assert "PRIVATE KEY" not in chain.authority
    assert chain.server.count("PRIVATE KEY") == 2


def test_valid_from_a_day_ago_for_a_year(tmp_path):
    chain = make_chain(["localhost"], NOW_S, random.Random(2))
    (tmp_path / "ca.pem").write_text(chain.authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(str(tmp_path / "ca.pem"))
    (found,) = context.get_ca_certs()
    begins, ends = (ssl.cert_time_to_seconds(str(found[when])) for when in ("notBefore", "notAfter"))
    assert (begins, ends - begins) == (NOW_S - 86_400, VALID_S)


def test_made_of_the_randomness_given():
    assert make_chain(["a"], NOW_S, random.Random(3)) == make_chain(["a"], NOW_S, random.Random(3))
    assert make_chain(["a"], NOW_S, random.Random(3)) != make_chain(["a"], NOW_S, random.Random(4))
