"""How a venue says that something went wrong. ``upbit.faults`` and ``binance.faults`` each have their own."""

from typing import Literal, Protocol

from arbshard.config.sim import DeniedFault
from arbshard.exchanges.session import Query, RestReply

CallKind = Literal["placing", "canceling", "asking"]


class FaultReplies(Protocol):
    """A venue's answers to calls that a fault befalls."""

    def kind(self, query: Query) -> CallKind:
        """Whether the call places an order (or replaces one), cancels, or neither."""
        ...

    def rate_limited(self, status: int, retry_after_s: int, query: Query) -> RestReply:
        """429 or 418."""
        ...

    def denied(self, fault: DeniedFault) -> RestReply:
        """The refusal of a call that the venue does not look at."""
        ...

    def unknown_outcome(self) -> RestReply:
        """An error that does not say whether the call was carried out."""
        ...

    def maintenance(self) -> RestReply:
        """503."""
        ...
