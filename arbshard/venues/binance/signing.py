"""Binance's signatures: HMAC-SHA256 with a shared secret, or Ed25519; and what ccxt is told for calls. Pure."""

import base64
from collections.abc import Mapping
from functools import partial
from importlib import import_module

from arbshard.errors import UsageError
from arbshard.secret import Secret
from arbshard.venues.keys import Keys


class BinanceSigning:
    """Implements ``base.signing.Signing``."""

    ccxt_id = "binance"
    takes_ed25519 = True
    root = "/api/v3/"

    def ccxt_addresses(self, url: str) -> Mapping[str, str]:
        """Return where spot calls go, and those that tell what a key may do."""
        return {"public": f"{url}/api/v3", "private": f"{url}/api/v3", "sapi": f"{url}/sapi/v1"}


def sign(keys: Keys, payload: str | Secret) -> str:
    """The signature of ``payload``: hex for a shared secret, base64 for Ed25519.

    Raises ``UsageError`` for a private key that cannot be read, or when the package that reads it is missing.
    """
    if not keys.is_ed25519:
        return keys.secret.digest(payload, "sha256").hex()
    try:
        serialization = import_module("cryptography.hazmat.primitives.serialization")
        ed25519 = import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    except ImportError:
        raise UsageError("an Ed25519 key needs the package cryptography (it comes with ccxt)") from None
    try:
        private = keys.secret.use_encoded(partial(serialization.load_pem_private_key, password=None))
    except (ValueError, TypeError):
        raise UsageError(
            f"{keys.venue}: the private key cannot be read (PEM, without a passphrase)"
        ) from None
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise UsageError(f"{keys.venue}: the private key is not of type Ed25519")
    return base64.b64encode(Secret.join(payload).use_encoded(private.sign)).decode()
