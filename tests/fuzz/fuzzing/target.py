"""``Target``: something that reads bytes, and what must hold whatever they are. Implemented beside it, run by
``campaign``.
"""

from collections.abc import Sequence
from typing import Protocol


class Defect(AssertionError):
    """What must always hold did not."""


class Target(Protocol):
    """Something that reads bytes."""

    name: str
    corpus: Sequence[bytes]
    """Good cases, to be mutated."""
    blind: float
    """Share of mutations that know nothing of what the bytes mean: few where a parser would take the others only."""

    def __call__(self, case: bytes) -> str:
        """Feed ``case``; in a word, what became of it. Whatever is raised is a finding."""
        ...

    def close(self) -> None:
        """Give everything back, and check what can only be checked at the end. Raises ``Defect``."""
        ...


def require(holds: bool, what: str) -> None:
    """Raises ``Defect``; unlike ``assert`` also under ``python -O``."""
    if not holds:
        raise Defect(what)
