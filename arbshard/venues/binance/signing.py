"""Signs Binance's calls and private stream: by HMAC-SHA256 with a shared secret, or by Ed25519. Pure."""

import base64
from functools import lru_cache, partial
from importlib import import_module
from typing import Protocol

from arbshard.errors import UsageError
from arbshard.secret import Secret
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.signing import SignedRequest, SigningMoment, query_of
from arbshard.venues.keys import Keys

_FORM = Secret("application/x-www-form-urlencoded")


class BinanceSigning:
    """Implements ``base.signing.Signing``: the signature is the last parameter, the key a header."""

    takes_ed25519 = True

    def sign(self, request: VenueRequest, keys: Keys, moment: SigningMoment) -> SignedRequest:
        """Sign all parameters as they are sent: those of a GET or DELETE in the query, else in the body."""
        times = {"recvWindow": str(moment.window_ms), "timestamp": str(moment.now_ms)}
        payload = query_of({**request.params, **times})
        signed = f"{payload}&{query_of({'signature': sign(keys, payload)})}"
        if request.method in ("GET", "DELETE"):
            return SignedRequest(f"{request.path}?{signed}", None, {"X-MBX-APIKEY": keys.key})
        headers = {"X-MBX-APIKEY": keys.key, "Content-Type": _FORM}
        return SignedRequest(request.path, signed.encode(), headers)


class _PrivateKey(Protocol):
    """Is an ``Ed25519PrivateKey`` of the package cryptography."""

    def sign(self, data: bytes) -> bytes: ...


def sign(keys: Keys, payload: str | Secret) -> str:
    """Return the signature of ``payload``: hex for a shared secret, base64 for Ed25519.

    Raises ``UsageError`` for a private key that cannot be read, or when the package that reads it is missing.
    """
    if not keys.is_ed25519:
        return keys.secret.digest(payload, "sha256").hex()
    return base64.b64encode(Secret.join(payload).use_encoded(_private_key(keys).sign)).decode()


@lru_cache(maxsize=4)
def _private_key(keys: Keys) -> _PrivateKey:
    """Return the private key, read once for each ``Keys`` (which compare by identity): reading takes longer than
    signing.

    Raises ``UsageError`` as ``sign`` does.
    """
    try:
        serialization = import_module("cryptography.hazmat.primitives.serialization")
        ed25519 = import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    except ImportError:
        raise UsageError(
            "an Ed25519 key needs the package cryptography: "
            "pip install --require-hashes -r requirements-live.lock"
        ) from None
    try:
        private = keys.secret.use_encoded(partial(serialization.load_pem_private_key, password=None))
    except (ValueError, TypeError):
        raise UsageError(
            f"{keys.venue}: the private key cannot be read (PEM, without a passphrase)"
        ) from None
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise UsageError(f"{keys.venue}: the private key is not of type Ed25519")
    made: _PrivateKey = private
    return made
