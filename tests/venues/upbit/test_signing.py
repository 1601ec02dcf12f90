"""Upbit's tokens hold a hash of the parameters, and the parameters go out as they were hashed."""

import base64
import hashlib
import hmac
import json

from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.signing import SigningMoment
from arbshard.venues.keys import Keys
from arbshard.venues.upbit.signing import UpbitSigning

KEYS = Keys("upbit", "access", "secret")
MOMENT = SigningMoment(now_ms=1, window_ms=1, nonce="n-1")


def claims_of(sent):
    """What the token says, if its signature is right."""
    scheme, token = sent.headers["Authorization"].use(str).split(" ")
    signed, _, signature = token.rpartition(".")
    header, payload = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in signed.split("."))
    assert (scheme, header) == ("Bearer", {"alg": "HS512", "typ": "JWT"})
    wanted = hmac.new(b"secret", signed.encode(), "sha512").digest()
    assert base64.urlsafe_b64decode(signature + "==") == wanted
    return payload


def hash_of(text):
    return {"query_hash": hashlib.sha512(text.encode()).hexdigest(), "query_hash_alg": "SHA512"}


def test_parameters_of_a_question_are_in_its_query():
    sent = UpbitSigning().sign(
        VenueRequest("GET", "/v1/orders/open", {"market": "KRW-BTC", "states[]": "wait"}, {}), KEYS, MOMENT
    )
    assert (sent.target, sent.body) == ("/v1/orders/open?market=KRW-BTC&states%5B%5D=wait", None)
    assert claims_of(sent) == {
        "access_key": "access",
        "nonce": "n-1",
        **hash_of("market=KRW-BTC&states[]=wait"),
    }


def test_parameters_of_an_order_are_its_body():
    params = {"market": "KRW-BTC", "price": "146000000"}
    sent = UpbitSigning().sign(VenueRequest("POST", "/v1/orders", params, {}), KEYS, MOMENT)
    assert (sent.target, json.loads(sent.body)) == ("/v1/orders", params)
    assert sent.headers["Content-Type"].use(str) == "application/json"
    assert claims_of(sent) == {
        "access_key": "access",
        "nonce": "n-1",
        **hash_of("market=KRW-BTC&price=146000000"),
    }


def test_without_parameters_there_is_no_hash():
    assert claims_of(UpbitSigning().sign(VenueRequest("GET", "/v1/accounts", {}, {}), KEYS, MOMENT)) == {
        "access_key": "access",
        "nonce": "n-1",
    }
