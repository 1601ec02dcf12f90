"""Defines ``Keys``: the API key of an account, which ``repr`` hides and which cannot be copied.

``execution.live.keys`` reads them.
"""

from functools import partial
from typing import NoReturn

from arbshard.secret import HIDDEN, Secret


class Keys:
    """Holds the API key and the secret of one account, with which its requests are signed."""

    __slots__ = ("key", "secret", "venue")

    def __init__(self, venue: str, key: Secret | str, secret: Secret | str) -> None:
        self.venue = venue
        self.key = key if isinstance(key, Secret) else Secret(key)
        self.secret = secret if isinstance(secret, Secret) else Secret(secret)
        """The secret may be the PEM of an Ed25519 key."""

    def put_into(self, exchange: object) -> None:
        """Set the key and the secret of a ccxt exchange, so that it can sign."""
        self.key.use(partial(setattr, exchange, "apiKey"))
        self.secret.use(partial(setattr, exchange, "secret"))

    @property
    def is_ed25519(self) -> bool:
        """Return whether the secret is a private key in PEM instead of a shared secret."""
        return "PRIVATE KEY" in self.secret

    def __repr__(self) -> str:
        return f"Keys({self.venue!r}, {HIDDEN})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not to be pickled or copied")
