"""Finds what is wrong with shards, and what it leaves unattended, for ``collect``. Pure."""

from collections.abc import Iterator, Sequence

from arbshard.model.risk_note import PositionNote
from arbshard.model.universe import Universe
from arbshard.status.model import Problem, ShardStatus

_NAMED = 8
"""Number of pairs that are named in a line."""


_ENDING = ("draining", "drained", "ended")
"""States of shards while a run ends in order."""


def problems_of_shards(
    shards: Sequence[ShardStatus], universe: Universe | None, *, is_ending: bool = False
) -> Iterator[Problem]:
    """Yield a problem for every shard that does not run.

    ``is_ending`` is whether the run ends in order, and its shards with it.
    """
    for shard in shards:
        # ``cluster.problems_of_cluster`` names the shards that no host holds.
        if shard.state in ("running", "elsewhere", "unplaced") or (is_ending and shard.state in _ENDING):
            continue
        pause = f" in {shard.again_in_s:g} s" if shard.state == "restarting" else ""
        why = f" (its worker {shard.reason})" if shard.reason else ""
        line = f"shard {shard.id} is {shard.state}{pause}{why}"
        if shard.state == "quarantined":
            bases = _bases(shard.id, universe)
            lost = f": {_listed(bases)} not traded" if bases else ""  # others may have its pairs by now
            line += f"{lost}; 'arbshard shards restart {shard.id}' starts it again"
        yield Problem("shard", str(shard.id), line)


def unattended_of(
    shards: Sequence[ShardStatus], universe: Universe | None, positions: Sequence[PositionNote]
) -> tuple[str, ...]:
    """Return the open positions of shards that were given up: no process closes them."""
    lost = {base for shard in shards if shard.state == "quarantined" for base in _bases(shard.id, universe)}
    return tuple(f"{position.pair} {position.position_id}" for position in positions if position.pair in lost)


def _bases(shard: int, universe: Universe | None) -> tuple[str, ...]:
    return universe.shards[shard] if universe is not None and shard < len(universe.shards) else ()


def _listed(bases: Sequence[str]) -> str:
    rest = f" and {len(bases) - _NAMED} more" if len(bases) > _NAMED else ""
    return f"{', '.join(bases[:_NAMED])}{rest} {'are' if len(bases) > 1 else 'is'}"
