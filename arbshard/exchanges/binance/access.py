"""Who may do what: the account behind a signed request. Pure; used by ``rest`` and ``wsapi``."""

import re
from collections.abc import Callable
from enum import Enum

from arbshard.exchanges.accounts.account import Accounts, TradingAccount
from arbshard.exchanges.binance.params import BinanceParams
from arbshard.exchanges.binance.refusals import BinanceRefusal, bad_key, bad_key_format
from arbshard.exchanges.binance.signing import PublicKey, check_ed25519, check_hmac, check_time, is_hmac

_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")


class KeyType(Enum):
    """How a request was signed."""

    HMAC = "HMAC_SHA256"
    ED25519 = "Ed25519"


def _never() -> bool:
    """No key is revoked."""
    return False


class Access:
    """The accounts by key, and their public keys."""

    def __init__(self, accounts: Accounts, is_revoked: Callable[[], bool] = _never) -> None:
        """Raises ``ConfigError`` for an Ed25519 key that is none, or cannot be used here.

        ``is_revoked`` says whether the keys are valid no longer.
        """
        self._accounts = accounts
        self._is_revoked = is_revoked
        self._public_keys = {
            account.key: PublicKey(account.ed25519_public) for account in accounts if account.ed25519_public
        }

    def account(self, key: str) -> TradingAccount:
        """The account of an API key. Raises ``BinanceRefusal`` where there is none, or it may not even read."""
        if not _KEY.fullmatch(key):
            raise bad_key_format()
        account = self._accounts.get(key)
        if account is None or not account.permissions.can_read or self._is_revoked():
            raise bad_key()
        return account

    def check(self, account: TradingAccount, params: BinanceParams, payload: str, now_ms: int) -> KeyType:
        """How ``params``, whose signature covers ``payload``, are signed. Raises ``BinanceRefusal`` where they
        are not.

        Either of an account's keys will do: its secret, or its Ed25519 key where it has one.
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
        """Raises ``BinanceRefusal`` for a request that was not made just now."""
        check_time(params.need("timestamp"), params.text("recvWindow"), now_ms)


def not_ed25519() -> BinanceRefusal:
    """A logon with another kind of key."""
    return BinanceRefusal(-4056, f"{KeyType.HMAC.value} API key is not supported.")
