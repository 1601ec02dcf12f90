"""Collects what the venues warn of, and what the rules of ``[warnings]`` make of it for each pair. Pure; for
``core``.

Warnings of markets come with the universe, which the supervisor makes from the venues' listings. Those of wallets
come with the statements of the accounts process. Neither is stored: a listing is read before a run begins and stays
in the run directory, and live nothing is entered before every venue has stated the account. A venue that could not
state its wallets leaves what was known.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from arbshard.config import WarningRule, WarningsConfig
from arbshard.ledger.events import ClosesOrdered, Event
from arbshard.model.market import Direction, Pair
from arbshard.model.refusal import Refusal
from arbshard.model.universe import Universe
from arbshard.model.warning import CoinName, MarketWarning, WalletReport, WalletWarning
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.validation import Moment, Objection


class PairWarning(NamedTuple):
    """Is a warning that concerns a pair, with the rule for it."""

    pair: str
    warning: MarketWarning | WalletWarning
    rule: WarningRule

    @property
    def text(self) -> str:
        """Return what the venue states, for people."""
        one = self.warning
        if isinstance(one, MarketWarning):
            return f"{one.venue} warns of {one.symbol}: {one}"
        return f"{one.currency} at {one.venue}: {one}"


class VenueWarnings:
    """Holds the warnings of one core's pairs."""

    def __init__(self, config: WarningsConfig, pairs: Mapping[str, Pair], state: PortfolioState) -> None:
        """Begin with ``pairs``: those that are traded, by base; changed in place."""
        self._config = config
        self._pairs = pairs
        self._state = state
        self._markets: tuple[MarketWarning, ...] = ()
        self._listed_names: tuple[CoinName, ...] = ()
        self.wallets: dict[str, WalletReport] = {}
        """What each venue stated of its wallets last."""
        self.by_pair: dict[str, list[PairWarning]] = {}
        """All warnings that concern a pair, those first that bar most."""

    def set_universe(self, universe: Universe) -> None:
        """Use the warnings of the newest listing."""
        self._markets, self._listed_names = universe.warnings, universe.coin_names
        self._rebuild()

    def set_wallets(self, venue: str, report: WalletReport) -> None:
        """Use what ``venue`` states about its wallets. A report of a failed call changes only why it failed."""
        before = self.wallets.get(venue)
        if not report.at_ms and before is not None:
            report = WalletReport(before.at_ms, before.warnings, before.coin_names, report.problem)
        self.wallets[venue] = report
        if before is None or (report.warnings, report.coin_names) != (before.warnings, before.coin_names):
            self._rebuild()

    def coin_names(self) -> Iterator[CoinName]:
        """Return the names that listings and wallets give to the coins."""
        yield from self._listed_names
        for report in self.wallets.values():
            yield from report.coin_names

    def objection(self, pair: Pair, direction: Direction, moment: Moment) -> Objection | None:
        """Return why a venue's warning lets nothing be entered in either direction (616, 617); None if it does."""
        del direction, moment
        for one in self.by_pair.get(pair.base, ()):
            if one.rule != "ignore":
                is_market = isinstance(one.warning, MarketWarning)
                reason = Refusal.MARKET_WARNED if is_market else Refusal.WALLET_CLOSED
                return Objection(reason, f"{one.text} (rule {one.rule})")
        return None

    def closes(self, unclosable: Mapping[str, str], now_ms: int) -> list[Event]:
        """Return the order to close open pairs whose warning has the rule ``close``, once both venues can be used."""
        state, standing = self._state, self._state.standing
        pairs = tuple(
            base
            for base, found in self.by_pair.items()
            if found[0].rule == "close"
            and base not in standing.closing
            and base not in unclosable
            and base not in standing.apart
            and (state.per_symbol_positions.get(base) or base in state.busy)
        )
        return [ClosesOrdered(at_ms=now_ms, pairs=pairs, reason="warned")] if pairs else []

    def _rebuild(self) -> None:
        found: dict[str, list[PairWarning]] = {}
        for base, warning in self._concerned():
            rule = self._config.rule(warning.kind)
            found.setdefault(base, []).append(PairWarning(base, warning, rule))
        order = ("close", "no_entries", "ignore").index
        self.by_pair = {base: sorted(ones, key=lambda one: order(one.rule)) for base, ones in found.items()}

    def _concerned(self) -> Iterable[tuple[str, MarketWarning | WalletWarning]]:
        places: dict[tuple[str, str], str] = {}
        coins: dict[tuple[str, str], str] = {}
        for base, pair in self._pairs.items():
            for market in (pair.home.market, pair.away.market):
                places[market.venue, market.symbol] = base
                coins[market.venue, market.base] = base
        for warning in self._markets:
            if (warning.venue, warning.symbol) in places:
                yield places[warning.venue, warning.symbol], warning
        for report in self.wallets.values():
            for wallet in report.warnings:
                if (wallet.venue, wallet.currency) in coins:
                    yield coins[wallet.venue, wallet.currency], wallet
