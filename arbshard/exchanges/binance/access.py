"""Finds and verifies the account behind a signed request. It is pure; ``rest`` and ``wsapi`` use it."""

import re
from collections.abc import Callable
from enum import Enum

from arbshard.exchanges.accounts.account import Accounts, TradingAccount
from arbshard.exchanges.binance.params import BinanceParams
from arbshard.exchanges.binance.refusals import BinanceRefusal, bad_key, bad_key_format
from arbshard.exchanges.binance.signing import PublicKey, check_ed25519, check_hmac, check_time, is_hmac

_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")


class KeyType(Enum):
    """Says how a request was signed."""

    HMAC = "HMAC_SHA256"
    ED25519 = "Ed25519"


def _never() -> bool:
    """Return that no key is revoked: the default."""
    return False


class Access:
    """Holds the accounts by key, and their public keys."""

    def __init__(self, accounts: Accounts, is_revoked: Callable[[], bool] = _never) -> None:
        """Read the public keys. Raises ``ConfigError`` for an Ed25519 key that is invalid, or cannot be used here.

        ``is_revoked`` returns whether the keys have been revoked.
        """
        self._accounts = accounts
        self._is_revoked = is_revoked
        self._public_keys = {
            account.key: PublicKey(account.ed25519_public) for account in accounts if account.ed25519_public
        }

    @property
    def is_revoked(self) -> bool:
        """Return whether the keys have been revoked."""
        return self._is_revoked()

    def account(self, key: str) -> TradingAccount:
        """Return the account of an API key. Raises ``BinanceRefusal`` when there is none, or it may not even read."""
        if not _KEY.fullmatch(key):
            raise bad_key_format()
        account = self._accounts.get(key)
        if account is None or not account.permissions.can_read or self._is_revoked():
            raise bad_key()
        return account

    def check(self, account: TradingAccount, params: BinanceParams, payload: str, now_ms: int) -> KeyType:
        """Return how ``params``, whose signature covers ``payload``, are signed. Raises ``BinanceRefusal``
        otherwise.

        Either of an account's keys will do: its secret, or its Ed25519 key if it has one.
        """
        self.check_time(params, now_ms)
        signature = params.need("signature")
        public_key = self._public_keys.get(account.key)
        if public_key is None or is_hmac(signature):
            check_hmac(signature, payload, account.secret)
            return KeyType.HMAC
        check_ed25519(signature, payload, public_key)
        return KeyType.ED25519

    def check_time(self, params: BinanceParams, now_ms: int) -> None:
        """Raise ``BinanceRefusal`` for a request that was not made just now."""
        check_time(params.need("timestamp"), params.text("recvWindow"), now_ms)


def not_ed25519() -> BinanceRefusal:
    """Return the error for a logon with another kind of key."""
    return BinanceRefusal(-4056, f"{KeyType.HMAC.value} API key is not supported.")
