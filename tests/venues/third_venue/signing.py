"""How the venue's calls are signed: time, method, target and body, in headers."""

import msgspec

from arbshard.secret import Secret
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.signing import SignedRequest, SigningMoment, target_of
from arbshard.venues.keys import Keys


class ThirdSigning:
    """Implements ``Signing``."""

    takes_ed25519 = False

    def sign(self, request: VenueRequest, keys: Keys, moment: SigningMoment) -> SignedRequest:
        """Sign what is sent; the parameters of a POST are its JSON body."""
        posts = request.method == "POST"
        body = msgspec.json.encode(request.params) if posts else None
        target = request.path if posts else target_of(request)
        text = f"{moment.now_ms}{request.method}{target}{(body or b'').decode()}"
        headers = {
            "THIRD-KEY": keys.key,
            "THIRD-TIME": Secret(str(moment.now_ms)),
            "THIRD-SIGNATURE": Secret(keys.secret.digest(text, "sha256").hex()),
        }
        return SignedRequest(target, body, headers)
