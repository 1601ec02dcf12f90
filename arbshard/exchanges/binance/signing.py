"""Verifies signatures and timestamps of signed requests. It is pure: keys, texts and the time are arguments.

Most clients use HMAC-SHA256. Ed25519 needs the ``cryptography`` package, which is part of the extra ``live`` and is
imported only when such a key is configured. ``access`` uses it.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from decimal import Decimal
from importlib import import_module
from typing import Protocol

from arbshard.errors import ConfigError
from arbshard.exchanges.binance.refusals import BinanceRefusal, bad_signature, illegal

RECV_WINDOW_MS = Decimal(5000)
_RECV_WINDOW_MAX_MS = 60_000
_AHEAD_MAX_US = 1_000_000
_MICROSECONDS_FROM = 10**14
"""A timestamp from here on counts microseconds: as milliseconds it would be in the year 5138."""
_TIMESTAMP = re.compile(r"[0-9]{1,20}")
_WINDOW = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?")
_RAW_KEY_BYTES = 32
_HEX = re.compile(r"[0-9a-fA-F]{64}")


class _Verifier(Protocol):
    """Describes what we use of ``cryptography``'s Ed25519 key."""

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raise an exception when ``signature`` is not that of ``data``."""
        ...


def payload_of(raw_query: str, raw_body: str) -> str:
    """Return what a REST request's signature covers: query and body as sent, joined, without the signature."""
    return _unsigned(raw_query) + _unsigned(raw_body)


def _unsigned(text: str) -> str:
    return "&".join(part for part in text.split("&") if not part.startswith("signature="))


def payload_sorted(params: Mapping[str, str]) -> str:
    """Return what a WebSocket API request's signature covers: all other parameters, sorted by name."""
    return "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")


def hmac_hex(secret: str, payload: str) -> str:
    """Return the HMAC-SHA256 of ``payload`` as 64 hexadecimal digits."""
    return hmac.digest(secret.encode(), payload.encode(), "sha256").hex()


def check_hmac(signature: str, payload: str, secret: str) -> None:
    """Raise ``BinanceRefusal`` when ``signature`` (in either case) is not that of ``payload``."""
    expected = hmac_hex(secret, payload)
    if not _HEX.fullmatch(signature) or not hmac.compare_digest(expected, signature.lower()):
        raise bad_signature()


def is_hmac(signature: str) -> bool:
    """Return whether ``signature`` has the form of an HMAC-SHA256: Ed25519 signatures are longer and in base64."""
    return _HEX.fullmatch(signature) is not None


class PublicKey:
    """Verifies signatures with an Ed25519 public key."""

    def __init__(self, text: str) -> None:
        """Read PEM, or base64 of the 32 raw bytes or of the DER form.

        Raises ``ConfigError`` for an invalid key, and when ``cryptography`` is not installed.
        """
        where = "sim.accounts.binance_ed25519_public"
        try:
            # Imported by name: the package is optional, so type checkers cannot rely on it.
            ed25519 = import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
            serialization = import_module("cryptography.hazmat.primitives.serialization")
            self._invalid = import_module("cryptography.exceptions").InvalidSignature
        except ImportError:
            raise ConfigError(
                where, "Ed25519 keys need the package 'cryptography', which requirements-live.lock installs"
            ) from None
        lines = [line.strip() for line in text.strip().splitlines()]
        try:
            raw = base64.b64decode(
                "".join(line for line in lines if not line.startswith("-----")), validate=True
            )
            if len(raw) == _RAW_KEY_BYTES:
                key = ed25519.Ed25519PublicKey.from_public_bytes(raw)
            else:
                key = serialization.load_der_public_key(raw)
        except (binascii.Error, ValueError) as error:
            raise ConfigError(where, "is neither PEM nor base64 of an Ed25519 public key") from error
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise ConfigError(where, "is a public key, but not of Ed25519")
        self._key: _Verifier = key

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Return whether ``signature`` is that of ``data``."""
        try:
            self._key.verify(signature, data)
        except self._invalid:
            return False
        return True


def check_ed25519(signature: str, payload: str, key: PublicKey) -> None:
    """Raise ``BinanceRefusal`` when ``signature`` (base64) is not that of ``payload`` under ``key``."""
    try:
        # A plus that was not percent-encoded has arrived as a blank.
        raw = base64.b64decode(signature.replace(" ", "+"), validate=True)
    except (binascii.Error, ValueError):
        raise bad_signature() from None
    if not key.verifies(raw, payload.encode()):
        raise bad_signature()


def check_time(timestamp: str, recv_window: str | None, now_ms: int) -> None:
    """Raise ``BinanceRefusal`` for a timestamp (ms or µs since the epoch) too old, too far ahead, or invalid."""
    if not _TIMESTAMP.fullmatch(timestamp):
        raise illegal("timestamp", "^[0-9]{1,20}$")
    window_us = int(_recv_window_ms(recv_window) * 1000)
    sent = int(timestamp)
    sent_us = sent if sent >= _MICROSECONDS_FROM else sent * 1000
    if sent_us >= now_ms * 1000 + _AHEAD_MAX_US:
        raise BinanceRefusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms * 1000 - sent_us > window_us:
        raise BinanceRefusal(-1021, "Timestamp for this request is outside of the recvWindow.")


def _recv_window_ms(text: str | None) -> Decimal:
    if text is None:
        return RECV_WINDOW_MS
    if not _WINDOW.fullmatch(text):
        raise illegal("recvWindow", r"^[0-9]{1,5}(\.[0-9]{1,3})?$")
    window = Decimal(text)
    if window > _RECV_WINDOW_MAX_MS:
        raise BinanceRefusal(-1131, f"'recvWindow' must be less than {_RECV_WINDOW_MAX_MS}.")
    return window
