"""A certificate authority and one server's certificate under it (RFC 5280). Pure; ``context`` puts them to use.

Both carry all that strict checkers ask for: OpenSSL's ``X509_STRICT`` is on by default from Python 3.13 on.
"""

import hashlib
import ipaddress
import random
from collections.abc import Sequence
from typing import NamedTuple

from arbshard.sim.tls import der, p256

VALID_S = 397 * 86_400
"""Longer lives are refused by some clients."""
_EARLIER_S = 86_400
"""Valid from before the start: a client's clock may be behind."""
_DIGITAL_SIGNATURE = der.bits(b"\x80", 7)
_SIGNS_CERTIFICATES = der.bits(b"\x06", 1)


class Chain(NamedTuple):
    """PEM texts."""

    authority: str
    """Certificate: what clients are to trust."""
    server: str
    """Certificate and private key."""


def make_chain(hosts: Sequence[str], now_s: int, rng: random.Random) -> Chain:
    """A new authority, and a certificate of it for ``hosts`` (names or addresses), both valid from a day ago on.

    The authority's private key is not in what is returned, and so ceases to exist.
    """
    authority, server = p256.Key(rng), p256.Key(rng)
    issuer = _name("arbshard simulated exchanges: own authority")
    key_id = _key_id(authority)
    of_authority = _certificate(
        rng,
        issuer,
        (issuer, authority, now_s),
        authority,
        _extension("2.5.29.19", der.sequence(der.boolean(True), der.integer(0)), critical=True),
        _extension("2.5.29.15", _SIGNS_CERTIFICATES, critical=True),
        _extension("2.5.29.14", der.octets(key_id)),
    )
    of_server = _certificate(
        rng,
        issuer,
        (_name("arbshard simulated exchange"), server, now_s),
        authority,
        _extension("2.5.29.19", der.sequence(), critical=True),
        _extension("2.5.29.15", _DIGITAL_SIGNATURE, critical=True),
        _extension("2.5.29.37", der.sequence(der.oid("1.3.6.1.5.5.7.3.1"))),
        _extension("2.5.29.17", der.sequence(*map(_host, hosts))),
        _extension("2.5.29.14", der.octets(_key_id(server))),
        _extension("2.5.29.35", der.sequence(der.tagged(0, key_id, constructed=False))),
    )
    return Chain(der.pem("CERTIFICATE", of_authority), der.pem("CERTIFICATE", of_server) + server.pem)


def _certificate(
    rng: random.Random,
    issuer: bytes,
    subject: tuple[bytes, p256.Key, int],
    signer: p256.Key,
    *extensions: bytes,
) -> bytes:
    """``subject``: name, key, and the time in seconds."""
    name, key, now_s = subject
    body = der.sequence(
        der.tagged(0, der.integer(2), constructed=True),  # version 3
        der.integer(rng.getrandbits(120) | 1),
        p256.ALGORITHM,
        issuer,
        der.sequence(der.time(now_s - _EARLIER_S), der.time(now_s - _EARLIER_S + VALID_S)),
        name,
        key.public_info,
        der.tagged(3, der.sequence(*extensions), constructed=True),
    )
    return der.sequence(body, p256.ALGORITHM, der.bits(signer.sign(body)))


def _name(common: str) -> bytes:
    return der.sequence(der.set_of(der.sequence(der.oid("2.5.4.3"), der.text(common))))


def _extension(identifier: str, content: bytes, *, critical: bool = False) -> bytes:
    flag = der.boolean(True) if critical else b""
    return der.sequence(der.oid(identifier), flag, der.octets(content))


def _key_id(key: p256.Key) -> bytes:
    return hashlib.sha1(key.point, usedforsecurity=False).digest()


def _host(host: str) -> bytes:
    """A general name: an address where it is one, a DNS name otherwise."""
    try:
        return der.tagged(7, ipaddress.ip_address(host).packed, constructed=False)
    except ValueError:
        return der.tagged(2, host.encode("idna"), constructed=False)
