"""A worker and risk as they run, on virtual time: books and the venues' answers are scripted, all else is real.

The rig plays the supervisor: it writes frames into shared memory, beats, and sets the phase of the run. Orders reach
the paper venue after its latency unless a script answers them in the venue's own words.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import NamedTuple, Self, cast

import msgspec
from msgspec.structs import replace
from typing_extensions import override

from arbshard.clock import Clock
from arbshard.config import Config, ExecutionConfig, PaperConfig
from arbshard.execution.executor import ExecutorFactory, Observer
from arbshard.execution.live.errors import understand
from arbshard.execution.paper_port import LateFills, PaperPort
from arbshard.execution.ports import BookPort, RiskPort
from arbshard.ledger.events import Event
from arbshard.ledger.store import LedgerStore
from arbshard.model.market import FeeSchedule, Leg, Market, MarketRules, Pair, TickBand
from arbshard.model.order import Order, OrderResult, OrderState
from arbshard.model.phase import Phase
from arbshard.model.risk_note import RiskNote, decode_risk_note
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.risk.assembly import Risk, RiskPorts
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.shm.doorbell import ShardNotifier
from arbshard.shm.pages import PageReader
from arbshard.wire.messages import Command, CommandReply, decode_command_reply, encode
from arbshard.wire.replies import Handler
from arbshard.wire.request import RequestClient
from arbshard.wire.serve import ReplyServer
from arbshard.worker.assembly import Worker, WorkerPorts
from arbshard.worker.spare import Assignment
from support.paper import KIND_PAPER
from support.virtual_time import LoopClock, VirtualLoop

FX_BID, FX_ASK = Decimal(1399), Decimal(1400)
FX_MID = (FX_BID + FX_ASK) / 2
AWAY_MID = Decimal(2)
HOME_MID = AWAY_MID * FX_MID
HALF_SPREAD = Decimal("0.0001")
FRAME_S = 0.5
STEP_S = 0.25
ORDER_KRW = 1_000_000
DUST_KRW = 100
"""Less than what a lot and a fee in coins leave over."""
VENUES = ("upbit", "binance")

Answer = Callable[[Order], OrderResult | None]
"""A venue's script: the answer to an order; None lets the paper venue match it."""


def config_of(**sections: dict[str, object]) -> Config:
    """The defaults, with nothing unkind by chance, and with ``sections`` of changed keys."""
    config = Config(mode="paper")
    given: dict[str, dict[str, object]] = {
        "paper": dict(KIND_PAPER),
        "ledger": {"archive_events": 0},
        "baseline": {"is_required": False},
        "strategy": {"rearm_pause_max_s": 0.0, "no_reversion_exits": 0},
    }
    for name, changes in sections.items():
        given.setdefault(name, {}).update(changes)
    changed = {name: replace(getattr(config, name), **changes) for name, changes in given.items()}
    return replace(config, **changed)


def refusing(status: int, body: str) -> Answer:
    """Refuse every order with this answer of HTTP, understood by the venue's own table."""

    def answer(order: Order) -> OrderResult:
        said = understand(order.market.venue, status, body.encode())
        assert said.meaning in ("rejected", "not_accepted"), said
        state: OrderState = "REJECTED" if said.meaning == "rejected" else "NOT_ACCEPTED"
        return OrderResult(order, state, detail=said.detail, fault=said.fault)

    return answer


def upbit_error(status: int, name: str) -> Answer:
    """Refuse every order as Upbit does."""
    return refusing(status, json.dumps({"error": {"name": name, "message": name.replace("_", " ")}}))


def binance_error(status: int, code: int, message: str) -> Answer:
    """Refuse every order as Binance does."""
    return refusing(status, json.dumps({"code": code, "msg": message}))


@dataclass
class Prices:
    """The true market of one pair."""

    gap_bps: float = 0.0
    """By how much home stands above what away is worth."""
    away_mid: Decimal = AWAY_MID
    size: float = 1e6
    live: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(VENUES, True))
    """Whether the connection to a venue is up; without it there are no frames either."""


@dataclass
class Sent:
    """One order that reached a venue."""

    at_s: float
    order: Order
    result: OrderResult


class Exposure(NamedTuple):
    """What was naked of a pair until its last order."""

    krw_max: Decimal
    krw_s: Decimal
    """KRW times seconds."""
    seconds: Decimal
    """How long more than dust was naked."""


class Rig:
    """One shard with its pairs. Use ``run``."""

    def __init__(self, folder: Path, config: Config, bases: tuple[str, ...]) -> None:
        self.clock = LoopClock()
        self.config = config
        self.files = RunFiles(folder)
        self.pairs = tuple(_pair(base, 1 + 2 * number) for number, base in enumerate(bases))
        self.universe = Universe(_leg("upbit", "KRW-USDT", "USDT", 0), self.pairs, (bases,))
        self.prices = {base: Prices() for base in bases}
        self.fx_bps = 0.0
        """By how much the FX book stands beside the rate at which the coins are priced."""
        self.answers: dict[str, Answer] = {}
        """Scripts by venue."""
        self.sent: list[Sent] = []
        self.phase = Phase.RUNNING
        self._opened = ExitStack()
        self._began_s = 0.0

    async def start(self) -> None:
        """Start risk and the worker, and wait until every pair has its inventory."""
        self._began_s = self.now_s
        self.files.config.write_bytes(msgspec.json.encode(self.config))
        self.files.universe.write_bytes(msgspec.json.encode(self.universe))
        slots = 1 + 2 * len(self.pairs)
        self.writer = self._opened.enter_context(
            contextlib.closing(BooksWriter.create(self.files.books, slots, epoch=1))
        )
        self.reader = self._opened.enter_context(contextlib.closing(BooksReader.attach(self.files.books)))
        self.notifier = self._opened.enter_context(
            contextlib.closing(ShardNotifier.create(self.files.dir, 0))
        )
        self.writer.set_phase(self.phase)
        self._supervise_once(frames=True)
        self.risk = self._opened.enter_context(
            Risk(self._risk_ports(), self.config, self.universe, self.reader)
        )
        self._risk_run = asyncio.ensure_future(self.risk.run())
        self._supervising = asyncio.ensure_future(self._supervise())
        self.worker = self._opened.enter_context(
            Worker(self._worker_ports(), self.config, self.universe, self.reader, Assignment(0, 1))
        )
        self.worker_run = asyncio.ensure_future(self.worker.run())
        await self.until(lambda: len(self.state.funded) == len(self.pairs), 10)
        self.coins_before = {base: self.coins(base) for base in self.prices}
        self.worth_before = self.worth()

    async def stop(self) -> None:
        """End both, whatever is open. Raises what ended them before."""
        for run in (self.worker_run, self._risk_run, self._supervising):
            if run.done():
                run.result()
            else:
                run.cancel()
        await asyncio.gather(self.worker_run, self._risk_run, self._supervising, return_exceptions=True)
        overdrawn = {account: one.total for account, one in self.state.balances.items() if one.total < 0}
        self._opened.close()
        assert not overdrawn, "on paper nobody lends us anything"

    @property
    def now_s(self) -> float:
        """Seconds since the start of the rig."""
        return asyncio.get_running_loop().time() - self._began_s

    @property
    def state(self) -> PortfolioState:
        """Risk's portfolio."""
        return self.risk.core.state

    def events(self) -> list[Event]:
        """The whole ledger."""
        return [event for _, event in self.store.events()]

    def note(self) -> RiskNote:
        """What risk shows to status."""
        with PageReader.attach(self.files.risk_page) as page:
            return decode_risk_note(page.note())

    def command(self, command: Command) -> CommandReply:
        """What a person orders."""
        (answer,) = self._handle([encode(command)])
        return decode_command_reply(answer)

    async def sleep(self, seconds: float) -> None:
        """Let time pass; what ended meanwhile is raised."""
        await asyncio.sleep(seconds)
        for run in (self.worker_run, self._risk_run, self._supervising):
            if run.done():
                run.result()

    async def until(self, condition: Callable[[], object], limit_s: float) -> float:
        """Wait for ``condition``; how many seconds it took. Fails when it does not come true within ``limit_s``."""
        began_s = self.now_s
        while not condition():
            waited_s = self.now_s - began_s
            assert waited_s <= limit_s, f"waited in vain for {waited_s:.1f} s"
            await self.sleep(STEP_S)
        return self.now_s - began_s

    async def open(self, base: str | None = None, gap_bps: float = -75.0) -> None:
        """Wait for a position of the pair (of every pair), bought on the gap that then stands."""
        bases = list(self.prices) if base is None else [base]
        for one in bases:
            self.prices[one].gap_bps = gap_bps
        await self.until(lambda: all(self.is_open(one) and one not in self.state.busy for one in bases), 10)
        self.sent.clear()

    def is_open(self, base: str) -> bool:
        """Whether the pair has an open position."""
        return bool(self.state.get_symbol_positions(base))

    def worth(self) -> Decimal:
        """All balances at fixed prices: what trading has cost or brought is the change of it."""
        rates = {"KRW": Decimal(1), "USDT": FX_MID}
        balances = self.state.balances.items()
        return sum((balance.total * rates.get(coin, HOME_MID) for (_, coin), balance in balances), Decimal(0))

    def coins(self, base: str) -> Decimal:
        """Coins on both venues together."""
        balances = self.state.balances.items()
        return sum((balance.total for (_, coin), balance in balances if coin == base), Decimal(0))

    def naked(self, base: str) -> Decimal:
        """What is naked of the pair now, in KRW; negative when coins are missing."""
        return (self.coins(base) - self.coins_before[base]) * HOME_MID

    def count_sent(self, venue: str) -> int:
        """Orders that reached ``venue`` since the position was opened."""
        return sum(sent.order.market.venue == venue for sent in self.sent)

    def exposure(self, base: str) -> "Exposure":
        """What was naked of the pair since the position was opened, by the fills as they came."""
        net = most = krw_s = seconds = Decimal(0)
        before_s = 0.0
        for sent in self.sent:
            if sent.order.market.base != base:
                continue
            passed_s = Decimal(repr(sent.at_s - before_s))
            krw_s += abs(net) * HOME_MID * passed_s
            seconds += passed_s if abs(net) * HOME_MID > DUST_KRW else 0
            changes = (change for fill in sent.result.fills for change in fill.changes())
            net += sum((amount for coin, amount in changes if coin == base), Decimal(0))
            most = max(most, abs(net) * HOME_MID)
            before_s = sent.at_s
        return Exposure(most, krw_s, seconds)

    async def show_wrong(self, base: str, venue: str, bps: float, seconds: float = 0.005) -> None:
        """Send a book that is sound in itself and ``bps`` off, and after ``seconds`` the right one."""
        (pair,) = (pair for pair in self.pairs if pair.base == base)
        factor = 1 + Decimal(repr(bps)) / 10_000
        now_ns = self.clock.monotonic_ns()
        self._write(pair.leg(venue).slot, self._frame(pair.leg(venue), self.prices[base], factor), now_ns)
        await self.sleep(seconds)
        now_ns = self.clock.monotonic_ns()
        self._write(pair.leg(venue).slot, self._frame(pair.leg(venue), self.prices[base]), now_ns)

    def publish(self) -> None:
        """Send the books as they are now, and not with the next frames."""
        self._supervise_once(frames=True)

    async def _supervise(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(STEP_S)
            turn += 1
            self._supervise_once(frames=turn % round(FRAME_S / STEP_S) == 0)

    def _supervise_once(self, *, frames: bool) -> None:
        now_ns = self.clock.monotonic_ns()
        self.writer.beat(now_ns)
        self.writer.set_phase(self.phase)
        if not frames:
            return
        fx_mid = FX_MID * (1 + Decimal(repr(self.fx_bps)) / 10_000)
        self._write(0, _upbit_frame("KRW-USDT", fx_mid, Decimal("0.5"), 1e9), now_ns)
        for pair in self.pairs:
            prices = self.prices[pair.base]
            for leg in (pair.home, pair.away):
                if prices.live[leg.market.venue]:
                    self._write(leg.slot, self._frame(leg, prices), now_ns)
                elif self.reader.live(leg.slot):
                    self.writer.set_live(leg.slot, False)
                    self.notifier.push(leg.slot)

    @staticmethod
    def _frame(leg: Leg, prices: Prices, factor: Decimal = Decimal(1)) -> bytes:
        """The book of a market, its prices multiplied by ``factor``."""
        market = leg.market
        if market.venue == "binance":
            return _binance_frame(market.symbol, prices.away_mid * factor, prices.size)
        mid = prices.away_mid * FX_MID * (1 + Decimal(repr(prices.gap_bps)) / 10_000) * factor
        return _upbit_frame(market.symbol, mid, mid * HALF_SPREAD, prices.size)

    def _write(self, slot: int, frame: bytes, now_ns: int) -> None:
        self.writer.write(slot, frame, now_ns)
        if not self.reader.live(slot):
            self.writer.set_live(slot, True)
        self.notifier.push(slot)

    def _risk_ports(self) -> RiskPorts:
        def open_ledger() -> LedgerStore:
            self.store = LedgerStore.open(
                self.files.dir / "ledger.sqlite", name="rig", mode="sim-paper", now_ms=self.clock.wall_ms()
            )
            return self.store

        return RiskPorts(
            clock=self.clock,
            files=self.files,
            pid=os.getpid(),
            run="rig",
            is_orphan=lambda: False,
            open_ledger=open_ledger,
            listen=self._listen,
            tick_s=0.5,
        )

    def _listen(self, handler: Handler, _: int) -> ReplyServer:
        self._handle = handler
        return cast("ReplyServer", _Server())

    def _worker_ports(self) -> WorkerPorts:
        return WorkerPorts(
            clock=self.clock,
            files=self.files,
            pid=os.getpid(),
            is_orphan=lambda: False,
            connect=lambda *_: cast("RequestClient", _Client(self._handle)),
            make_executors=lambda *parts: _Executors(self, *parts),
            timer_s=STEP_S,
        )


class _Server:
    """The server of risk's requests, without a socket."""

    requests = batches = unsent = bad = 0

    def start(self, on_error: Callable[[Exception], None]) -> None:
        pass

    def serve(self) -> None:
        """Answer nothing: ``_Client`` hands each question to risk itself."""

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Client:
    """Implements ``worker.risk_link.RiskTransport``: every question is answered a millisecond later."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle

    async def request(self, payload: bytes, *, priority: int = 0) -> bytes:
        del priority
        await asyncio.sleep(0.001)
        (reply,) = self._handle([payload])
        return reply

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Executors(ExecutorFactory):
    """Paper executors whose venues answer by the rig's scripts."""

    def __init__(
        self,
        rig: Rig,
        risk: RiskPort,
        books: BookPort,
        execution: ExecutionConfig,
        clock: Clock,
        observer: Observer,
    ) -> None:
        super().__init__(risk, books, execution, clock, observer)
        self._rig = rig

    @override
    def _create_paper_port(self, pair: Pair, paper: PaperConfig) -> PaperPort:
        return _Port(self._rig, pair, paper, self._books, LateFills(self._risk, Random(1)))


class _Port(PaperPort):
    """The paper venue, unless a script answers first."""

    def __init__(
        self, rig: Rig, pair: Pair, paper: PaperConfig, books: BookPort, late_fills: LateFills
    ) -> None:
        super().__init__(pair, paper, books, rig.clock, late_fills)
        self._rig = rig

    @override
    async def send(self, order: Order) -> OrderResult:
        script = self._rig.answers.get(order.market.venue)
        answer = script(order) if script is not None else None
        if answer is None:
            answer = await super().send(order)
        else:
            await asyncio.sleep(self._rig.config.paper.latency_ms / 1000)
        self._rig.sent.append(Sent(self._rig.now_s, order, answer))
        return answer


def run(
    folder: Path,
    work: Callable[[Rig], Awaitable[None]],
    *,
    bases: tuple[str, ...] = ("AAA",),
    **sections: dict[str, object],
) -> None:
    """Run ``work(rig)`` with a worker and risk that have started, on virtual time."""

    async def whole() -> None:
        rig = Rig(folder, config_of(**sections), bases)
        await rig.start()
        try:
            await work(rig)
        finally:
            await rig.stop()

    loop = VirtualLoop()
    try:
        loop.run_until_complete(whole())
    finally:
        loop.close()


def _pair(base: str, slot: int) -> Pair:
    return Pair(
        base, _leg("upbit", f"KRW-{base}", base, slot), _leg("binance", f"{base}USDT", base, slot + 1)
    )


def _leg(venue: str, symbol: str, base: str, slot: int) -> Leg:
    """With the minimum orders and fees of the real venues, and ticks too fine to matter."""
    is_home = venue == "upbit"
    fee_bps = Decimal(5 if is_home else 10)
    lot = Decimal("0.00000001" if is_home else "0.00001")
    return Leg(
        Market(venue, symbol, base, "KRW" if is_home else "USDT"),
        MarketRules(
            ticks=(TickBand(Decimal(0), Decimal("0.01" if is_home else "0.00001")),),
            lot=lot,
            quantity_min=lot,
            notional_min=Decimal(5000 if is_home else 5),
            notional_max=Decimal(1_000_000_000 if is_home else 9_000_000),
        ),
        FeeSchedule(fee_bps, fee_bps, buy_fee_in_base=not is_home),
        slot,
    )


def _levels(mid: Decimal, half: Decimal, digits: str) -> Iterator[tuple[str, str]]:
    """(bid, ask) from the best on."""
    for number in range(3):
        away = half * (1 + number)
        yield str((mid - away).quantize(Decimal(digits))), str((mid + away).quantize(Decimal(digits)))


@lru_cache
def _upbit_frame(symbol: str, mid: Decimal, half: Decimal, size: float) -> bytes:
    units = [
        {"ask_price": float(ask), "bid_price": float(bid), "ask_size": size, "bid_size": size}
        for bid, ask in _levels(mid, half, "0.01")
    ]
    frame = {"type": "orderbook", "code": symbol, "timestamp": 1_795_000_000_000, "orderbook_units": units}
    return json.dumps({**frame, "level": 0}, separators=(",", ":")).encode()


@lru_cache
def _binance_frame(symbol: str, mid: Decimal, size: float) -> bytes:
    levels = list(_levels(mid, mid * HALF_SPREAD, "0.00001"))
    data = {
        "lastUpdateId": 1,
        "bids": [[bid, str(size)] for bid, _ in levels],
        "asks": [[ask, str(size)] for _, ask in levels],
    }
    frame = {"stream": f"{symbol.lower()}@depth20@100ms", "data": data}
    return json.dumps(frame, separators=(",", ":")).encode()
