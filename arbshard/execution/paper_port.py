"""The way to the paper venue: waits out the latency, then matches against the book of that moment."""

import asyncio
from collections.abc import Iterable
from random import Random

from arbshard.config import PaperConfig
from arbshard.engine.edge import walk
from arbshard.execution.paper import PaperVenue
from arbshard.execution.ports import BookPort
from arbshard.model.market import Leg, Market, Pair
from arbshard.model.money import ZERO, exact
from arbshard.model.order import Order, OrderResult


class PaperPort:
    """An ``OrderPort`` that reaches nobody."""

    def __init__(self, pair: Pair, paper: PaperConfig, books: BookPort) -> None:
        self._books = books
        self._venues: dict[Market, tuple[Leg, PaperVenue]] = {
            leg.market: (leg, PaperVenue(leg, paper, Random(f"{paper.seed}:{leg.market}")))
            for leg in (pair.home, pair.away)
        }

    def add_legs(self, legs: Iterable[Leg]) -> None:
        """Go by the rules and fees of these legs from now on."""
        for leg in legs:
            _, venue = self._venues[leg.market]
            venue.leg = leg
            self._venues[leg.market] = leg, venue

    async def send(self, order: Order) -> OrderResult:
        """See ``OrderPort``. Always final: an IOC order rests nowhere."""
        leg, venue = self._venues[order.market]
        promised = self._books.tradable(leg)
        price = ZERO
        if promised is not None:
            levels = promised.asks if order.side == "buy" else promised.bids
            price = exact(round(walk(levels, float(order.quantity)).price, 12))
        await asyncio.sleep(venue.latency_ms() / 1000)
        return venue.match(order, self._books.tradable(leg), price)

    async def ask(self, order: Order) -> OrderResult:
        """See ``OrderPort``. A paper order that is not known to have filled died with the process it was in."""
        return OrderResult(order, "EXPIRED", detail="the process that held this paper order has ended")
