"""A worker that says anything, whether it makes sense or not, and checks of the books that result."""

from collections import defaultdict
from decimal import ROUND_FLOOR, Decimal

from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.ledger.events import (
    ClosesOrdered,
    Deposited,
    Halted,
    IntentApproved,
    IntentConcluded,
    OrderReported,
    PairReleased,
    PairSetApart,
    Resumed,
)
from arbshard.ledger.postings import postings_of
from arbshard.model.intent import ApartCause
from arbshard.model.market import Side
from arbshard.model.order import Order, OrderResult, OrderState
from arbshard.risk.portfolio.holdings import notional_of
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.wire.messages import (
    Close,
    Conclude,
    Extend,
    Halt,
    Report,
    Request,
    Resume,
    SetApart,
    SetLimits,
    ShowLimits,
    Submit,
)
from support import world as w

ORDER_STATES: tuple[OrderState, ...] = (
    "SENT",
    "ACCEPTED",
    "PARTIAL",
    "UNKNOWN",
    "FILLED",
    "CANCELED",
    "REJECTED",
    "EXPIRED",
)
USUAL = ("enter", "leave", "report", "conclude", "finish", "repeat") * 3
STEPS = (
    *USUAL,
    "extend",
    "extend",
    "spoil",
    "spoil",
    "hello",
    "restart",
    "phase",
    "operate",
    "operate",
    "set_apart",
    "tick",
    "value",
    "value",
)

steps = st.lists(
    st.tuples(st.sampled_from(STEPS), st.integers(0, 10**6), st.integers(0, 10**6)), min_size=20, max_size=80
)


class Chaos:
    """Workers that say anything, sense or not."""

    def __init__(self, world) -> None:
        self.world = world
        self.said: list[Request] = []

    def do(self, step: str, a: int, b: int) -> None:
        getattr(self, step)(a, b)

    def say(self, request) -> None:
        self.said.append(request)
        self.world.ask(request)

    def enter(self, a: int, b: int) -> None:
        direction = ("buy_home", "buy_away")[b % 2]
        quantity = Decimal(1 + b % 97) / 100
        self.say(Submit(0, self.world.epoch, self.world.entry(("BTC", "ETH")[a % 2], direction, quantity)))

    def leave(self, a: int, b: int) -> None:
        positions = list(self.world.state.positions.values())
        if positions:
            position = positions[a % len(positions)]
            if position.quantity > 0:
                price = Decimal(900_000 + b % 200_000)
                self.say(Submit(0, self.world.epoch, self.world.exit_of(position, home_limit=price)))

    def report(self, a: int, b: int) -> None:
        trades = list(self.world.state.trades.values())
        if not trades:
            return
        trade = trades[a % len(trades)]
        known = trade.orders[b % len(trade.orders)]
        state = ORDER_STATES[(a + b) % len(ORDER_STATES)]
        left = known.order.quantity - known.filled
        fills = known.fills
        if left > 0 and b % 3:
            some = left if state == "FILLED" else (left / (1 + a % 3)).quantize(Decimal("0.00001"))
            if some > 0:
                fills += (w.make_fill(known.order, some, n=len(fills)),)
        shown = fills if b % 5 else fills[-1:]
        result = OrderResult(known.order, state, shown)
        self.say(Report(0, self.world.epoch, trade.intent.intent_id, result))

    def conclude(self, a: int, b: int) -> None:
        for trade in list(self.world.state.trades.values())[: 1 + a % 2]:
            intent_id = trade.intent.intent_id
            if b % 4:  # mostly in order: end what is open first
                for result in trade.orders:
                    if not result.is_final:
                        ended = replace(result, state="EXPIRED")
                        self.say(Report(0, self.world.epoch, intent_id, ended))
            mark = Decimal(900_000 + a % 200_000)
            self.say(Conclude(0, self.world.epoch, intent_id, mark, w.FX, bool(b % 3)))

    def finish(self, a: int, b: int) -> None:
        """As a worker does it: what is missing of both legs fills, and the intent ends."""
        for trade in list(self.world.state.trades.values())[: 1 + a % 2]:
            intent = trade.intent
            for result in trade.orders[:2]:
                left = result.order.quantity - result.filled
                if left > 0 and not result.is_final:
                    fill = w.make_fill(result.order, left, n=len(result.fills))
                    full = OrderResult(result.order, "FILLED", (*result.fills, fill))
                    self.say(Report(0, self.world.epoch, intent.intent_id, full))
            done = intent.kind == "exit"
            self.say(
                Conclude(0, self.world.epoch, intent.intent_id, Decimal(900_000 + b % 200_000), w.FX, done)
            )

    def extend(self, a: int, b: int) -> None:
        for trade in list(self.world.state.trades.values())[:1]:
            venue, letter = ((trade.intent.home, "h"), (trade.intent.away, "a"))[a % 2]
            changes = (change for fill in trade.fills() for change in fill.changes())
            naked = sum((amount for currency, amount in changes if currency == trade.intent.pair), Decimal(0))
            side: Side = ("buy", "sell")[b % 2] if b % 4 == 0 else "sell" if naked > 0 else "buy"
            quantity = Decimal(1 + a % 50) / 100
            if b % 3 and abs(naked) > Decimal("0.01"):  # mostly what makes sense
                quantity = abs(naked).quantize(Decimal("0.00001"), ROUND_FLOOR) / (1 + a % 2)
            order = Order(
                f"{trade.intent.intent_id}-{letter}{1 + b % 3}",
                venue.market,
                side,
                quantity,
                venue.limit,
                ("hedge", "unwind")[a % 2],
            )
            self.say(Extend(0, self.world.epoch, trade.intent.intent_id, order))

    def repeat(self, a: int, _: int) -> None:
        if self.said:
            self.world.ask(self.said[a % len(self.said)])

    def spoil(self, a: int, b: int) -> None:
        if not self.said:
            return
        request = self.said[a % len(self.said)]
        if isinstance(request, Submit):
            request = replace(request, intent=replace(request.intent, edge_bps=float(b)))
        elif isinstance(request, Report) and request.result.fills:
            fill = replace(request.result.fills[0], price=Decimal(1 + b))
            request = replace(request, result=replace(request.result, fills=(fill,)))
        elif isinstance(request, Conclude):
            request = replace(request, mark=Decimal("NaN"))
        else:
            request = replace(request, epoch=request.epoch - 1)
        self.world.ask(request)

    def hello(self, a: int, _: int) -> None:
        if a % 2:
            self.world.epoch += 1
        self.world.ask(self.world.hello())

    def restart(self, a: int, _: int) -> None:
        if a % 3 == 0:
            self.world.stop()
        before = self.world.state.state_hash()
        again = self.world.restart()
        assert replayed(self.world.events).state_hash() == before
        self.world = again

    def operate(self, a: int, b: int) -> None:
        commands = (
            Resume(""),
            Resume(""),
            Resume("", ("BTC",)),
            Resume("", ("ETH",)),
            Halt("", flatten=bool(b % 2)),
            Halt("", flatten=bool(b % 2), level="stopped"),
            Close(("BTC",) if b % 2 else ()),
            SetLimits((("order_notional_max", str(100_000 + b)),), ("", "BTC")[b % 2]),
            SetLimits((("order_notional_max", ""), ("halt_drawdown", str(10_000 + b))), ""),
            SetLimits((("drawdown_max", str(10_000 + b % 50_000)),), ""),
            ShowLimits("ETH"),
        )
        self.world.tell(commands[a % len(commands)])

    def set_apart(self, a: int, b: int) -> None:
        cause: ApartCause = ("stuck", "exits_fail", "bad_report", "position_loss")[a % 4]
        self.say(SetApart(0, self.world.epoch, ("BTC", "ETH", "SOL")[b % 3], cause, "as it happens", ""))

    def tick(self, a: int, b: int) -> None:
        self.world.tick(a % 20_000, feeds_silent=b % 3 == 0)

    def value(self, a: int, b: int) -> None:
        self.world.value(Decimal(900_000 + a % 200_000), Decimal(600 + b % 200), times=1 + a % 3)

    def phase(self, a: int, _: int) -> None:
        self.world.phase = (1, 1, 2, 3)[a % 4]


def replayed(events) -> PortfolioState:
    state = PortfolioState()
    for event in events:
        state.apply(event)
    state.commit()
    return state


def check_books(state, events) -> None:
    """Balances from deposits and fills; holds from what is open; nothing booked twice; double entry."""
    due: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    seen: set[str] = set()
    for event in events:
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for line in postings_of(event):
            sums[line.currency] += line.amount
        assert not any(sums.values())
        if isinstance(event, Deposited):
            due[event.venue, event.currency] += event.amount
        if isinstance(event, OrderReported):
            for fill in event.fills:
                assert fill.fill_id not in seen
                seen.add(fill.fill_id)
                for currency, change in fill.changes():
                    due[fill.market.venue, currency] += change
    held: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for trade in state.trades.values():
        for hold in trade.holds:
            assert hold.amount > 0
            held[hold.venue, hold.currency] += hold.amount
    for account, balance in state.balances.items():
        assert balance.total == due[account], account
        assert balance.held == held[account], account
        assert balance.available == max(Decimal(0), balance.total - balance.held)
    assert set(state.busy.values()) == set(state.trades)
    open_pairs = {pair for pair, open_ in state.per_symbol_positions.items() if open_} | state.busy.keys()
    assert state.standing.closing.keys() <= open_pairs
    entering = [trade for trade in state.trades.values() if trade.intent.kind == "entry"]
    assert state.entering == len(entering)
    assert state.exposure == sum(position.entry_notional for position in state.positions.values()) + sum(
        notional_of(trade.intent) for trade in entering
    )
    for direction, exposure in state.exposures.items():
        assert exposure == sum(
            one.entry_notional for one in state.positions.values() if one.direction == direction
        ) + sum(notional_of(trade.intent) for trade in entering if trade.intent.direction == direction)
    totals = state.results.lifetime.get("")
    if totals is not None:
        assert totals.entries - totals.exits == len(state.positions)
        assert totals.wins + totals.losses == totals.exits


def check_halts(events) -> None:
    """While it is halted nothing is entered; while a pair is being closed or set apart, nothing of it.

    A pair that only a person closes is not left by rule.
    """
    halted = stopped = False
    closing: set[str] = set()
    apart: dict[str, set[str]] = defaultdict(set)
    open_: dict[str, set[str]] = defaultdict(set)
    for event in events:
        match event:
            case Halted():
                halted, stopped = True, event.level == "stopped"
            case Resumed():
                halted = stopped = False
            case ClosesOrdered():
                closing.update(event.pairs)
            case PairSetApart():
                apart[event.pair].add(event.cause)
            case PairReleased():
                apart[event.pair].clear()
            case IntentApproved(intent=intent):
                assert intent.kind == "exit" or not (halted or intent.pair in closing or apart[intent.pair])
                by_hand = apart[intent.pair] & {"exits_fail", "position_loss"}
                is_left_by_rule = intent.kind == "exit" and intent.reason not in ("manual", "kill_switch")
                assert not (stopped and is_left_by_rule)
                assert not by_hand or intent.reason in ("manual", "kill_switch")
                open_[intent.pair].add(intent.intent_id)
            case IntentConcluded():
                open_[event.pair].discard(event.intent_id)
                if event.position_state == "OPEN":
                    open_[event.pair].add(event.position_id)
                else:
                    open_[event.pair].discard(event.position_id)
                if not open_[event.pair]:
                    closing.discard(event.pair)
