"""Defines what is traded in this run: pairs, slots, shards. The supervisor writes it, every child reads it."""

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from arbshard.model.market import Leg, MarketRules, Pair
from arbshard.model.warning import CoinName, MarketWarning

NOT_LISTED = "it is not listed any more"
"""Why nothing is traded on a market that its venue does not list: one of the reasons in ``Universe.stopped``."""


class Universe(msgspec.Struct, frozen=True):
    """Holds all pairs of a run and the shard each belongs to.

    A pair may be in no shard: it is on its way from one to another, or out. Its books are still written.
    """

    fx: Leg
    """The market whose book is the FX rate (home quote per away quote)."""
    pairs: tuple[Pair, ...]
    shards: tuple[tuple[str, ...], ...]
    """Bases by shard number."""
    serial: int = 0
    """Grows by one with each change while the run goes on."""
    leaving: tuple[str, ...] = ()
    """Bases that are being closed and removed: nothing is entered, what is open is closed."""
    given_up: tuple[int, ...] = ()
    """Shards whose worker has ended and is not restarted: what it had under way may be taken over by any owner of
    the pair.
    """
    listed_ms: int = 0
    """When the venues were last asked what they list (wall time in ms); 0 where that is not asked again while
    running.
    """
    stopped: tuple[tuple[str, str, str], ...] = ()
    """(venue, symbol, why) of the run's markets that the venues do not list as trading."""
    warnings: tuple[MarketWarning, ...] = ()
    """What the venues warned of for the run's markets when they were last asked."""
    coin_names: tuple[CoinName, ...] = ()
    """Names of the run's coins in the listings."""
    revised: dict[str, int] = {}
    """The serial of the universe in which a pair's rules or fees last changed, by base."""

    def pairs_of(self, shard: int) -> tuple[Pair, ...]:
        """Return the pairs of ``shard``. Equal rules are one object: hundreds of markets share a venue's tick
        table.
        """
        mine = frozenset(self.shards[shard])
        return with_shared_rules(pair for pair in self.pairs if pair.base in mine)

    def owners(self) -> dict[str, int]:
        """Return the shard of each base that is in one."""
        return {base: shard for shard, bases in enumerate(self.shards) for base in bases}

    def unassigned(self) -> tuple[str, ...]:
        """Return the bases that are in no shard."""
        owned = self.owners()
        return tuple(pair.base for pair in self.pairs if pair.base not in owned)

    def legs(self) -> tuple[Leg, ...]:
        """Return every market of the run with its rules and fees, in the order of slots; the FX market is one of
        them.
        """
        legs = [self.fx, *(leg for pair in self.pairs for leg in (pair.home, pair.away))]
        return tuple(sorted(legs, key=lambda leg: leg.slot))

    def may_follow(self, before: "Universe") -> bool:
        """Return whether this may come after ``before``: later, and no pair straight from one shard to another.

        A pair of a shard that is given up may, because no process trades it any more.
        """
        owned = before.owners()
        leaps = [base for base, shard in self.owners().items() if owned.get(base, shard) != shard]
        return self.serial > before.serial and all(owned[base] in self.given_up for base in leaps)

    # Each of the following returns the next universe: the same with one change, and the next serial.

    def without_shard(self, bases: Iterable[str]) -> "Universe":
        """Return this with ``bases`` removed from their shards."""
        gone = frozenset(bases)
        shards = tuple(tuple(base for base in mine if base not in gone) for mine in self.shards)
        return replace(self, shards=shards, serial=self.serial + 1)

    def on_shards(self, places: dict[str, int]) -> "Universe":
        """Return this with each base of ``places`` in its shard, whatever it was in before."""
        shards = tuple(
            (
                *(base for base in mine if places.get(base, number) == number),
                *(base for base, shard in places.items() if shard == number and base not in mine),
            )
            for number, mine in enumerate(self.shards)
        )
        return replace(self, shards=shards, serial=self.serial + 1)

    def with_pairs(self, pairs: Iterable[Pair], found: "Universe | None" = None) -> "Universe":
        """Return this with new pairs, in no shard yet, and what the listing in which they were ``found`` states of
        them.
        """
        warnings, names = (found.warnings, found.coin_names) if found is not None else ((), ())
        return replace(
            self,
            pairs=(*self.pairs, *pairs),
            warnings=tuple(dict.fromkeys((*self.warnings, *warnings))),
            coin_names=tuple(dict.fromkeys((*self.coin_names, *names))),
            serial=self.serial + 1,
        )

    def without_pairs(self, bases: Iterable[str]) -> "Universe":
        """Return this without these pairs, which are in no shard."""
        gone = frozenset(bases)
        assert not gone & self.owners().keys(), gone
        return replace(
            self,
            pairs=tuple(pair for pair in self.pairs if pair.base not in gone),
            leaving=tuple(base for base in self.leaving if base not in gone),
            revised={base: serial for base, serial in self.revised.items() if base not in gone},
            serial=self.serial + 1,
        )

    def with_leaving(self, leaving: Iterable[str]) -> "Universe":
        """Return this with these bases leaving, and no others."""
        return replace(self, leaving=tuple(leaving), serial=self.serial + 1)

    def with_listing(
        self,
        pairs: Iterable[Pair],
        fx: Leg,
        stopped: Iterable[tuple[str, str, str]],
        listed_ms: int,
        warnings: Iterable[MarketWarning] = (),
        coin_names: Iterable[CoinName] = (),
    ) -> "Universe":
        """Return this with ``pairs`` in place of those with the same base, and with what the venues list now."""
        serial, changed = self.serial + 1, {pair.base: pair for pair in pairs}
        return replace(
            self,
            fx=fx,
            pairs=tuple(changed.get(pair.base, pair) for pair in self.pairs),
            serial=serial,
            listed_ms=listed_ms,
            stopped=tuple(stopped),
            warnings=tuple(warnings),
            coin_names=tuple(coin_names),
            revised={**self.revised, **dict.fromkeys(changed, serial)},
        )

    def with_given_up(self, shards: Iterable[int]) -> "Universe":
        """Return this with these shards given up, and no others."""
        return replace(self, given_up=tuple(sorted(shards)), serial=self.serial + 1)


def with_shared_rules(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """Return ``pairs`` with equal rules as one object."""
    rules: dict[MarketRules, MarketRules] = {}

    def shared(leg: Leg) -> Leg:
        return replace(leg, rules=rules.setdefault(leg.rules, leg.rules))

    return tuple(replace(pair, home=shared(pair.home), away=shared(pair.away)) for pair in pairs)
