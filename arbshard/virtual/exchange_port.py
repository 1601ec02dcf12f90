"""The worker's way to the simulated exchanges: the paper venue, behind an exchange that keeps a record of its own.

What the paper venue executes is put down at the exchange at that instant, for the oracle. An order that sells more
coins or spends more money than the account has is refused, as an exchange does and the paper venue does not. Now and
then (``Weather.late_share``) the exchange tells an order's end before its last execution, as venues do whose order
and trade channels differ; the execution is then told to risk while the intent is still open. An intent is not
concluded while such news is on its way: what is told after that is a matter of the venues' statements, which are not
simulated.
"""

import asyncio
from collections.abc import Callable, Iterable
from decimal import Decimal
from random import Random
from typing import Protocol

from msgspec.structs import replace

from arbshard.clock import Clock
from arbshard.config import ExecutionConfig, PaperConfig
from arbshard.execution.executor import ExecutorFactory, Observer, PaperExecutor
from arbshard.execution.paper_port import PaperPort
from arbshard.execution.ports import BookPort, OrderPort, RiskPort
from arbshard.model.intent import ApartCause, FxQuote, Intent
from arbshard.model.market import Leg, Pair
from arbshard.model.order import Order, OrderResult
from arbshard.virtual.executions import Execution
from arbshard.virtual.loop import VirtualProcess
from arbshard.virtual.unkind import OrderRefusal
from arbshard.virtual.weather import Weather
from arbshard.wire.messages import Approved, Refused, Settled
from arbshard.worker.risk_link import Fenced

_REFUSED_S = 0.02
_LATE_S = (0.005, 0.6)
_TOLD_MIN = 2
"""Executions that an order has at least when one of them is told late: half an order unheard of is another fault."""


class ExecutionRecord(Protocol):
    """The exchanges' own books: ``oracle.Oracle``."""

    def executed(self, fill_id: str, execution: Execution) -> None:
        """An order was executed, in part or whole."""
        ...

    def has_coins(self, order: Order) -> bool:
        """Whether the account can deliver what ``order`` sells, or pay for what it buys."""
        ...


class LateNews:
    """What the exchange has yet to tell of orders that are over. Stands between executors and risk."""

    def __init__(self, risk: RiskPort, random: Random) -> None:
        self._risk = risk
        self._random = random
        self._pending: dict[str, list[asyncio.Task[None]]] = {}

    def tell_late(self, result: OrderResult) -> None:
        """Let ``result`` be told in a while."""
        intent_id = result.order.client_id.rpartition("-")[0]
        telling = asyncio.ensure_future(self._tell(intent_id, result))
        self._pending.setdefault(intent_id, []).append(telling)

    async def _tell(self, intent_id: str, result: OrderResult) -> None:
        await asyncio.sleep(self._random.uniform(*_LATE_S))
        try:
            await self._risk.report(intent_id, result)
        except Fenced:
            return  # the worker's own fence ends it; its successor owns the intent

    async def submit(self, intent: Intent) -> Approved | Refused:
        """Ask risk for approval."""
        return await self._risk.submit(intent)

    async def extend(self, intent_id: str, order: Order) -> Approved | Refused:
        """Have risk record a further order."""
        return await self._risk.extend(intent_id, order)

    async def report(self, intent_id: str, result: OrderResult) -> None:
        """Tell risk how an order stands."""
        await self._risk.report(intent_id, result)

    async def set_apart(self, pair: str, cause: ApartCause, reason: str, intent_id: str) -> None:
        """Have risk set the pair apart."""
        await self._risk.set_apart(pair, cause, reason, intent_id)

    async def conclude(self, intent_id: str, mark: Decimal, fx: FxQuote, *, done: bool) -> Settled:
        """Conclude the intent at risk, once all late news of it is told."""
        await asyncio.gather(*self._pending.pop(intent_id, ()))
        return await self._risk.conclude(intent_id, mark, fx, done=done)


class ExchangePort:
    """An ``OrderPort``: an order meets the paper venue, and the exchange records what comes of it."""

    def __init__(
        self,
        venue: OrderPort,
        news: LateNews,
        holder: VirtualProcess,
        weather: Weather,
        random: Random,
        account: ExecutionRecord,
        refusal: Callable[[Order], OrderRefusal | None],
    ) -> None:
        """``refusal`` is asked for each order whether the exchange refuses it."""
        self._refusal = refusal
        self._venue = venue
        self._news = news
        self._holder = str(holder.pid)
        self._weather = weather
        self._random = random
        self._account = account

    def add_legs(self, legs: Iterable[Leg]) -> None:
        """Go by the rules and fees of these legs from now on."""
        self._venue.add_legs(legs)

    async def send(self, order: Order) -> OrderResult:
        """Send an order and wait for its end, as the exchange tells it at first."""
        refused = self._refusal(order)
        if refused is not None:
            await asyncio.sleep(_REFUSED_S)
            return OrderResult(order, refused.state, detail=refused.code, fault=refused.fault)
        if not self._account.has_coins(order):
            await asyncio.sleep(_REFUSED_S)
            return OrderResult(
                order, "REJECTED", detail="the account has too few coins for this order", fault="funds"
            )
        result = await self._venue.send(order)
        market, count = order.market, len(result.fills)
        is_late = count >= _TOLD_MIN and self._random.random() < self._weather.late_share
        for number, fill in enumerate(result.fills, 1):
            self._account.executed(
                fill.fill_id,
                Execution(
                    order.client_id, self._holder, market.venue, market.symbol, market.base, market.quote, order.side,
                    fill.quantity, fill.price, is_late and number == count,
                ),
            )  # fmt: skip
        if not is_late:
            return result
        self._weather.late += 1
        told = replace(result, state="EXPIRED", fills=result.fills[:-1])
        self._news.tell_late(replace(told, fills=result.fills))
        return told

    async def ask(self, order: Order) -> OrderResult:
        """Ask how an order stands."""
        return await self._venue.ask(order)


class ExchangeExecutors(ExecutorFactory):
    """Makes executors that trade by way of the exchange."""

    def __init__(
        self,
        risk: RiskPort,
        books: BookPort,
        execution: ExecutionConfig,
        clock: Clock,
        observer: Observer,
        holder: VirtualProcess,
        weather: Weather,
        account: ExecutionRecord,
        refusal: Callable[[Order], OrderRefusal | None],
    ) -> None:
        self._refusal = refusal
        super().__init__(risk, books, execution, clock, observer)
        self._holder = holder
        self._weather = weather
        self._account = account

    def create_paper_executor(self, pair: Pair, paper: PaperConfig) -> PaperExecutor:
        """A new executor for ``pair``, in place of any it had; it trades by way of the exchange."""
        random = Random(f"{paper.seed}:{pair.base}:{self._holder.pid}")
        news = LateNews(self._risk, random)
        venue = PaperPort(pair, paper, self._books)
        port = ExchangePort(venue, news, self._holder, self._weather, random, self._account, self._refusal)
        executor = PaperExecutor(pair, port, news, self._books, self._execution, self._clock, self._observer)
        self._executors[pair.base] = executor
        return executor
