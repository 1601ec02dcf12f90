"""Stored replies make a repeated request harmless. The code is pure; ``serve`` runs it."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

Handler = Callable[[list[bytes]], list[bytes]]
"""Accepts the payloads of new requests in the order they came, and returns as many replies in the same order."""


class Asked(NamedTuple):
    """Is a request that waits, with the function that sends its reply."""

    request_id: bytes
    payload: bytes
    reply: Callable[[bytes], None]
    host: str = ""
    """The other host of a cluster that asks; empty for this one."""
    hand_over: Callable[[bytes, int], None] | None = None
    """Sends the reply to an asker that holds it itself until it has stored an event, whose number is the second
    argument. None for one that cannot do this."""


class StoredReplies:
    """Holds the replies of the last ``limit`` request ids; the id that was asked least recently is removed first."""

    def __init__(self, limit: int) -> None:
        assert limit > 0, limit
        self._limit = limit
        self._stored: OrderedDict[bytes, bytes] = OrderedDict()
        self.repeated = 0
        """Number of requests answered from the store."""

    def __len__(self) -> int:
        return len(self._stored)

    def answer(self, batch: Sequence[tuple[bytes, bytes]], handler: Handler) -> list[bytes]:
        """Return the replies to ``batch`` of (request id, payload), in its order.

        ``handler`` is called once with the payloads whose ids are new, or not at all if none is. If it raises,
        nothing is stored. Raises ``ValueError`` when it returns another number of replies.
        """
        known: dict[bytes, bytes] = {}
        new: dict[bytes, bytes] = {}
        for request_id, payload in batch:
            stored = self._stored.get(request_id)
            if stored is not None:
                known[request_id] = stored
            elif request_id not in new:
                new[request_id] = payload
        if new:
            replies = handler(list(new.values()))
            if len(replies) != len(new):
                raise ValueError(f"{len(replies)} replies to {len(new)} requests")
            known.update(zip(new, replies, strict=True))
        self.repeated += len(batch) - len(new)
        for request_id, _ in batch:
            self._stored[request_id] = known[request_id]
            self._stored.move_to_end(request_id)
        while len(self._stored) > self._limit:
            self._stored.popitem(last=False)
        return [known[request_id] for request_id, _ in batch]
