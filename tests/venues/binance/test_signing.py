"""Signatures of both kinds."""

import base64

import pytest

from arbshard.errors import UsageError
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.signing import SigningMoment
from arbshard.venues.binance.signing import BinanceSigning, sign
from arbshard.venues.keys import Keys


def test_the_published_example(binance_keys):
    payload = (
        "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1"
        "&recvWindow=5000&timestamp=1499827319559"
    )
    assert sign(binance_keys, payload) == "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"


@pytest.mark.needs("live")
def test_ed25519():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    private = ed25519.Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    signature = sign(Keys("binance", "k", pem), "apiKey=k&timestamp=1")
    private.public_key().verify(base64.b64decode(signature), b"apiKey=k&timestamp=1")  # raises when it is not


def test_a_private_key_that_cannot_be_read_is_never_shown():
    secret = "-----BEGIN PRIVATE KEY-----\nnothing\n-----END PRIVATE KEY-----"
    with pytest.raises(UsageError) as caught:
        sign(Keys("binance", "k", secret), "x")
    assert "nothing" not in str(caught.value)


def test_a_call_is_signed_as_it_is_sent(binance_keys):
    moment = SigningMoment(now_ms=1499827319559, window_ms=5000, nonce="n")
    params = {"symbol": "LTCBTC", "side": "BUY", "name": "a b,c"}
    sent = BinanceSigning().sign(VenueRequest("POST", "/api/v3/order", params, {}), binance_keys, moment)
    payload = "symbol=LTCBTC&side=BUY&name=a+b%2Cc&recvWindow=5000&timestamp=1499827319559"
    assert (sent.target, sent.body) == (
        "/api/v3/order",
        f"{payload}&signature={sign(binance_keys, payload)}".encode(),
    )
    asked = BinanceSigning().sign(VenueRequest("GET", "/api/v3/order", params, {}), binance_keys, moment)
    assert (asked.target, asked.body) == (f"/api/v3/order?{sent.body.decode()}", None)
    assert asked.headers["X-MBX-APIKEY"] is binance_keys.key
