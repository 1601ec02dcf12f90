"""Defines the store that the hosts of a cluster have in common: two buckets of keys with revisions.

``nats_store`` is the real one.
"""

from typing import NamedTuple, Protocol

LEASES, RUN = BUCKETS = ("leases", "run")


class StoredEntry(NamedTuple):
    """Is what the store has at a key."""

    bucket: str
    key: str
    revision: int
    """The number of the last write, also when that deleted the key; 0 if the store knows nothing of the key."""
    value: bytes | None
    """None without a value."""


class LeaseStore(Protocol):
    """Keeps values by bucket and key, with compare-and-set: ``NatsStore``."""

    @property
    def is_connected(self) -> bool:
        """Return whether the store can be reached, as far as is known."""
        ...

    @property
    def trouble(self) -> str:
        """Return why it cannot be reached; empty while it can."""
        ...

    @property
    def failures(self) -> int:
        """Return the number of reads that were not answered, and of writes of which it is not known whether they were
        done.
        """
        ...

    async def run(self) -> None:
        """Keep connected, and report every entry as it changes, until this is cancelled."""
        ...

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None) -> int | None:
        """Write over revision ``expected`` (0: nothing is there; None: whatever is there).

        Return the new revision; None when it was not written, as far as is known.
        """
        ...

    async def read(self, bucket: str, key: str) -> None:
        """Report what is at ``key`` now, also if it has not changed; nothing is reported when that is not known."""
        ...
