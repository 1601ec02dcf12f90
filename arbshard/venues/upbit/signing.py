"""Signs Upbit's calls and private stream with a JWT (HS512) in the header ``Authorization``. Pure."""

import base64
import hashlib
from typing import Final

import msgspec

from arbshard.secret import Secret, encode_revealed
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.signing import SignedRequest, SigningMoment, target_of
from arbshard.venues.keys import Keys

_JSON = Secret("application/json")


class UpbitSigning:
    """Implements ``base.signing.Signing``: the token holds a hash of the parameters."""

    takes_ed25519 = False

    def sign(self, request: VenueRequest, keys: Keys, moment: SigningMoment) -> SignedRequest:
        """Sign the parameters as they are before percent-encoding; those of a POST are sent as JSON."""
        unencoded = "&".join(f"{name}={value}" for name, value in request.params.items())
        headers = {"Authorization": Secret.join("Bearer ", token(keys, moment.nonce, unencoded))}
        if request.method in ("GET", "DELETE"):
            return SignedRequest(target_of(request), None, headers)
        headers["Content-Type"] = _JSON
        return SignedRequest(request.path, msgspec.json.encode(request.params), headers)


def token(keys: Keys, nonce: str, unencoded: str = "") -> Secret:
    """Return a JWT (HS512) for a request with the query ``unencoded``. It is valid for one request."""
    claims: dict[str, Secret | str] = {"access_key": keys.key, "nonce": nonce}
    if unencoded:
        claims |= {
            "query_hash": hashlib.sha512(unencoded.encode()).hexdigest(),
            "query_hash_alg": "SHA512",
        }
    signed = Secret.join(
        _JWT_HEADER,
        ".",
        Secret(encode_revealed(claims).decode()).use_encoded(base64.urlsafe_b64encode).decode().rstrip("="),
    )
    return Secret.join(signed, ".", _part(keys.secret.digest(signed, "sha512")))


def _part(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


_JWT_HEADER: Final = _part(b'{"alg":"HS512","typ":"JWT"}')
