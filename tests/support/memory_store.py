"""The in-memory twin of the store at NATS, with what a test does to it: lose, wipe, hang, lie."""

import asyncio
from collections.abc import Callable

from arbshard.cluster.store import StoredEntry


class MemoryServer:
    """What all hosts' stores have in common."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], StoredEntry] = {}
        self.revision = 0
        self.is_up = True
        self.hangs = False
        self.clients: list[MemoryStore] = []

    def set_up(self, is_up: bool) -> None:
        self.is_up = is_up
        for client in self.clients:
            client.follow()

    def wipe(self) -> None:
        self.set_up(False)
        self.entries, self.revision = {}, 0

    def write(self, bucket: str, key: str, value: bytes, expected: int | None) -> StoredEntry | None:
        now = self.entries.get((bucket, key))
        if expected is not None and expected != (now.revision if now is not None else 0):
            return None
        self.revision += 1
        made = self.entries[bucket, key] = StoredEntry(bucket, key, self.revision, value)
        for client in self.clients:
            client.receive(made)
        return made


class MemoryStore:
    """Is a ``LeaseStore``."""

    def __init__(
        self,
        server: MemoryServer,
        on_entry: Callable[[StoredEntry], None],
        on_state: Callable[[bool], None],
    ) -> None:
        self._server = server
        self._on_entry = on_entry
        self._on_state = on_state
        self._known: set[tuple[str, str]] = set()
        self._runs = False
        self.is_connected = False
        self.failures = 0
        server.clients.append(self)

    @property
    def trouble(self) -> str:
        return "" if self.is_connected else "it is not up"

    async def run(self) -> None:
        self._runs = True
        self.follow()
        try:
            await asyncio.Event().wait()
        finally:
            self._runs = False
            self.follow()

    def follow(self) -> None:
        up = self._runs and self._server.is_up
        if up == self.is_connected:
            return
        self.is_connected = up
        if up:
            for entry in self._server.entries.values():
                self._on_entry(entry)
            for bucket, key in self._known - self._server.entries.keys():
                self._on_entry(StoredEntry(bucket, key, 0, None))
            self._known = set(self._server.entries)
        self._on_state(up)

    def receive(self, entry: StoredEntry) -> None:
        if self.is_connected and not self._server.hangs:
            self._known.add((entry.bucket, entry.key))
            self._on_entry(entry)

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None) -> int | None:
        await asyncio.sleep(0)
        if not self.is_connected or self._server.hangs:
            self.failures += 1
            return None
        made = self._server.write(bucket, key, value, expected)
        if made is None:
            await self.read(bucket, key)
            return None
        return made.revision

    async def read(self, bucket: str, key: str) -> None:
        await asyncio.sleep(0)
        if self.is_connected and not self._server.hangs:
            self._on_entry(self._server.entries.get((bucket, key), StoredEntry(bucket, key, 0, None)))
