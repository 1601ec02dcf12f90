"""Connects the worker to the simulated exchanges: the paper venue, behind an exchange that keeps a record of its
own.

An execution by the paper venue is recorded at the exchange at that instant, for the oracle. An order that sells more
coins or spends more money than the account has is refused: an exchange does this, and the paper venue does not. Now
and then (at the rate ``late_share``) the exchange reports an order's end before its last execution, as venues do
whose order and trade channels differ; the execution is then reported to risk while the intent is still open. An
intent is not concluded while such a report is on its way: reports after that belong to the venues' statements, which
are not simulated.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Protocol

from typing_extensions import override

from arbshard.clock import Clock
from arbshard.config import ExecutionConfig, PaperConfig
from arbshard.execution.executor import ExecutorFactory, Observer
from arbshard.execution.paper import PaperVenue
from arbshard.execution.paper_port import LateFills, PaperPort
from arbshard.execution.ports import BookPort, RiskPort
from arbshard.model.market import Pair
from arbshard.model.order import Order, OrderResult
from arbshard.virtual.executions import Execution
from arbshard.virtual.loop import VirtualProcess
from arbshard.virtual.network_conditions import NetworkConditions
from arbshard.virtual.unkind import OrderRefusal

_REFUSED_S = 0.02
_REPORTED_MIN = 2
"""Least number of executions of an order of which one is reported late: half an order without a report is another
fault.
"""


class ExecutionRecord(Protocol):
    """Is the exchanges' own record, implemented by ``oracle.Oracle``."""

    def executed(self, fill_id: str, execution: Execution) -> None:
        """Record that an order was executed, in part or whole."""
        ...

    def has_coins(self, order: Order) -> bool:
        """Return whether the account can deliver what ``order`` sells, or pay for what it buys."""
        ...


class ExchangePort(PaperPort):
    """Is the paper venue behind an exchange that refuses some orders and records what happens to the others."""

    _KEEPS_ACCOUNTS = True

    def __init__(
        self,
        pair: Pair,
        paper: PaperConfig,
        books: BookPort,
        clock: Clock,
        late_fills: LateFills,
        holder: VirtualProcess,
        network: NetworkConditions,
        random: Random,
        account: ExecutionRecord,
        refusal: Callable[[Order], OrderRefusal | None],
    ) -> None:
        """Make a port. ``refusal`` returns for each order why the exchange refuses it, or None."""
        super().__init__(pair, paper, books, clock, late_fills)
        self._refusal = refusal
        self._holder = str(holder.pid)
        self._network = network
        self._random = random
        self._account = account

    @override
    async def send(self, order: Order) -> OrderResult:
        refused = self._refusal(order)
        if refused is not None:
            await asyncio.sleep(_REFUSED_S)
            return OrderResult(order, refused.state, detail=refused.code, fault=refused.fault)
        return await super().send(order)

    @override
    def _refusal_at_arrival(self, order: Order) -> OrderResult | None:
        if self._account.has_coins(order):
            return None
        return OrderResult(
            order, "REJECTED", detail="the account has too few coins for this order", fault="funds"
        )

    @override
    def _is_reported_late(self, venue: PaperVenue, result: OrderResult) -> bool:
        is_late = len(result.fills) >= _REPORTED_MIN and self._random.random() < self._network.late_share
        self._network.late += is_late
        return is_late

    @override
    def _record(self, result: OrderResult, *, is_reported_late: bool) -> None:
        order, market = result.order, result.order.market
        for number, fill in enumerate(result.fills, 1):
            self._account.executed(
                fill.fill_id,
                Execution(
                    order.client_id, self._holder, market.venue, market.symbol, market.base, market.quote, order.side,
                    fill.quantity, fill.price, is_reported_late and number == len(result.fills),
                ),
            )  # fmt: skip


class ExchangeExecutors(ExecutorFactory):
    """Makes executors that trade through the exchange."""

    def __init__(
        self,
        risk: RiskPort,
        books: BookPort,
        execution: ExecutionConfig,
        clock: Clock,
        observer: Observer,
        holder: VirtualProcess,
        network: NetworkConditions,
        account: ExecutionRecord,
        refusal: Callable[[Order], OrderRefusal | None],
    ) -> None:
        self._refusal = refusal
        super().__init__(risk, books, execution, clock, observer)
        self._holder = holder
        self._network = network
        self._account = account

    @override
    def _create_paper_port(self, pair: Pair, paper: PaperConfig) -> PaperPort:
        random = Random(f"{paper.seed}:{pair.base}:{self._holder.pid}")
        return ExchangePort(
            pair, paper, self._books, self._clock, LateFills(self._risk, random), self._holder, self._network, random,
            self._account, self._refusal,
        )  # fmt: skip
