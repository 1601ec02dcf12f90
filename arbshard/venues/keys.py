"""``Keys``: the key of an account, hidden from ``repr`` and never copied. ``execution.live.keys`` reads them."""

from functools import partial
from typing import NoReturn

from arbshard.secret import HIDDEN, Secret


class Keys:
    """The key of one account: what to sign with."""

    __slots__ = ("key", "secret", "venue")

    def __init__(self, venue: str, key: Secret | str, secret: Secret | str) -> None:
        self.venue = venue
        self.key = key if isinstance(key, Secret) else Secret(key)
        self.secret = secret if isinstance(secret, Secret) else Secret(secret)
        """May be the PEM of an Ed25519 key."""

    def put_into(self, exchange: object) -> None:
        """Let a ccxt exchange sign with them."""
        self.key.use(partial(setattr, exchange, "apiKey"))
        self.secret.use(partial(setattr, exchange, "secret"))

    @property
    def is_ed25519(self) -> bool:
        """Whether the secret is a private key in PEM instead of a shared secret."""
        return "PRIVATE KEY" in self.secret

    def __repr__(self) -> str:
        return f"Keys({self.venue!r}, {HIDDEN})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not to be pickled or copied")
