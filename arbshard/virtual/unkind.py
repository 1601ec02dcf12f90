"""Makes exchanges unkind: they refuse for long, close markets, change rules, and send odd books.

``faults`` draws these kinds and determines how long each lasts. With live orders the venue's own faults refuse; on
paper the exchange behind the paper venue does (``refusal``). Markets, gaps and FX belong to the world of both.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from random import Random
from typing import Literal, NamedTuple

from arbshard.config.sim import (
    ChangedRulesFault,
    ClosedWalletFault,
    MarketStateFault,
    QuietBookFault,
    WrongFrameFault,
)
from arbshard.exchanges.accounts.order import Ticket
from arbshard.exchanges.accounts.taking import amount_of
from arbshard.exchanges.faults.conditions import Conditions
from arbshard.exchanges.market import SimMarket
from arbshard.model.money import floor_to
from arbshard.model.order import Order, OrderFault, OrderState
from arbshard.model.universe import Universe
from arbshard.virtual.exchange import VirtualExchanges
from arbshard.virtual.loop import VirtualLoop
from arbshard.virtual.spells import Spell

_SECONDS = (20.0, 60.0, 200.0, 600.0)
"""Typical durations of a spell, in seconds."""


class OrderRefusal(NamedTuple):
    """Describes how an exchange refuses the orders of a market."""

    state: OrderState
    fault: OrderFault
    code: str


_MARKET_CODES = {
    "upbit": (
        OrderRefusal("REJECTED", "funds", "insufficient_funds"),
        OrderRefusal("REJECTED", "order", "invalid_price"),
        OrderRefusal("REJECTED", "order", "under_min_total"),
        OrderRefusal("REJECTED", "market", "market_offline"),
    ),
    "binance": (
        OrderRefusal("REJECTED", "order", "-1013"),
        OrderRefusal("REJECTED", "market", "-2010"),
        OrderRefusal("REJECTED", "market", "-1121"),
    ),
}
_VENUE_CODES = {
    "upbit": (
        OrderRefusal("NOT_ACCEPTED", "venue", "no_authorization_ip"),
        OrderRefusal("NOT_ACCEPTED", "venue", "out_of_scope"),
    ),
    "binance": (
        OrderRefusal("NOT_ACCEPTED", "busy", "-1008"),
        OrderRefusal("NOT_ACCEPTED", "venue", "-2015"),
    ),
}
_TICKS: tuple[Literal[1, 2, 5, 10], ...] = (1, 2, 5, 10)
_STATUSES = (401, 403, 418, 451, 503)
_CLOSED: tuple[MarketStateFault, ...] = (
    MarketStateFault(state="break"),
    MarketStateFault(state="cancel_only"),
    MarketStateFault(state="halt"),
    MarketStateFault(state="delisted"),
    MarketStateFault(state="warned"),
)


class Unkind:
    """Makes the exchanges unkind, one thing of a kind at a time on each venue."""

    def __init__(
        self, exchanges: VirtualExchanges, universe: Universe, random: Random, loop: VirtualLoop
    ) -> None:
        self._exchanges = exchanges
        self._loop = loop
        self._random = random
        self._pairs = universe.pairs
        self._conditions = {name: Conditions(name, exchanges.world) for name in exchanges.venues}
        self._refusing: dict[tuple[str, str], OrderRefusal] = {}
        """How a market refuses orders, by venue and symbol."""
        self._traps: dict[tuple[str, str], Callable[[], None]] = {}
        """Functions to call when an order of ours is executed, by venue and symbol."""
        self._under_way: set[tuple[str, str]] = set()
        """(venue, kind) of the spells under way."""
        self._coarseness: dict[str, tuple[int, int]] = {}
        """The coarsest rules that a market has had, by symbol: the system decides itself when it returns to finer
        ones.
        """
        self._listed_ns: dict[str, int] = {}
        """Time at which a market was listed again, by symbol (monotonic ns)."""

    def refusal(self, order: Order) -> OrderRefusal | None:
        """Return how the exchange refuses ``order``; None when it does not. Called on paper for each order."""
        venue, symbol = order.market.venue, order.market.symbol
        refused = self._refusing.get((venue, symbol))
        if refused is not None:
            return refused
        market = self._exchanges.world.markets(venue)[symbol]
        if not market.takes_orders:
            return OrderRefusal("REJECTED", "market", market.state)
        return OrderRefusal("REJECTED", "order", "rules") if _breaks_rules(order, market) else None

    def works(self, venue: str, symbol: str) -> bool:
        """Return whether the venue takes orders of this market by its usual rules."""
        market = self._exchanges.world.markets(venue)[symbol]
        is_usual = max(market.factors) == 1 and not market.quiet_s
        return market.takes_orders and is_usual and (venue, symbol) not in self._refusing

    def coarseness(self, symbol: str) -> tuple[int, int]:
        """Return how many times the usual lot and smallest order of a market have been at most."""
        return self._coarseness.get(symbol, (1, 1))

    def listed_ns(self, symbol: str) -> int:
        """Return when a market was listed again after a delisting (monotonic); 0 if it was always listed."""
        return self._listed_ns.get(symbol, 0)

    def disturbed(self) -> Iterator[str]:
        """Yield the coins of which a market does not work."""
        for pair in self._pairs:
            legs = (pair.home.market, pair.away.market)
            if not all(self.works(market.venue, market.symbol) for market in legs):
                yield pair.base

    def market_refuses(self) -> Spell | None:
        """Refuse the orders of one market at a venue with one of its codes."""
        venue = self._a_venue()
        market = self._a_market(venue)
        refused = self._random.choice(_MARKET_CODES[venue])
        return self._refuse(venue, [market], refused, {"reject": _reject(market.symbol, refused.code)})

    def pair_refuses(self) -> Spell | None:
        """Refuse a pair at one venue, and at the other one once it has executed an order: one leg is left naked."""
        venue = self._a_venue()
        other = next(name for name in self._exchanges.venues if name != venue)
        market = self._a_market(venue)
        second = next(one for one in self._coins(other) if one.listing.base == market.listing.base)
        if (other, "refusal") in self._under_way:
            return None
        refused, later = (self._random.choice(_MARKET_CODES[name]) for name in (venue, other))
        switch: dict[str, object] = {"reject": _reject(second.symbol, later.code)}
        begin_later, end_later = self._switches(other, [second], later, switch)
        spell = self._refuse(venue, [market], refused, {"reject": _reject(market.symbol, refused.code)})
        if spell is None:
            return None
        trap = other, second.symbol

        def begin() -> None:
            spell.begin()
            self._under_way.add((other, "refusal"))
            self._traps[trap] = begin_later

        def end() -> None:
            spell.end()
            self._under_way.discard((other, "refusal"))
            if self._traps.pop(trap, None) is None:
                end_later()

        return spell._replace(begin=begin, end=end, what=f"{spell.what}, then {second.symbol} {later.code}")

    def on_execution(self, venue: str, symbol: str) -> None:
        """Begin the fault that waits for the execution of an order of ours on this market."""
        begin = self._traps.pop((venue, symbol), None)
        if begin is not None:
            begin()

    def venue_refuses(self) -> Spell | None:
        """Refuse all orders at a venue: with a code, or before it examines them."""
        venue = self._a_venue()
        refused = self._random.choice(_VENUE_CODES[venue])
        status = self._random.choice(_STATUSES)
        calls = self._random.choice(("placing", "all"))
        switch: dict[str, object] = {"reject": _reject("", refused.code)}
        if self._random.random() < 0.5:
            switch = {"denied": {"share": 1.0, "status": status, "calls": calls}}
        return self._refuse(venue, self._coins(venue), refused, switch)

    def revoked_key(self) -> Spell | None:
        """Revoke the key of a venue."""
        venue = self._a_venue()
        switch: dict[str, object] = {"key_revoked": {"share": 1.0}}
        spell = self._refuse(venue, self._coins(venue), OrderRefusal("NOT_ACCEPTED", "venue", "key"), switch)
        if spell is None:
            return None

        def begin() -> None:
            spell.begin()
            self._exchanges.trading[venue].cut_private("the key was revoked")

        return spell._replace(begin=begin)

    def market_closes(self) -> Spell | None:
        """Change the state of a market: break or halt it, limit it to cancellations, delist it, or mark it with a
        warning.
        """
        venue, conditions = self._one()
        closed = self._random.choice(_CLOSED)
        fault = MarketStateFault(market=self._a_market(venue).symbol, state=closed.state)

        def end() -> None:
            conditions.set_states(None)
            if fault.state == "delisted":
                self._listed_ns[fault.market] = self._loop.now_ns

        return self._spell(
            venue, "state", lambda: conditions.set_states(fault), end, f"{fault.market} {fault.state}"
        )

    def other_rules(self) -> Spell | None:
        """Change the ticks, lots and minimums of a market."""
        venue, conditions = self._one()
        tick = self._random.choice(_TICKS)
        lot = self._random.choice((1, 10))
        fault = ChangedRulesFault(
            market=self._a_market(venue).symbol,
            tick=tick,
            lot=lot if venue == "binance" else 1,
            minimum=self._random.choice((1, 4)),
        )

        def begin() -> None:
            conditions.set_rules(fault)
            lot, minimum = self.coarseness(fault.market)
            self._coarseness[fault.market] = max(lot, fault.lot), max(minimum, fault.minimum)

        return self._spell(
            venue,
            "rules",
            begin,
            lambda: conditions.set_rules(None),
            f"{fault.market} tick {fault.tick} lot {fault.lot} minimum {fault.minimum}",
        )

    def quiet_book(self) -> Spell | None:
        """Let a market's book change seldom, while the connection sends nothing in between."""
        venue, conditions = self._one()
        fault = QuietBookFault(
            market=self._a_market(venue).symbol, every_s=round(self._random.choice((3.0, 8.0, 25.0)), 1)
        )
        return self._spell(
            venue,
            "quiet",
            lambda: conditions.set_quiet(fault),
            lambda: conditions.set_quiet(None),
            f"{fault.market} every {fault.every_s:g} s",
        )

    def closed_wallet(self) -> Spell | None:
        """Close deposits and withdrawals of a coin: its gap remains."""
        venue, conditions = self._one()
        gap_bps = self._random.choice((-1, 1)) * self._random.uniform(40, 200)
        fault = ClosedWalletFault(market=self._a_market(venue).symbol, gap_bps=round(gap_bps, 1))
        return self._spell(
            venue,
            "wallet",
            lambda: conditions.set_gaps(fault),
            lambda: conditions.set_gaps(None),
            f"{fault.market} {fault.gap_bps} bps",
        )

    def fx_blip(self) -> Spell | None:
        """Move KRW-USDT alone, and back again."""
        conditions = self._conditions["upbit"]
        bps = round(self._random.choice((-1, 1)) * self._random.uniform(20, 300), 1)
        spell = self._spell(
            "upbit", "fx", lambda: conditions.set_fx(bps), lambda: conditions.set_fx(0.0), f"{bps} bps"
        )
        return spell._replace(seconds=self._random.uniform(0.5, 6.0)) if spell is not None else None

    def wrong_frame(self) -> str:
        """Send a well-formed but wrong book for 5 ms."""
        venue, conditions = self._one()
        bps = round(self._random.choice((-1, 1)) * self._random.uniform(50, 1_500), 1)
        fault = WrongFrameFault(market=self._a_market(venue).symbol, bps=bps)
        conditions.send_wrong_frames(fault)
        return f"{fault.market} {bps} bps"

    def hand_trade(self) -> str:
        """Trade in our account as a person does at the venue's own screen."""
        venue = self._a_venue()
        market, trading = self._a_market(venue), self._exchanges.trading[venue]
        side = self._random.choice(("buy", "sell"))
        opposite = market.book.asks if side == "buy" else market.book.bids
        worst = amount_of(opposite.ladder.price(opposite.keys[-1] * opposite.sign))
        worth = self._random.randint(20_000, 400_000) / (
            1 if venue == "upbit" else self._exchanges.world.fx_rate
        )
        quantity = floor_to(Decimal(worth) / worst, amount_of(market.lot))
        if not quantity or not market.takes_orders:
            return ""
        kind = "limit" if venue == "upbit" else "LIMIT"
        ticket = Ticket(
            market.symbol, "buy" if side == "buy" else "sell", "limit", "ioc", worst, quantity,
            client_id=f"by-hand-{self._random.getrandbits(48):x}", venue_kind=kind,
        )  # fmt: skip
        placed = trading.place_by_hand(ticket)
        return "" if placed is None else f"{venue} {side} {quantity} {market.symbol}"

    def other_fees(self) -> Spell | None:
        """Charge new orders another fee than the configured one."""
        venue = self._a_venue()
        bps = self._random.choice((0.0, 8.0, 20.0))
        trading = self._exchanges.trading[venue]
        return self._spell(
            venue,
            "fees",
            lambda: trading.set_faults({"set": {"changed_fees": {"share": 1.0, "bps": bps}}}),
            lambda: trading.set_faults({"clear": ["changed_fees"]}),
            f"{bps:g} bps",
        )

    def _refuse(
        self, venue: str, markets: list[SimMarket], refused: OrderRefusal, switch: dict[str, object]
    ) -> Spell | None:
        begin, end = self._switches(venue, markets, refused, switch)
        said = switch if venue in self._exchanges.trading else refused.code
        return self._spell(venue, "refusal", begin, end, f"{[one.symbol for one in markets]} {said}")

    def _switches(
        self, venue: str, markets: list[SimMarket], refused: OrderRefusal, switch: dict[str, object]
    ) -> tuple[Callable[[], None], Callable[[], None]]:
        """Return a function that makes the venue refuse, and one that ends it."""
        trading = self._exchanges.trading.get(venue)
        names = [(venue, market.symbol) for market in markets]

        def begin() -> None:
            self._refusing.update(dict.fromkeys(names, refused))
            if trading is not None:
                trading.set_faults({"set": switch})

        def end() -> None:
            for name in names:
                del self._refusing[name]
            if trading is not None:
                trading.set_faults({"clear": list(switch)})
                trading.restore_usual_refusals()

        return begin, end

    def _spell(
        self, venue: str, kind: str, begin: Callable[[], None], end: Callable[[], None], what: str
    ) -> Spell | None:
        """Return a spell, or None while a fault of this kind is under way at the venue."""
        name = venue, kind
        if name in self._under_way:
            return None

        def begin_it() -> None:
            self._under_way.add(name)
            begin()

        def end_it() -> None:
            self._under_way.discard(name)
            end()

        seconds = self._random.choice(_SECONDS) * self._random.uniform(0.5, 1.5)
        return Spell(seconds, begin_it, end_it, f"{venue} {what}")

    def _one(self) -> tuple[str, Conditions]:
        venue = self._a_venue()
        return venue, self._conditions[venue]

    def _a_venue(self) -> str:
        return self._random.choice(tuple(self._exchanges.venues))

    def _coins(self, venue: str) -> list[SimMarket]:
        markets = self._exchanges.world.markets(venue)
        legs = (pair.home if pair.home.market.venue == venue else pair.away for pair in self._pairs)
        return [markets[leg.market.symbol] for leg in legs]

    def _a_market(self, venue: str) -> SimMarket:
        return self._random.choice(self._coins(venue))


def _reject(market: str, code: str) -> dict[str, object]:
    names: dict[str, object] = {"share": 1.0, "market": market}
    if code.startswith("-"):
        return names | {"binance_code": int(code)}
    return names | {"upbit_error": code}


def _breaks_rules(order: Order, market: SimMarket) -> bool:
    """Return whether changed rules forbid the order."""
    if max(market.factors) == 1:
        return False
    price, size = int(order.limit.scaleb(8)), int(order.quantity.scaleb(8))
    least = 5_000 if market.listing.quote == "KRW" else 5
    return bool(
        price % market.tick_at(price)
        or size % market.lot
        or order.limit * order.quantity < least * market.factors.minimum
    )
