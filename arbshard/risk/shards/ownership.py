"""Decides who may trade which pair: the shard that owns it, and its newest incarnation. Pure; ``core`` uses it.

``Ownership`` knows the newest universe. Its table of pairs is changed in place, because other parts of risk read it.
``HandOver`` states what a worker is to continue.
"""

from collections.abc import Callable, Iterable

from arbshard.config.run import SHARDS_MAX
from arbshard.ledger.events import Event, ShardFenced, ShardJoined
from arbshard.model.intent import Intent, Retry
from arbshard.model.market import Pair
from arbshard.model.refusal import Refusal
from arbshard.model.universe import Universe
from arbshard.risk.portfolio.state import PortfolioState, Shard
from arbshard.risk.validation import Objection, maker_of
from arbshard.wire.cluster import EPOCHS_PER_GRANT
from arbshard.wire.messages import Available, Hello, Refused, Request, Welcome

_EPOCHS_MAX = 2**31


class Ownership:
    """Knows the owners of one run's pairs."""

    def __init__(self, universe: Universe) -> None:
        self.universe = universe
        self.pairs: dict[str, Pair] = {}
        self._owners: dict[str, int] = {}
        self._leaving: frozenset[str] = frozenset()
        self.venues: frozenset[str] = frozenset()
        """The venues that the run trades on. Not recomputed for each question: there are as many as currencies."""
        self.set(universe)

    def set(self, universe: Universe) -> None:
        """Use the newest universe."""
        self.universe = universe
        self.pairs.clear()
        self.pairs.update((pair.base, pair) for pair in universe.pairs)
        self._owners = universe.owners()
        self._leaving = frozenset(universe.leaving)
        self.venues = frozenset(leg.market.venue for pair in universe.pairs for leg in (pair.home, pair.away))

    def objection(self, base: str, shard: int) -> Objection | None:
        """Return with 102 or 106 why a pair does not belong to this shard, or None."""
        if base not in self.pairs:
            return Objection(Refusal.UNKNOWN_PAIR, f"{base} is not traded in this run")
        owner = self._owners.get(base)
        if owner == shard:
            return None
        whose = "on its way to another shard" if owner is None else f"shard {owner}'s"
        return Objection(Refusal.NOT_OWNER, f"{base} is {whose}, not shard {shard}'s")

    def trade_objection(self, intent: Intent, shard: int) -> Objection | None:
        """Return why this shard may not make an intent (102, 106), or its pair is being taken out (606)."""
        objection = self.objection(intent.pair, shard)
        if objection is not None:
            return objection
        if intent.kind == "entry" and intent.pair in self._leaving:
            return Objection(Refusal.PAIR_CLOSING, f"{intent.pair} is being taken out")
        return None

    def still_at_work(self, base: str, shard: int, state: PortfolioState) -> Objection | None:
        """Return why a pair cannot be taken over yet (602): its former owner is not done."""
        intent_id = state.busy.get(base)
        maker = maker_of(intent_id) if intent_id is not None else None
        if maker is None or maker[0] == shard or maker[0] in self.universe.given_up:
            return None
        known = state.shards.get(maker[0])
        if known is None or known.epoch != maker[1] or known.is_fenced:
            return None  # an incarnation that has ended, or may do nothing any more
        return Objection(Refusal.PAIR_BUSY, f"{intent_id} is under way at shard {maker[0]}")


class HandOver:
    """States what a worker is to continue: when it begins, and when pairs come to it."""

    def __init__(
        self,
        state: PortfolioState,
        ownership: Ownership,
        available: Callable[[Pair], Available],
        retries: Callable[[str], Iterable[Retry]],
        tag: str,
    ) -> None:
        """Begin. ``available``: what a pair's orders may spend. ``tag``: that of the ledger.

        ``retries``: how a pair's next trades may be made, after some that achieved nothing.
        """
        self._state = state
        self._ownership = ownership
        self._available = available
        self._retries = retries
        self._tag = tag

    def welcome(self, named: tuple[str, ...], shard: int) -> Welcome:
        """Return all that the shard must know of those of ``named`` that are its own."""
        state = self._state
        bases = tuple(base for base in named if self._ownership.objection(base, shard) is None)
        pairs = self._ownership.pairs
        available = dict.fromkeys(one for base in bases for one in self._available(pairs[base]))
        open_trades = (state.trades[state.busy[base]] for base in bases if base in state.busy)
        return Welcome(
            session=state.session,
            positions=tuple(one for base in bases for one in state.get_symbol_positions(base)),
            intents=tuple(trade.to_open_intent() for trade in open_trades),
            funded=tuple(base for base in bases if state.is_funded(pairs[base])),
            available=tuple(available),
            halted=state.standing.halt is not None,
            stopped=state.standing.is_stopped,
            closing=tuple(state.standing.closing.items()),
            serial=state.standing.serial,
            residues=tuple((base, residue) for base in bases if (residue := state.results.residue_of(base))),
            tag=self._tag,
            retries=tuple((base, retry) for base in bases for retry in self._retries(base)),
            strangers=tuple(base for base in named if base not in bases),
            apart=tuple(state.standing.apart),
        )

    def adopt(self, named: tuple[str, ...], shard: int) -> Welcome | Refused:
        """Return the same for all of ``named``, or for none of them."""
        for base in named:
            objection = self._ownership.objection(base, shard)
            objection = objection or self._ownership.still_at_work(base, shard, self._state)
            if objection is not None:
                return Refused(*objection)
        return self.welcome(named, shard)


def greeting_objection(known: Shard | None, hello: Hello, grant: int | None = None) -> Objection | None:
    """Return why this incarnation may not begin; None when it may.

    ``grant`` is the number under which a host of a cluster may run the shard, 0 for no host; None without a cluster.
    """
    if not (0 <= hello.shard < SHARDS_MAX and 0 <= hello.epoch < _EPOCHS_MAX):
        return Objection(
            Refusal.MALFORMED, f"shard {hello.shard}, epoch {hello.epoch}: there is no such incarnation"
        )
    if grant is not None and hello.epoch // EPOCHS_PER_GRANT != grant:
        whose = f"is granted as {grant}" if grant else "is granted to no host"
        return Objection(Refusal.STALE_EPOCH, f"shard {hello.shard} {whose}, this is epoch {hello.epoch}")
    return _stale(hello, known.lowest) if known is not None and hello.epoch < known.lowest else None


def objection_to_speaker(known: Shard | None, request: Request) -> Objection | None:
    """Return why the sender of ``request`` is refused; None when it is the newest incarnation."""
    if known is None:
        detail = f"shard {request.shard} has not said hello, this is epoch {request.epoch}"
        return Objection(Refusal.STALE_EPOCH, detail)
    is_current = known.epoch == request.epoch and not known.is_fenced
    return None if is_current else _stale(request, known.lowest)


def joined(known: Shard | None, hello: Hello, now_ms: int) -> list[Event]:
    """Return the events of a greeting that is accepted."""
    if known is not None and hello.epoch <= known.epoch:
        return []  # it has joined before
    return [ShardJoined(at_ms=now_ms, shard=hello.shard, epoch=hello.epoch, pid=hello.pid)]


def fenced(known: Shard | None, shard: int, reason: str, now_ms: int) -> list[Event]:
    """Return the events of fencing a shard's incarnation; none when no incarnation may send requests for it."""
    if known is None or known.is_fenced:
        return []
    return [ShardFenced(at_ms=now_ms, shard=shard, epoch=known.epoch, reason=reason)]


def _stale(request: Request, lowest: int) -> Objection:
    detail = f"shard {request.shard} is at epoch {lowest}, this is epoch {request.epoch}"
    return Objection(Refusal.STALE_EPOCH, detail)
