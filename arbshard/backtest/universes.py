"""Follows what is traded over a tape: pairs that come and go, other fees and rules, and what venues list.

A tape has the universe of its run at the beginning of each segment, and each later one as a row of its own. Here each
of them becomes one that a backtest can use after the one before: with one shard, with serials that go on over all
recordings, and with markets that keep their slots. Pure.
"""

from collections.abc import Collection, Iterable
from itertools import count

from msgspec.structs import replace

from arbshard.errors import UsageError
from arbshard.model.market import Leg, Pair
from arbshard.model.universe import Universe


class TapeUniverses:
    """Holds the universe of one moment of a tape."""

    def __init__(self, first: Universe, *, closes: bool = True) -> None:
        """Begin with the universe at the beginning of the tape.

        ``closes``: whether pairs that leave are closed for that. Otherwise they are closed when the recorded run did
        it.
        """
        self._closes = closes
        self.now = replace(self._in_one_shard(first), serial=0, revised={})

    def advance(self, found: Universe, venues: Collection[str]) -> Universe | None:
        """Continue with a universe that was ``found`` on the tape; return the one to be used, or None where nothing
        has changed.

        Raises ``UsageError`` for another FX market, or for a market of none of ``venues``.
        """
        now = self.now
        if found.fx.market != now.fx.market:
            raise UsageError(
                f"the tape changes the FX market from {now.fx.market.symbol} to {found.fx.market.symbol}: "
                "choose a part of it with only one of them (--from, --to)"
            )
        other = next((leg.market for leg in found.legs() if leg.market.venue not in venues), None)
        if other is not None:
            raise UsageError(
                f"a later recording of the tape trades {other.symbol} of {other.venue}, which the first does not "
                "trade: choose a part of the tape with the same venues (--from, --to)"
            )
        placed = _in_slots_of(now, self._in_one_shard(found))
        before = {pair.base: pair for pair in now.pairs}
        changed = [pair.base for pair in placed.pairs if before.get(pair.base, pair) != pair]
        serial = now.serial + 1
        stays = {base: since for base, since in now.revised.items() if base in _bases(placed.pairs)}
        if replace(placed, serial=now.serial, revised=now.revised) == now:
            return None
        self.now = replace(placed, serial=serial, revised={**stays, **dict.fromkeys(changed, serial)})
        return self.now

    def _in_one_shard(self, universe: Universe) -> Universe:
        """Return ``universe`` with one shard for all pairs that are in one; for all pairs where none is in any."""
        owned = universe.owners() or _bases(universe.pairs)
        bases = tuple(pair.base for pair in universe.pairs if pair.base in owned)
        leaving = tuple(base for base in universe.leaving if base in owned) if self._closes else ()
        return replace(universe, shards=(bases,), leaving=leaving, given_up=())


def all_pairs(universes: Iterable[Universe]) -> dict[str, Pair]:
    """Return every pair of any of ``universes`` by its base, each as it is in the last one that has it."""
    return {pair.base: pair for universe in universes for pair in universe.pairs}


def _in_slots_of(before: Universe, universe: Universe) -> Universe:
    """Return ``universe`` with each market in the slot that it has ``before``, and new ones in slots that are free
    there.
    """
    known = {leg.market: leg.slot for leg in before.legs()}
    taken = frozenset(known.values())
    free = (slot for slot in count() if slot not in taken)

    def placed(leg: Leg) -> Leg:
        slot = known.get(leg.market)
        return replace(leg, slot=next(free) if slot is None else slot)

    return replace(
        universe,
        fx=placed(universe.fx),
        pairs=tuple(replace(pair, home=placed(pair.home), away=placed(pair.away)) for pair in universe.pairs),
    )


def _bases(pairs: Iterable[Pair]) -> frozenset[str]:
    return frozenset(pair.base for pair in pairs)
