"""What a batch has changed in memory, so that it can be taken back whole when the ledger cannot be written."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Journal:
    """All changes of the state go through here; each remembers how it is undone."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    def put(self, table: dict[Key, Value], key: Key, value: Value) -> None:
        """Set ``table[key]``."""
        if key in table:
            self._undo.append(partial(table.__setitem__, key, table[key]))
        else:
            self._undo.append(partial(table.__delitem__, key))
        table[key] = value

    def drop(self, table: dict[Key, Value], key: Key) -> None:
        """Remove ``table[key]``. Raises ``KeyError``."""
        self._undo.append(partial(table.__setitem__, key, table.pop(key)))

    def drop_oldest(self, table: OrderedDict[Key, Value]) -> Key:
        """Remove the oldest entry of ``table``; its key. Raises ``KeyError`` when there is none."""
        key, value = table.popitem(last=False)

        def undo() -> None:
            table[key] = value
            table.move_to_end(key, last=False)

        self._undo.append(undo)
        return key

    def assign(self, owner: object, name: str, value: object) -> None:
        """Set the attribute ``name`` of ``owner``."""
        self._undo.append(partial(setattr, owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has changed since the last commit or rollback."""
        return not self._undo

    def commit(self) -> None:
        """Keep the changes."""
        self._undo.clear()

    def rollback(self) -> None:
        """Take all changes since the last commit back."""
        while self._undo:
            self._undo.pop()()
