"""Decides whether both markets of a pair trade the same coin: names, prices, and what a person has confirmed. Pure.

Equal tickers prove little: a venue may use another coin's ticker, count a coin by the thousand, or go over to a new
coin while the other one trades the old. Risk knows this of a pair:

- the ratio of its prices, home over away converted, at each sample. It must be within ``symbols.price_ratio_max`` of
  1, or of the ratio that a person has confirmed;
- the names that listing and wallets give the coin. Names that have nothing in common are a reason for doubt only
  while the pair was never traded, because venues write names as they like.

A doubted pair enters nothing (618) until a person confirms it. A pair whose ratio was within its bounds, now or when
it was traded before, and leaves them for ``symbols.price_ratio_s``, is set apart.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from difflib import SequenceMatcher

from arbshard.config import SymbolsConfig
from arbshard.ledger.events import CoinConfirmed, Event
from arbshard.model.market import Direction, Leg, Pair
from arbshard.model.money import plain
from arbshard.model.refusal import Refusal
from arbshard.model.warning import CoinName
from arbshard.risk.operators import REASON_MAX
from arbshard.risk.portfolio.operator_state import set_apart
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.validation import Moment, Objection
from arbshard.wire.messages import CommandReply, ConfirmCoin, Denied, Done

_ALIKE_MIN = 0.6
_WORD_MIN = 4
"""Fewest letters of a word that is evidence when both names have it."""
_COMMON = frozenset(("coin", "token", "network", "protocol", "finance", "chain", "world", "simulated"))
_OTHER = re.compile(r"[^a-z0-9]+")


class CoinIdentity:
    """Judges the pairs of one core. The sampler of the books calls ``set_prices``."""

    def __init__(self, settings: SymbolsConfig, pairs: Mapping[str, Pair], state: PortfolioState) -> None:
        """Begin with ``pairs``: those that are traded, by base; changed in place."""
        self._settings = settings
        self._pairs = pairs
        self._state = state
        self._names: Mapping[tuple[str, str], CoinName] = {}
        self._ratios: dict[str, float] = {}
        self._within: set[str] = set()
        """Pairs whose ratio was within its bounds since this process began."""
        self._outside_ns: dict[str, int] = {}
        """Since when the ratio of a pair is outside its bounds (monotonic)."""

    def set_names(self, names: Iterable[CoinName]) -> None:
        """Use what the venues call the coins."""
        self._names = {(one.venue, one.currency): one for one in names}

    def set_ratio(self, base: str, ratio: float, now_ns: int) -> None:
        """Note that the price of ``base`` at home is ``ratio`` times its price away, converted at the FX rate."""
        self._ratios[base] = ratio
        if self._is_within(base, ratio):
            self._outside_ns.pop(base, None)
            self._within.add(base)
        else:
            self._outside_ns.setdefault(base, now_ns)

    def is_usual(self, base: str, least: float, most: float) -> bool:
        """Return whether ``base`` is within its bounds, and ratios from ``least`` to ``most`` are."""
        return base not in self._outside_ns and self._is_within(base, least) and self._is_within(base, most)

    def ratio_of(self, base: str) -> Decimal | None:
        """Return the newest ratio of ``base``; None before the first."""
        ratio = self._ratios.get(base)
        return None if ratio is None else Decimal(f"{ratio:.6g}")

    def objection(self, pair: Pair, direction: Direction, moment: Moment) -> Objection | None:
        """Refuse the pair with 618 while its two markets may trade different coins; None when it may be entered."""
        del direction, moment
        doubt = self._doubt(pair)
        if not doubt:
            return None
        advice = f"once you are sure, 'arbshard symbols confirm {pair.base} --reason ...'"
        return Objection(Refusal.IDENTITY_DOUBTED, f"{pair.base}: {doubt}; {advice}")

    def confirm(self, command: ConfirmCoin, moment: Moment) -> tuple[CommandReply, list[Event]]:
        """Return the answer and the event when a person says that both markets trade the same coin."""
        pair = next((pair for pair in self._pairs.values() if pair.answers_to(command.symbol)), None)
        if pair is None:
            return Denied(f"{command.symbol} is not traded in this run"), []
        ratio = self.ratio_of(pair.base)
        known = (
            "its price ratio is not known yet"
            if ratio is None
            else f"its price ratio of {plain(ratio)} is usual"
        )
        is_apart = pair.base in self._state.standing.apart
        more = f"; it stays set apart until 'arbshard resume {pair.base}'" if is_apart else ""
        reason = command.reason[:REASON_MAX] or "by hand"
        event = CoinConfirmed(at_ms=moment.now_ms, pair=pair.base, ratio=ratio or Decimal(1), reason=reason)
        return Done(
            f"{pair.home.market} and {pair.away.market} trade the same coin, {known} from now on{more}"
        ), [event]

    def tick(self, moment: Moment) -> list[Event]:
        """Set pairs apart whose ratio was within its bounds and has been outside for long."""
        events: list[Event] = []
        for base, since_ns in self._outside_ns.items():
            if self._is_within(base, self._ratios[base]):
                continue  # it is within by what a person has confirmed since the last sample
            is_long = moment.now_ns - since_ns >= self._settings.price_ratio_s * 1e9
            if is_long and base in self._pairs and (base in self._within or self._was_traded(base)):
                reason = (
                    f"{self._ratio_text(base)}: the coin may have been swapped or redenominated at a venue"
                )
                events += set_apart(self._state.standing, base, "identity", reason, moment.now_ms)
        return events

    def _doubt(self, pair: Pair) -> str:
        base = pair.base
        if base in self._outside_ns and not self._is_within(base, self._ratios[base]):
            return self._ratio_text(base)
        if base in self._state.standing.confirmed or self._was_traded(base):
            return ""
        home, away = self._name(pair.home), self._name(pair.away)
        for leg, name in ((pair.home, home), (pair.away, away)):
            if name is not None and name.units != 1:
                return f"{leg.market.venue} counts it by {name.units:,}"
        if home is None or away is None or are_alike(home, away):
            return ""
        return f"{home.venue} calls it {home.name!r}, {away.venue} {away.name!r}"

    def _name(self, leg: Leg) -> CoinName | None:
        return self._names.get((leg.market.venue, leg.market.base))

    def _was_traded(self, base: str) -> bool:
        totals = self._state.results.lifetime.get(base)
        return totals is not None and totals.entries > 0

    def _reference(self, base: str) -> float:
        known = self._state.standing.confirmed.get(base)
        return float(known.ratio) if known is not None else 1.0

    def _is_within(self, base: str, ratio: float) -> bool:
        most = self._settings.price_ratio_max
        return 1 / most <= ratio / self._reference(base) <= most

    def _ratio_text(self, base: str) -> str:
        most, usual = self._settings.price_ratio_max, self._reference(base)
        return (
            f"its price at home is {self._ratios[base]:.4g} times that away, "
            f"{usual / most:.3g} to {usual * most:.3g} times are allowed"
        )


def are_alike(one: CoinName, other: CoinName) -> bool:
    """Return whether two names may be those of one coin. A missing name, or one that is the ticker, may be of any."""
    first, second = _words(one.name), _words(other.name)
    for words, name in ((first, one), (second, other)):
        if not words or "".join(words) == name.currency.lower():
            return True
    joined, joined_other = "".join(first), "".join(second)
    if joined in joined_other or joined_other in joined:
        return True
    if any(len(word) >= _WORD_MIN and word not in _COMMON for word in first if word in second):
        return True
    return SequenceMatcher(None, joined, joined_other, autojunk=False).ratio() >= _ALIKE_MIN


def _words(name: str) -> list[str]:
    return [word for word in _OTHER.split(name.lower()) if word]
