"""Upbit's signatures: the token of the private stream, and what ccxt is told for calls. Pure."""

import base64
from collections.abc import Mapping
from typing import Final

from arbshard.secret import Secret, encode_revealed
from arbshard.venues.keys import Keys


class UpbitSigning:
    """Implements ``base.signing.Signing``."""

    ccxt_id = "upbit"
    takes_ed25519 = False
    root = "/v1/"

    def ccxt_addresses(self, url: str) -> Mapping[str, str]:
        """Return none: ccxt adds the root itself."""
        del url
        return {}


def token(keys: Keys, nonce: str) -> Secret:
    """A JWT for requests without parameters (HS512). It opens the account once, so it is shown to nobody."""
    claims = {"access_key": keys.key, "nonce": nonce}
    signed = Secret.join(
        _JWT_HEADER,
        ".",
        Secret(encode_revealed(claims).decode()).use_encoded(base64.urlsafe_b64encode).decode().rstrip("="),
    )
    return Secret.join(signed, ".", _part(keys.secret.digest(signed, "sha512")))


def _part(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


_JWT_HEADER: Final = _part(b'{"alg":"HS512","typ":"JWT"}')
