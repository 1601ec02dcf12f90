"""Defines the replies in which a venue reports failures; ``upbit.faults`` and ``binance.faults`` implement them."""

from typing import Literal, Protocol

from arbshard.config.sim import DeniedFault
from arbshard.exchanges.session import Query, RestReply

CallKind = Literal["placing", "canceling", "asking"]


class FaultReplies(Protocol):
    """Makes a venue's answers to calls that a fault concerns."""

    def kind(self, query: Query) -> CallKind:
        """Return whether the call places an order (or replaces one), cancels, or does neither."""
        ...

    def rate_limited(self, status: int, retry_after_s: int, query: Query) -> RestReply:
        """Return a reply with status 429 or 418."""
        ...

    def denied(self, fault: DeniedFault) -> RestReply:
        """Return the refusal of a call that the venue does not process."""
        ...

    def unknown_outcome(self) -> RestReply:
        """Return an error that does not say whether the call was carried out."""
        ...

    def maintenance(self) -> RestReply:
        """Return a reply with status 503."""
        ...
