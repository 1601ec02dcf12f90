"""``EdgeFunnel`` shows how far the edges of one pair came. The engine counts, and the worker publishes it."""

import msgspec


class EdgeFunnel(msgspec.Struct, array_like=True):
    """Adds up evaluations of a direction of a pair, and sums their edges in basis points, at each stage.

    Only evaluations with sound data are counted, and only from the stage on at which the hot path has a branch.
    """

    wanted: int = 0
    """Number of evaluations in which the net edge at the touch was at least what an entry must net."""
    wanted_bps: float = 0.0
    """Sum of the net edges at the touch, in basis points."""
    barred: int = 0
    """Number of ``wanted`` in which a rule barred the direction, and the depth was not walked."""
    barred_bps: float = 0.0
    sized: int = 0
    """Number of ``wanted`` in which the books were deep enough for an order that nets what an entry must net."""
    sized_bps: float = 0.0
    """Sum of the net edges of these orders, in basis points."""
    decided: int = 0
    """Number of ``sized`` in which no rule objected, and the entry was decided."""
    decided_bps: float = 0.0
    approved: int = 0
    """Number of ``decided`` that risk has approved."""
    approved_bps: float = 0.0
