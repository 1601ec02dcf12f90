"""``DeskBoard`` keeps the newest of each section and row of an instance; browsers get what is newer than theirs.

A browser that is slow misses steps in between and then gets whatever is newer than what it has: nothing is queued for
it. The message for browsers that have the same version is made once.
"""

import msgspec

_encoder = msgspec.json.Encoder(decimal_format="string")


class DeskBoard:
    """What browsers are shown of one instance."""

    def __init__(self) -> None:
        self.version = 0
        self._sections: dict[str, tuple[int, bytes]] = {}
        self._rows: dict[str, tuple[int, bytes]] = {}
        self._gone: dict[str, int] = {}
        self._made: dict[int, bytes | None] = {}

    def put(self, name: str, section: object) -> None:
        """Set a section; it is sent if it is another one than before."""
        self._set(self._sections, name, _encoder.encode(section))

    def keep_sections(self, names: frozenset[str]) -> None:
        """Forget all other sections. Browsers that have one of them keep it."""
        for name in self._sections.keys() - names:
            del self._sections[name]

    def put_row(self, name: str, row: object) -> None:
        """Set a row of the table of pairs."""
        self._set(self._rows, name, _encoder.encode(row))
        self._gone.pop(name, None)

    def keep_rows(self, names: frozenset[str]) -> None:
        """Remove all other rows."""
        for name in self._rows.keys() - names:
            del self._rows[name]
            self._advance()
            self._gone[name] = self.version

    def rows_missing(self, names: tuple[str, ...]) -> list[str]:
        """Return those of ``names`` that have no row."""
        return [name for name in names if name not in self._rows]

    def changes(self, since: int) -> bytes | None:
        """Return what is newer than version ``since`` as a JSON object; None when nothing is."""
        if since not in self._made:
            self._made[since] = self._compose(since)
        return self._made[since]

    def _compose(self, since: int) -> bytes | None:
        if since >= self.version:
            return None
        sections = b",".join(
            f'"{name}":'.encode() + text for name, (at, text) in self._sections.items() if at > since
        )
        rows = b",".join(text for at, text in self._rows.values() if at > since)
        gone = _encoder.encode([name for name, at in self._gone.items() if at > since and since])
        return b'{"sections":{%b},"rows":[%b],"gone":%b}' % (sections, rows, gone)

    def _set(self, where: dict[str, tuple[int, bytes]], name: str, text: bytes) -> None:
        before = where.get(name)
        if before is None or before[1] != text:
            self._advance()
            where[name] = self.version, text

    def _advance(self) -> None:
        self.version += 1
        self._made.clear()
