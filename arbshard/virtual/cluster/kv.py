"""Simulates NATS' key-value store as it may be at its worst: lost, wiped, split in two, and lying."""

from collections.abc import Callable

from arbshard.virtual.cluster.world import MS, ClusterWorld


class _Side:
    """Is one copy of the store."""

    def __init__(self) -> None:
        self.revision = 0
        self.entries: dict[str, tuple[int, bytes]] = {}
        self.history: dict[str, list[tuple[int, bytes]]] = {}

    def copy(self) -> "_Side":
        other = _Side()
        other.revision = self.revision
        other.entries = dict(self.entries)
        other.history = {key: list(one) for key, one in self.history.items()}
        return other

    def write(self, key: str, value: bytes) -> int:
        self.revision += 1
        before = self.history.setdefault(key, [])
        before.append(self.entries.get(key, (0, b"")))
        del before[:-20]
        self.entries[key] = self.revision, value
        return self.revision


class VirtualNats:
    """Answers reads and writes of the hosts, each after a while or never."""

    def __init__(self, world: ClusterWorld) -> None:
        self._world = world
        self._sides = [_Side()]
        self._side_of: dict[str, int] = {}
        self._saved = _Side()
        self.is_down = 0
        self.unreachable: dict[str, int] = {}
        """By host: number of faults that keep it from NATS."""
        self.stale = 0.0
        """Share of reads that get an older entry."""
        self.lost = 0.0
        """Share of writes that are acknowledged and not carried out."""
        self.blind = 0.0
        """Share of writes that succeed whatever revision they expect."""
        self.unanswered = 0.0
        """Share of requests that are carried out and get no answer."""

    def read(self, host: str, answer: Callable[[int, bytes | None], None]) -> Callable[[str], None]:
        """Return the call that reads a key for ``host``, and has ``answer`` called with revision and value."""

        def at_server(key: str) -> None:
            side = self._side(host)
            if side is None:
                return
            revision, value = side.entries.get(key, (0, b""))
            older = side.history.get(key)
            if older and self._world.rng.random() < self.stale:
                revision, value = self._world.rng.choice(older)
            self._reply(answer, revision, value if revision else None)

        return lambda key: self._request(at_server, key)

    def write(
        self, host: str, key: str, value: bytes, expected: int | None, answer: Callable[[int | None], None]
    ) -> None:
        """Write a key if its revision is ``expected`` (None: in any case)."""

        def at_server() -> None:
            side = self._side(host)
            if side is None:
                return
            rng = self._world.rng
            is_right = expected is None or side.entries.get(key, (0, b""))[0] == expected
            if not is_right and rng.random() >= self.blind:
                self._reply(answer, None)
            elif rng.random() < self.lost:
                self._reply(answer, side.revision + 1)
            else:
                self._reply(answer, side.write(key, value))

        self._request(at_server)

    def _side(self, host: str) -> _Side | None:
        if self.is_down or self.unreachable.get(host):
            return None
        return self._sides[self._side_of.get(host, 0) % len(self._sides)]

    def _request(self, call: Callable[..., None], *args: object) -> None:
        self._world.after(self._world.rng.randrange(200_000, 3_000_000), None, call, *args)

    def _reply(self, answer: Callable[..., None], *args: object) -> None:
        if self._world.rng.random() >= self.unanswered:
            self._world.after(self._world.rng.randrange(200_000, 20 * MS), None, answer, *args)

    # Faults.

    def wipe(self) -> None:
        """Lose every entry."""
        self._sides = [_Side() for _ in self._sides]

    def save(self) -> None:
        """Keep a copy, to which ``restore`` goes back."""
        self._saved = self._sides[0].copy()

    def restore(self) -> None:
        """Go back to the copy: entries and revisions are older than what was acknowledged."""
        self._sides = [self._saved.copy()]

    def split(self, sides: dict[str, int]) -> None:
        """Have two copies answer, each for its hosts."""
        self._sides = [self._sides[0], self._sides[0].copy()]
        self._side_of = sides

    def join(self, winner: int) -> None:
        """End a split: what one side acknowledged is lost."""
        self._sides = [self._sides[winner % len(self._sides)]]
        self._side_of = {}
