"""What entries of a pair may spend, as four amounts, given to an engine and read from it."""

from typing import NamedTuple

from arbshard.engine.engine import ArbitrageEngine, PairState


class Funds(NamedTuple):
    """What is free on both venues of a pair."""

    home_quote: float
    home_base: float
    away_quote: float
    away_base: float


RICH = Funds(home_quote=1e9, home_base=10.0, away_quote=1e7, away_base=10.0)


def give(engine: ArbitrageEngine, state: PairState, funds: Funds = RICH) -> None:
    """Fund the pair, and have its entries spend ``funds``."""
    engine.free.update(zip(_accounts(state), funds, strict=True))
    state.is_funded = True


def funds_of(engine: ArbitrageEngine, state: PairState) -> Funds | None:
    """Return what the pair's entries may spend; None while it is not funded."""
    if not state.is_funded:
        return None
    return Funds(*(engine.free.get(account, 0.0) for account in _accounts(state)))


def _accounts(state: PairState) -> tuple[tuple[str, str], ...]:
    home, away = state.pair.home.market, state.pair.away.market
    return (
        (home.venue, home.quote),
        (home.venue, home.base),
        (away.venue, away.quote),
        (away.venue, away.base),
    )
