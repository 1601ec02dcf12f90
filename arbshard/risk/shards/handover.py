"""What a worker is told to carry on with: when it begins, and when pairs come to it. Pure; owned by ``core``."""

from arbshard.model.market import Pair
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.reconcile.reconciler import Reconciler
from arbshard.risk.shards.ownership import Ownership
from arbshard.wire.messages import Available, Refused, Welcome


class HandOver:
    """Reads the portfolio, and who owns which pair."""

    def __init__(self, state: PortfolioState, ownership: Ownership, accounts: Reconciler) -> None:
        self._state = state
        self._ownership = ownership
        self._accounts = accounts

    def welcome(self, named: tuple[str, ...], shard: int) -> Welcome:
        """All that the shard must know of those of ``named`` that are its own."""
        state = self._state
        bases = tuple(base for base in named if self._ownership.objection(base, shard) is None)
        available = dict.fromkeys(one for base in bases for one in self.free(self._ownership.pairs[base]))
        open_trades = (state.trades[state.busy[base]] for base in bases if base in state.busy)
        return Welcome(
            session=state.session,
            positions=tuple(one for base in bases for one in state.get_symbol_positions(base)),
            intents=tuple(trade.to_open_intent() for trade in open_trades),
            funded=tuple(base for base in bases if self._accounts.is_funded(base)),
            available=tuple(available),
            halted=state.standing.halt is not None,
            closing=tuple(state.standing.closing.items()),
            serial=state.standing.serial,
            residues=tuple((base, residue) for base in bases if (residue := state.results.residue_of(base))),
            tag=self._accounts.tag,
            strangers=tuple(base for base in named if base not in bases),
        )

    def adopt(self, named: tuple[str, ...], shard: int) -> Welcome | Refused:
        """Likewise, but of all of ``named`` or of none."""
        for base in named:
            objection = self._ownership.objection(base, shard)
            objection = objection or self._ownership.still_at_work(base, shard, self._state)
            if objection is not None:
                return Refused(*objection)
        return self.welcome(named, shard)

    def free(self, pair: Pair) -> Available:
        """What is left of the pair's four balances after all holds."""
        available = self._accounts.available
        home, away = pair.home.market, pair.away.market
        return (
            (home.venue, home.quote, available(home.venue, home.quote)),
            (home.venue, pair.base, available(home.venue, pair.base)),
            (away.venue, away.quote, available(away.venue, away.quote)),
            (away.venue, pair.base, available(away.venue, pair.base)),
        )
