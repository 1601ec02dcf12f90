"""Defines the section ``[symbols]``: which coins of both venues are the same, and when that is doubted."""

from typing import Annotated

from msgspec import Meta

from arbshard.config.section import Positive, Section, matching

CoinPair = Annotated[
    str,
    matching(
        r"^[a-z0-9]+:[A-Z0-9]+ [a-z0-9]+:[A-Z0-9]+\Z", "must name two coins, as in 'upbit:AAA binance:BBB'"
    ),
]
"""``upbit:AAA binance:BBB``: a coin of one venue and one of the other, each by its ticker there."""


class SymbolsConfig(Section, frozen=True):
    """Sets which coins are the same. Equal tickers are, unless a setting says otherwise."""

    aliases: tuple[CoinPair, ...] = ()
    """The same coin under two tickers, one unit for one unit."""
    homonyms: tuple[CoinPair, ...] = ("upbit:TON binance:TON",)
    """Different coins under one ticker: never paired."""
    price_ratio_max: Annotated[float, Meta(gt=1, le=100)] = 1.3
    """How many times the price away, converted, the price at home may be, or the reverse."""
    price_ratio_s: Positive = 30.0
    """A pair whose prices were within that ratio and are outside of it for so many seconds is set apart."""

    def home_ticker(self, home: str, away: str, ticker: str) -> str | None:
        """Return the ticker at ``home`` of what is ``ticker`` at ``away``; None where it must not be paired."""
        for home_coin, away_coin in map(_coins, self.aliases):
            if away_coin == (away, ticker) and home_coin[0] == home:
                return home_coin[1]
            if home_coin == (home, ticker) and away_coin[0] == away:
                return None  # that ticker at home belongs to another one away
        return None if ((home, ticker), (away, ticker)) in map(_coins, self.homonyms) else ticker


def _coins(text: str) -> tuple[tuple[str, str], tuple[str, str]]:
    first, second = text.split(" ")
    return _coin(first), _coin(second)


def _coin(text: str) -> tuple[str, str]:
    venue, _, ticker = text.partition(":")
    return venue, ticker
