"""Stored replies: what makes a repeated request harmless. Pure; ``serve`` runs it."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

Handler = Callable[[list[bytes]], list[bytes]]
"""Takes the payloads of new requests in the order they came, gives as many replies in the same order."""


class Asked(NamedTuple):
    """A request that waits, and the way back to whoever asked."""

    request_id: bytes
    payload: bytes
    reply: Callable[[bytes], None]


class StoredReplies:
    """The replies of the last ``limit`` request ids, least recently asked first to go."""

    def __init__(self, limit: int) -> None:
        assert limit > 0, limit
        self._limit = limit
        self._stored: OrderedDict[bytes, bytes] = OrderedDict()
        self.repeated = 0
        """Requests answered from the store."""

    def __len__(self) -> int:
        return len(self._stored)

    def answer(self, batch: Sequence[tuple[bytes, bytes]], handler: Handler) -> list[bytes]:
        """The replies to ``batch`` of (request id, payload), in its order.

        ``handler`` is called once with the payloads whose ids are new, or not at all if none is. If it raises,
        nothing is stored. Raises ``ValueError`` when it gives another number of replies.
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
