"""A small world to trade in: two venues, a few coins, risk's core, and the worker's side of the talk."""

from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from pathlib import Path

import msgspec

from arbshard.config import BaselineConfig, Config, LimitsConfig
from arbshard.ledger.events import Event
from arbshard.ledger.store import LedgerStore
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.intent import EntryReason, ExitReason, FxQuote, Intent, IntentKind
from arbshard.model.market import (
    Direction,
    FeeSchedule,
    Leg,
    Market,
    MarketRules,
    Pair,
    Side,
    TickBand,
    opposite,
    reverse,
)
from arbshard.model.order import Fill, Order, OrderResult, OrderState
from arbshard.model.phase import Phase
from arbshard.model.position import Position
from arbshard.model.universe import Universe
from arbshard.risk.core import RiskCore, mode_of
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.wire.messages import (
    Approved,
    Command,
    CommandReply,
    Conclude,
    Fund,
    Hello,
    Reply,
    Report,
    Request,
    Settled,
    Statement,
    Submit,
)

NOW_MS = 1_795_000_000_000
HOME = "upbit"
AWAY = "binance"
HOME_PRICE = Decimal(1_000_000)
AWAY_PRICE = Decimal(700)
FX = FxQuote(Decimal(1399), Decimal(1401))
QUANTITY = Decimal("0.5")
BOTH_WAYS = Config(limits=LimitsConfig(edge_bps_min=-300.0), baseline=BaselineConfig(is_required=False))
"""Prices here are the same in both directions: an entry that buys at home loses 222 bps at its limits. Where the gap
returns to is not asked, because no books are sampled here."""


def make_leg(venue: str, symbol: str, base: str, quote: str, lot: str, slot: int) -> Leg:
    fees = (
        FeeSchedule(Decimal(5), Decimal(5), False)
        if venue == HOME
        else FeeSchedule(Decimal(10), Decimal(10), True)
    )
    rules = MarketRules(
        (TickBand(Decimal(0), Decimal("0.01")),),
        Decimal(lot),
        Decimal(lot),
        Decimal(5),
        Decimal(1_000_000_000),
    )
    return Leg(Market(venue, symbol, base, quote), rules, fees, slot)


def make_pair(base: str, slot: int) -> Pair:
    return Pair(
        base,
        make_leg(HOME, f"KRW-{base}", base, "KRW", "0.00000001", slot),
        make_leg(AWAY, f"{base}USDT", base, "USDT", "0.00001", slot + 1),
    )


def make_universe(*bases: str) -> Universe:
    fx = make_leg(HOME, "KRW-USDT", "USDT", "KRW", "0.01", 0)
    return Universe(fx, tuple(make_pair(base, 1 + 2 * i) for i, base in enumerate(bases)), (bases,))


def make_fill(
    order: Order, quantity: Decimal | None = None, price: Decimal | None = None, n: int = 0
) -> Fill:
    """As the paper venue makes it; the whole order at its limit unless said otherwise."""
    quantity = order.quantity if quantity is None else quantity
    price = order.limit if price is None else price
    market = order.market
    if market.venue == HOME:
        fee, currency = quantity * price * Decimal("0.0005"), market.quote
    elif order.side == "buy":
        fee, currency = quantity * Decimal("0.001"), market.base
    else:
        fee, currency = quantity * price * Decimal("0.001"), market.quote
    return Fill(f"{order.client_id}:{n}", order.client_id, market, order.side, quantity, price, fee, currency)


def filled(order: Order, quantity: Decimal | None = None, price: Decimal | None = None) -> OrderResult:
    fill = make_fill(order, quantity, price)
    state: OrderState = "FILLED" if fill.quantity == order.quantity else "EXPIRED"
    return OrderResult(order, state, (fill,))


def expired(order: Order) -> OrderResult:
    return OrderResult(order, "EXPIRED")


def make_book(market: Market, price: Decimal, size: float = 1e9) -> OrderBookSnapshot:
    """Bid and ask are one price, and deep."""
    level = ((float(price), size),)
    return OrderBookSnapshot(market.venue, market.symbol, level, level, None, 0)


class Venues:
    """What both venues really hold of ours, and what they state: the other side of a live world."""

    def __init__(self, bases: tuple[str, ...] = ("BTC", "ETH"), digits: int | None = None) -> None:
        """``digits``: so many decimals of a balance are printed at home, the rest is cut off; None: all."""
        self._digits = digits
        self.held: dict[tuple[str, str], Decimal] = {
            (HOME, "KRW"): Decimal(100_000_000),
            (AWAY, "USDT"): Decimal(70_000),
            (AWAY, "BNB"): Decimal(5),
        }
        for base in bases:
            self.held[HOME, base] = self.held[AWAY, base] = Decimal(4)
        self.locked: dict[tuple[str, str], Decimal] = {}
        self.open_orders: list[tuple[str, str, str, Decimal]] = []
        """(venue, name, symbol, remaining)."""

    def print_at_home(self, digits: int | None) -> None:
        """From now on print balances at home with so many decimals, and cut off the rest; None: print all."""
        self._digits = digits

    def fill(self, fill: Fill) -> None:
        """It happens at the venue."""
        for currency, change in fill.changes():
            account = fill.market.venue, currency
            self.held[account] = self.held.get(account, Decimal(0)) + change

    def statement(self, venue: str, at_ms: int, *, settled: bool = True) -> Statement:
        balances = []
        for (where, currency), held in self.held.items():
            if where == venue and held:
                locked = self.locked.get((where, currency), Decimal(0))
                balances.append((currency, self._print(where, held - locked), self._print(where, locked)))
        orders = tuple(
            (name, symbol, left) for where, name, symbol, left in self.open_orders if where == venue
        )
        return Statement(venue, at_ms, tuple(balances), orders, settled, at_ms * 1_000_000)

    def _print(self, venue: str, amount: Decimal) -> Decimal:
        if self._digits is None or venue != HOME:
            return amount
        return amount.quantize(Decimal(1).scaleb(-self._digits), ROUND_DOWN)


@dataclass
class World:
    """Risk's core with its pairs funded and shard 0 welcomed. ``events`` is what a ledger would hold."""

    bases: tuple[str, ...] = ("BTC", "ETH")
    config: Config = field(default_factory=lambda: BOTH_WAYS)
    ready: bool = True
    now_ms: int = NOW_MS
    wall_off_ms: int = 0
    """How far the wall clock was set forward since the start; monotonic time goes on."""
    phase: int = Phase.RUNNING
    shard: int = 0
    epoch: int = 1
    serial: int = 0
    events: list[Event] = field(default_factory=list)
    tag: str = ""

    def __post_init__(self) -> None:
        self.universe = make_universe(*self.bases)
        self.pairs = {pair.base: pair for pair in self.universe.pairs}
        self.state = PortfolioState()
        if self.ready:
            self.start()
            self.ask(self.hello())
            for base in self.bases:
                self.ask(Fund(self.shard, self.epoch, base, HOME_PRICE))

    @property
    def state(self) -> PortfolioState:
        return self.core.state

    @state.setter
    def state(self, state: PortfolioState) -> None:
        """Risk anew, over ``state``."""
        self.core = RiskCore(self.config, self.universe, state, self.tag)

    def start(self, run: str = "run-1") -> None:
        self.events += self.core.start(self.now_ms, run, "test")
        self.core.commit()

    def stop(self) -> None:
        self.events += self.core.stop(self.now_ms)
        self.core.commit()

    def ask(self, request: Request) -> Reply:
        """Put a request, and forget that it was under reserve."""
        self.now_ms += 1
        reply, events = self.core.handle(
            request, self.now_ms + self.wall_off_ms, self.phase, self.now_ms * 1_000_000
        )
        self.core.commit()
        self.events += events
        return reply

    def tell(self, command: Command) -> CommandReply:
        """What an operator says."""
        self.now_ms += 1
        answer, events = self.core.command(command, self.now_ms)
        self.core.commit()
        self.events += events
        return answer

    def tick(self, ms: int = 1, *, feeds_silent: bool = False) -> None:
        """Time passes."""
        self.now_ms += ms
        self.events += self.core.tick(
            self.now_ms + self.wall_off_ms, self.now_ms * 1_000_000, feeds_silent=feeds_silent
        )
        self.core.commit()

    def value(
        self,
        home: Decimal = HOME_PRICE,
        away: Decimal = AWAY_PRICE,
        *,
        fx: FxQuote = FX,
        times: int = 2,
        bases: tuple[str, ...] = (),
    ) -> None:
        """Risk values all that is open (of ``bases``) at books without a spread; twice, so that a loss lasts."""
        rate = float(fx.bid), float(fx.ask)
        for _ in range(times):
            for position_id, base in self.core.valuation.open_ids():
                if base in (bases or self.bases):
                    pair = self.pairs[base]
                    books = make_book(pair.home.market, home), make_book(pair.away.market, away)
                    self.core.valuation.mark(position_id, pair, books, rate, self.now_ms)

    @property
    def day(self) -> int:
        """The trading day."""
        return self.core.days.day_at(self.now_ms).number

    def restart(self, run: str = "run-1") -> "World":
        """Risk anew, from the events alone."""
        again = World(
            self.bases,
            self.config,
            ready=False,
            now_ms=self.now_ms,
            shard=self.shard,
            epoch=self.epoch,
            serial=self.serial,
            events=list(self.events),
            tag=self.tag,
        )
        state = PortfolioState()
        for event in again.events:
            state.apply(event)
        state.commit()
        again.state = state
        again.start(run)
        return again

    def hello(self, epoch: int | None = None) -> Hello:
        return Hello(self.shard, self.epoch if epoch is None else epoch, 4242, self.bases)

    def next_id(self) -> str:
        self.serial += 1
        return f"s{self.state.session}-{self.shard}-{self.epoch}-{self.serial}"

    def entry(
        self,
        base: str = "BTC",
        direction: Direction = "buy_away",
        quantity: Decimal = QUANTITY,
        home_limit: Decimal = HOME_PRICE,
        away_limit: Decimal = AWAY_PRICE,
    ) -> Intent:
        return self.intent("entry", base, direction, quantity, quantity, home_limit, away_limit)

    def exit_of(
        self,
        position: Position,
        home_limit: Decimal = HOME_PRICE,
        away_limit: Decimal = AWAY_PRICE,
        reason: ExitReason = "take_profit",
    ) -> Intent:
        """As ``execution.plan`` makes it: sell what is long, buy back what is short, grossed up for the fee."""
        direction = reverse(position.direction)
        home_is_bought = direction == "buy_home"
        lot = self.pairs[position.pair].away.rules.lot
        if home_is_bought:
            home, away = position.short_base, position.long_base // lot * lot
        else:
            home, away = position.long_base, -(-(position.short_base / Decimal("0.999")) // lot) * lot
        return self.intent(
            "exit", position.pair, direction, home, away, home_limit, away_limit, position.position_id, reason
        )

    def intent(
        self,
        kind: IntentKind,
        base: str,
        direction: Direction,
        home_quantity: Decimal,
        away_quantity: Decimal,
        home_limit: Decimal,
        away_limit: Decimal,
        position_id: str | None = None,
        reason: EntryReason | ExitReason = "net_edge",
    ) -> Intent:
        intent_id = self.next_id()
        pair = self.pairs[base]
        home_side: Side = "buy" if direction == "buy_home" else "sell"
        return Intent(
            intent_id,
            kind,
            base,
            direction,
            position_id or intent_id,
            Order(f"{intent_id}-h0", pair.home.market, home_side, home_quantity, home_limit),
            Order(f"{intent_id}-a0", pair.away.market, opposite(home_side), away_quantity, away_limit),
            reason,
            25.0,
            FX,
            self.now_ms + self.wall_off_ms,
        )

    def submit(self, intent: Intent) -> Reply:
        return self.ask(Submit(self.shard, self.epoch, intent))

    def report(self, intent: Intent, *results: OrderResult) -> Reply:
        assert results
        for result in results:
            reply = self.ask(Report(self.shard, self.epoch, intent.intent_id, result))
        return reply

    def conclude(
        self, intent: Intent, *, done: bool = False, mark: Decimal = HOME_PRICE, fx: FxQuote = FX
    ) -> Reply:
        return self.ask(Conclude(self.shard, self.epoch, intent.intent_id, mark, fx, done))

    def carry_out(self, intent: Intent, *results: OrderResult, done: bool = False) -> Position | None:
        """Submit, report (both legs filled unless said otherwise), conclude."""
        approved = self.submit(intent)
        assert isinstance(approved, Approved), approved
        self.report(intent, *(results or (filled(intent.home), filled(intent.away))))
        settled = self.conclude(intent, done=done)
        assert isinstance(settled, Settled), settled
        return settled.position

    def open_position(self, base: str = "BTC", direction: Direction = "buy_away") -> Position:
        position = self.carry_out(self.entry(base, direction))
        assert position is not None
        assert position.state == "OPEN"
        return position

    def round_trip(
        self, base: str = "BTC", direction: Direction = "buy_away", home_out: Decimal = HOME_PRICE
    ) -> Position:
        position = self.carry_out(
            self.exit_of(self.open_position(base, direction), home_limit=home_out), done=True
        )
        assert position is not None
        assert position.state == "CLOSED"
        return position

    def write_ledger(self, path: Path) -> None:
        """Store all events, closed in order."""
        store = LedgerStore.open(path, name="sim", mode=mode_of(self.config), now_ms=self.now_ms)
        store.append(self.events)
        store.close()


def with_limits(**changes: object) -> Config:
    config = BOTH_WAYS
    return msgspec.structs.replace(config, limits=msgspec.structs.replace(config.limits, **changes))


def with_live(**changes: object) -> Config:
    config = msgspec.structs.replace(BOTH_WAYS, mode="live", data="public")
    return msgspec.structs.replace(config, live=msgspec.structs.replace(config.live, **changes))


def with_paper(**changes: object) -> Config:
    config = BOTH_WAYS
    return msgspec.structs.replace(config, paper=msgspec.structs.replace(config.paper, **changes))
