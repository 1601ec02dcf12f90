import base64
import importlib
from typing import Any

import pytest

from arbshard.errors import ConfigError
from arbshard.exchanges.binance import signing
from arbshard.exchanges.binance.refusals import BinanceRefusal

NOW_MS = 1_795_000_000_000
# Published by the venue as examples; no secrets.
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
PAYLOAD = (
    "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000"
    "&timestamp=1499827319559"
)
SIGNATURE = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"


def test_the_venues_own_example_in_either_case() -> None:
    assert signing.hmac_hex(SECRET, PAYLOAD) == SIGNATURE
    signing.check_hmac(SIGNATURE, PAYLOAD, SECRET)
    signing.check_hmac(SIGNATURE.upper(), PAYLOAD, SECRET)


@pytest.mark.parametrize("signature", ["", "x" * 64, SIGNATURE[:-1] + "0", SIGNATURE + "0", "é" * 64])
def test_other_signatures_are_refused(signature: str) -> None:
    with pytest.raises(BinanceRefusal) as refused:
        signing.check_hmac(signature, PAYLOAD, SECRET)
    assert (refused.value.code, refused.value.status) == (-1022, 400)


@pytest.mark.parametrize(
    ("raw_query", "raw_body", "payload"),
    [
        ("a=1&signature=f", "", "a=1"),
        ("signature=f&a=1", "", "a=1"),
        ("a=1", "b=%20&signature=f", "a=1b=%20"),
        ("a=1&signature=f", "b=2", "a=1b=2"),
        ("", "b=2&signature=f", "b=2"),
    ],
)
def test_query_and_body_are_covered_as_sent_without_a_separator(
    raw_query: str, raw_body: str, payload: str
) -> None:
    assert signing.payload_of(raw_query, raw_body) == payload


def test_websocket_parameters_are_covered_sorted_with_the_key() -> None:
    params = {"timestamp": "5", "apiKey": "k", "signature": "f", "symbol": "BTCUSDT"}
    assert signing.payload_sorted(params) == "apiKey=k&symbol=BTCUSDT&timestamp=5"


@pytest.mark.parametrize("window", [None, "5000", "60000", "5000.125", "0"])
@pytest.mark.parametrize("scale", [1, 1000])
def test_times_inside_the_window(window: str | None, scale: int) -> None:
    """In milliseconds or microseconds."""
    width = int(float(window or 5000))
    for offset in (-width, 0, 999):
        signing.check_time(str((NOW_MS + offset) * scale), window, NOW_MS)


@pytest.mark.parametrize(
    ("timestamp", "window", "message"),
    [
        (NOW_MS + 1000, None, "Timestamp for this request was 1000ms ahead of the server's time."),
        (NOW_MS - 5001, None, "Timestamp for this request is outside of the recvWindow."),
        (NOW_MS - 101, "100", "Timestamp for this request is outside of the recvWindow."),
        (NOW_MS * 1000 - 100_126, "100.125", "Timestamp for this request is outside of the recvWindow."),
        (NOW_MS // 1000, None, "Timestamp for this request is outside of the recvWindow."),
    ],
)
def test_times_outside_the_window(timestamp: int, window: str | None, message: str) -> None:
    with pytest.raises(BinanceRefusal) as refused:
        signing.check_time(str(timestamp), window, NOW_MS)
    assert (refused.value.code, refused.value.message) == (-1021, message)


@pytest.mark.parametrize(
    ("timestamp", "window", "code"),
    [
        ("now", None, -1100),
        ("-5", None, -1100),
        ("1.5", None, -1100),
        (str(NOW_MS), "long", -1100),
        (str(NOW_MS), "1.0001", -1100),
        (str(NOW_MS), "60000.001", -1131),
        (str(NOW_MS), "60001", -1131),
    ],
)
def test_what_is_no_time(timestamp: str, window: str | None, code: int) -> None:
    with pytest.raises(BinanceRefusal) as refused:
        signing.check_time(timestamp, window, NOW_MS)
    assert refused.value.code == code


def test_without_the_package_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(signing, "import_module", missing)
    with pytest.raises(
        ConfigError, match=r"need the package 'cryptography', which requirements-live\.lock installs"
    ):
        signing.PublicKey("AAAA")


@pytest.mark.needs("live")
def test_ed25519_from_pem_raw_and_der() -> None:
    private, raw, der, pem = make_key()
    signature = base64.b64encode(private.sign(PAYLOAD.encode())).decode()
    for text in (pem, base64.b64encode(raw).decode(), base64.b64encode(der).decode()):
        key = signing.PublicKey(text)
        signing.check_ed25519(signature, PAYLOAD, key)
        signing.check_ed25519(signature.replace("+", " "), PAYLOAD, key)
        for wrong in (signature.swapcase(), "AAAA", "not base64", SIGNATURE):
            with pytest.raises(BinanceRefusal) as refused:
                signing.check_ed25519(wrong, PAYLOAD, key)
            assert refused.value.code == -1022
    for text in ("AAAA", "not a key", ""):
        with pytest.raises(ConfigError, match="binance_ed25519_public"):
            signing.PublicKey(text)


def make_key() -> tuple[Any, bytes, bytes, str]:
    ed25519 = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    form = importlib.import_module("cryptography.hazmat.primitives.serialization")
    private = ed25519.Ed25519PrivateKey.generate()
    public, info = private.public_key(), form.PublicFormat.SubjectPublicKeyInfo
    return (
        private,
        public.public_bytes(form.Encoding.Raw, form.PublicFormat.Raw),
        public.public_bytes(form.Encoding.DER, info),
        public.public_bytes(form.Encoding.PEM, info).decode(),
    )
