"""``Signing``: how a venue's calls are signed and where they go. Pure.

The room ``signing`` of a venue's folder implements it. Calls by REST are signed by ccxt (``execution.live.clients``);
private streams are signed by the venue's own rooms.
"""

from collections.abc import Mapping
from typing import Protocol


class Signing(Protocol):
    """What ``execution.live`` needs to know to have calls signed."""

    @property
    def ccxt_id(self) -> str:
        """The name of the ccxt class that signs for the venue."""
        ...

    @property
    def takes_ed25519(self) -> bool:
        """Whether the key may be an Ed25519 key in a file instead of a shared secret."""
        ...

    @property
    def root(self) -> str:
        """What stands between the address and the paths of requests."""
        ...

    def ccxt_addresses(self, url: str) -> Mapping[str, str]:
        """Where ccxt is to find each kind of call, where that is not below ``url`` by itself."""
        ...
