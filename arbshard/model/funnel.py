"""``EdgeFunnel``: how far the edges of one pair came. Counted by the engine, published by the worker."""

import msgspec


class EdgeFunnel(msgspec.Struct, array_like=True):
    """Evaluations of a direction of a pair, and sums of their edges in basis points, at each stage.

    Only evaluations whose data were sound are counted, and only from the stage on at which the hot path has a branch.
    """

    wanted: int = 0
    """The net edge at the touch was what an entry must net, or more."""
    wanted_bps: float = 0.0
    """Sum of the net edges at the touch."""
    barred: int = 0
    """Of ``wanted``: a rule barred the direction, and the depth was not walked."""
    barred_bps: float = 0.0
    sized: int = 0
    """Of ``wanted``: the books were deep enough for an order that nets what an entry must net."""
    sized_bps: float = 0.0
    """Sum of the net edges of these orders."""
    decided: int = 0
    """Of ``sized``: no rule objected, and the entry was decided."""
    decided_bps: float = 0.0
    approved: int = 0
    """How many of ``decided`` risk has approved."""
    approved_bps: float = 0.0
