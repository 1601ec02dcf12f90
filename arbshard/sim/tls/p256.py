"""Keys and signatures on the curve P-256 (ECDSA with SHA-256; FIPS 186-5, SEC 1). Pure; used by ``certificate``.

Slow and plain, for a handful of signatures at a start. Never use it for keys that matter.
"""

import hashlib
import random

from arbshard.sim.tls import der

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_A = -3
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
ALGORITHM = der.sequence(der.oid("1.2.840.10045.4.3.2"))
"""ecdsa-with-SHA256."""
_CURVE = der.oid("1.2.840.10045.3.1.7")
_KEY_TYPE = der.sequence(der.oid("1.2.840.10045.2.1"), _CURVE)

_Point = tuple[int, int] | None
"""None is the point at infinity."""


class Key:
    """A private key and its public one."""

    def __init__(self, rng: random.Random) -> None:
        """``rng`` should be the system's (``random.SystemRandom``); a seeded one makes the same key again."""
        self._rng = rng
        self._secret = rng.randrange(1, _N)
        public = _times(self._secret, _G)
        assert public is not None
        self.point = b"\x04" + public[0].to_bytes(32, "big") + public[1].to_bytes(32, "big")
        """The public key, uncompressed."""

    @property
    def public_info(self) -> bytes:
        """SubjectPublicKeyInfo."""
        return der.sequence(_KEY_TYPE, der.bits(self.point))

    @property
    def pem(self) -> str:
        """The private key as OpenSSL reads it (RFC 5915)."""
        secret = der.octets(self._secret.to_bytes(32, "big"))
        curve = der.tagged(0, _CURVE, constructed=True)
        public = der.tagged(1, der.bits(self.point), constructed=True)
        return der.pem("EC PRIVATE KEY", der.sequence(der.integer(1), secret, curve, public))

    def sign(self, message: bytes) -> bytes:
        """The signature of ``message`` in DER."""
        digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
        while True:
            nonce = self._rng.randrange(1, _N)
            point = _times(nonce, _G)
            assert point is not None
            r = point[0] % _N
            s = pow(nonce, -1, _N) * (digest + r * self._secret) % _N
            if r and s:  # both are 0 once in 2**256
                return der.sequence(der.integer(r), der.integer(s))


def _plus(one: _Point, other: _Point) -> _Point:
    if one is None:
        return other
    if other is None:
        return one
    (x1, y1), (x2, y2) = one, other
    if x1 == x2:
        if (y1 + y2) % _P == 0:
            return None
        slope = (3 * x1 * x1 + _A) * pow(2 * y1, -1, _P)
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, _P)
    x3 = (slope * slope - x1 - x2) % _P
    return x3, (slope * (x1 - x3) - y1) % _P


def _times(factor: int, point: _Point) -> _Point:
    total: _Point = None
    while factor:
        if factor & 1:
            total = _plus(total, point)
        point = _plus(point, point)
        factor >>= 1
    return total
