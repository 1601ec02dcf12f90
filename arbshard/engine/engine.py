"""Decides about trades: ``ArbitrageEngine`` gets books and returns trades. It is pure.

The time is an argument, and the caller sets positions. One engine holds any number of pairs; a worker's holds those
of its shard, a library user's all of them.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from math import inf, nan
from typing import NamedTuple

from arbshard.clock import monotonic_of
from arbshard.config import Config, LimitsConfig
from arbshard.engine.closing import Closing, HeldPosition, close_now, gap_bps
from arbshard.engine.edge import Edge, Terms, find_edge, least_edge_bps, terms_of, top_edge_bps
from arbshard.engine.followed import FollowedEntry, FollowedOutcome, follow
from arbshard.engine.quality import (
    QUIET,
    UNSEEN,
    Confirmed,
    View,
    data_refusal,
    is_jump_doubted,
    is_late,
    quality_of,
)
from arbshard.engine.signals import due_exit, exit_reason, is_unusual
from arbshard.model.book import BookTop, OrderBookSnapshot
from arbshard.model.entry_terms import PairTerms
from arbshard.model.funnel import EdgeFunnel
from arbshard.model.intent import RETURNED, ExitReason, LeadingLeg
from arbshard.model.market import Direction, Leg, Pair
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal

_FX_DOUBTED_NS = 3_000_000_000
"""What risk decides about FX reaches workers within about two seconds."""


class Entry(NamedTuple):
    """Opens a position."""

    pair: Pair
    direction: Direction
    edge: Edge
    fx: tuple[float, float]


class Exit(NamedTuple):
    """Closes a position."""

    pair: Pair
    position_id: str
    direction: Direction
    """Direction of the trade: the reverse of the position's."""
    reason: ExitReason
    closing: Closing
    fx: tuple[float, float]
    lead: LeadingLeg = "both"
    """The leg to send first and alone."""


EntryOrExit = Entry | Exit


_ROOM_FOR_LOTS = 1.1
"""Below so many times the smallest entry, rounding to lots may leave less than the smallest entry."""


class PairState:
    """Holds one pair: its newest books, its positions, and whether it may act."""

    __slots__ = (
        "away",
        "band_bps",
        "barred",
        "busy",
        "buy_away",
        "buy_home",
        "cost_max",
        "edge_floor_bps",
        "exit_refusals",
        "exit_rest_until_ns",
        "followed",
        "funnel",
        "held",
        "home",
        "is_funded",
        "level_bps",
        "pair",
        "positions_max",
        "refusal",
        "rest_until_ns",
        "short",
        "suspended",
    )

    def __init__(self, pair: Pair, limits: LimitsConfig) -> None:
        """Begin with the limits as configured. Until risk's terms come, risk refuses what is beyond the limits in
        force.
        """
        self.pair = pair
        self.level_bps = 0.0
        """The level that the pair's gap returns to, in basis points; 0 while it is not known."""
        self.band_bps = 0.0
        """The gap's usual distance from its level, in basis points; 0 while it is not known."""
        self.cost_max = inf
        """The largest entry that the limits leave room for, in reporting currency."""
        self.edge_floor_bps = limits.edge_bps_min
        self.positions_max = limits.symbol_positions_max
        self.barred: Mapping[Direction, Refusal] = {}
        """Directions in which nothing may be entered, with the reason."""
        self.home: View = UNSEEN
        self.away: View = UNSEEN
        self.buy_home: Terms = terms_of(pair, "buy_home")
        self.buy_away: Terms = terms_of(pair, "buy_away")
        self.held: list[HeldPosition] = []
        self.is_funded = False
        """Whether the pair's inventory is known: nothing is entered before."""
        self.busy = False
        """Whether an intent has no outcome yet: nothing new is begun until it has one."""
        self.suspended = False
        """Whether nothing new may be done with the pair, because it is not ours, or not any more."""
        self.rest_until_ns = 0
        """No entry before this time."""
        self.exit_rest_until_ns = 0
        """No exit before this time, because the last one was refused or achieved nothing."""
        self.exit_refusals = 0
        """Number of exits that risk has refused in a row."""
        self.short: tuple[str, str] | None = None
        """(venue, currency) of which too little was free, when ``refusal`` is ``INVENTORY_SHORT``."""
        self.refusal: Refusal | None = None
        """Why the last evaluation refused a trade; None when it refused none."""
        self.followed: FollowedEntry | None = None
        """A refused entry that is followed as if it had been made; one at a time."""
        self.funnel = EdgeFunnel()

    @property
    def may_act(self) -> bool:
        """Return whether a new intent of the pair may begin."""
        return not (self.busy or self.suspended)

    def set_terms(self, terms: PairTerms) -> None:
        """Apply risk's terms of entry for the pair."""
        self.level_bps = terms.level_bps if terms.level_bps is not None else 0.0
        self.band_bps = terms.band_bps if terms.band_bps is not None else 0.0
        self.cost_max = float(terms.cost_max)
        self.edge_floor_bps = terms.edge_bps_min
        self.positions_max = terms.positions_max
        self.barred = dict(terms.barred)


class ArbitrageEngine:
    """Evaluates a pair whenever one of its books changes."""

    def __init__(
        self,
        pairs: Iterable[Pair],
        fx: Leg,
        config: Config,
        confirmed_ns: Callable[[int], int] = lambda _: 0,
        late_after_ns: Callable[[int], int] = lambda _: 0,
    ) -> None:
        """Hold ``pairs``; ``confirmed_ns`` returns when the book of a slot was last confirmed
        (``quality.Confirmed``).

        ``late_after_ns`` returns above which difference of receipt and sending a book of a slot is late
        (``quality.is_late``).
        """
        self._confirmed_ns = confirmed_ns
        self._late_after_ns = late_after_ns
        self._strategy = config.strategy
        self._quality = quality_of(config.data_quality)
        self._cost_max = float(config.sizing.entry_notional_max)
        self._cost_min = float(config.sizing.entry_notional_min)
        self._limits = config.limits
        self._fx_slot = fx.slot
        self.fx: View = UNSEEN
        self._fx_jump = config.fx.jump_bps_max / 1e4
        self._fx_mid = 0.0
        self._fx_doubted_until_ns = 0
        """After a jump of FX, the time until which risk's judgement of it has arrived."""
        self.free: dict[tuple[str, str], float] = {}
        """What entries may spend, by (venue, currency), as risk reported it last; risk checks it again."""
        self.pairs: dict[str, PairState] = {}
        self._by_slot: dict[int, tuple[PairState, bool]] = {}
        for pair in pairs:
            self.add(pair)
        self.on_followed: Callable[[FollowedOutcome], None] = lambda _: None
        """Is called with what a refused entry would have brought."""
        self.follows = True
        """Whether refused entries are followed. No decision depends on it; a backtest shows nothing of it."""
        self.entering = True
        """False while stopping: positions are still closed, none is opened."""

    def add(self, pair: Pair) -> PairState:
        """Evaluate ``pair`` from now on; its books, funds and positions are set later. Return its state."""
        assert pair.base not in self.pairs, pair.base
        state = PairState(pair, self._limits)
        self.pairs[pair.base] = state
        self._by_slot[pair.home.slot] = (state, True)
        self._by_slot[pair.away.slot] = (state, False)
        return state

    def revise(self, pair: Pair) -> None:
        """Continue with changed rules and fees of the same two markets, in the same slots."""
        state = self.pairs[pair.base]
        state.pair = pair
        state.buy_home, state.buy_away = terms_of(pair, "buy_home"), terms_of(pair, "buy_away")

    def remove(self, base: str) -> None:
        """Remove a pair. Raises ``KeyError`` when it is not here."""
        pair = self.pairs.pop(base).pair
        del self._by_slot[pair.home.slot], self._by_slot[pair.away.slot]

    def observe(self, slot: int, view: View) -> PairState | None:
        """Store the new view of a market; return the pair it belongs to, None for the FX market."""
        if slot == self._fx_slot:
            self._observe_fx(view)
            return None
        state, is_home = self._by_slot[slot]
        if is_home:
            view.compare(state.home, self._quality)
            state.home = view
        else:
            view.compare(state.away, self._quality)
            state.away = view
        return state

    def process_snapshot(self, slot: int, snapshot: OrderBookSnapshot, now_ns: int) -> EntryOrExit | None:
        """Store a good, live book and evaluate its pair; return the trade or None."""
        state = self.observe(slot, View(snapshot, live=True, bad=False))
        return self.evaluate(state, now_ns) if state is not None else None

    def evaluate(self, state: PairState, now_ns: int) -> EntryOrExit | None:
        """Return the trade that this pair should make now, or None. Exits come before entries."""
        if state.busy or state.suspended:
            state.refusal = None  # nothing was judged: the last refusal must not be counted again
            return None
        refusal = data_refusal(state.home, state.away, self.fx, now_ns, self._quality)
        state.refusal = refusal
        # Exits may use quiet books that are confirmed. The refusal stays set, so that no entry is made below.
        if refusal is not None and not (
            state.held and refusal in QUIET and self._is_confirmed(state, now_ns)
        ):
            return None
        if (state.home.jumped_ns or state.away.jumped_ns) and is_jump_doubted(
            state.home, state.away, self._quality, self._confirmed(state)
        ):
            state.refusal = Refusal.BOOK_JUMPED
            return None
        home, away, rate = state.home.top, state.away.top, self.fx.top
        assert home is not None and away is not None and rate is not None  # noqa: PT018 - data_refusal() saw to it
        fx = (rate.best_bid, rate.best_ask)
        if state.followed is not None and refusal is None:
            self._go_on_following(state, state.followed, fx, now_ns)
        is_fx_doubted = now_ns < self._fx_doubted_until_ns
        if state.held and now_ns >= state.exit_rest_until_ns:
            distance = gap_bps(home, away, fx) - state.level_bps
            if is_fx_doubted or Refusal.FX_DEPARTS in state.barred.values():
                distance = nan  # what closing brings hardly depends on FX, but the gap does
            leaving = self._leaving(state, distance, fx, now_ns)
            if leaving is not None:
                state.refusal = None
                return leaving
        if (
            state.refusal is not None
            or not self.entering
            or len(state.held) >= state.positions_max
            or now_ns < state.rest_until_ns
        ):
            return None
        return self._entry(state, home, away, fx, now_ns, is_fx_doubted=is_fx_doubted)

    def follow_refused(self, state: PairState, entry: Entry, reason: Refusal, now_ns: int) -> None:
        """Follow an entry that risk has refused, in order to find out what it would have brought."""
        if self.follows and state.followed is None:
            terms = state.buy_home if entry.direction == "buy_home" else state.buy_away
            state.followed = follow(reason, entry.edge, terms, now_ns)

    def close(self, state: PairState, held: HeldPosition, reason: ExitReason) -> Exit | None:
        """Return a trade that closes ``held`` whatever the rules say (stop, by hand); None while a venue cannot be
        used.

        A hedged position is kept then, because closing the leg on the available venue would make the other one
        naked. A person who wants that types ``one_leg``. The newest book of a live connection is good enough,
        however old, because the order's limit protects the price.
        """
        home, away, rate = state.home.book, state.away.book, self.fx.top
        if home is None or away is None or rate is None or not state.may_act:
            return None
        lead: LeadingLeg = "both"
        if not (state.home.live and state.away.live):
            if reason != "one_leg" or not (state.home.live or state.away.live):
                return None
            lead = "home" if state.home.live else "away"
        fx = (rate.best_bid, rate.best_ask)
        back = state.buy_away if held.buy_is_home else state.buy_home
        return self._exit(state, held, close_now(held, home, away, fx, back), reason, fx, lead)

    def set_free(self, available: Iterable[tuple[str, str, Decimal]]) -> None:
        """Use what entries may spend of (venue, currency, amount) from now on."""
        for venue, currency, amount in available:
            self.free[venue, currency] = float(amount)

    def is_fit(self, state: PairState, now_ns: int) -> bool:
        """Return whether the pair's books and the FX rate are fit to trade on."""
        return data_refusal(state.home, state.away, self.fx, now_ns, self._quality) is None

    def set_positions(
        self, state: PairState, positions: Iterable[Position], now_ns: int, now_ms: int
    ) -> None:
        """Replace what the pair holds by what risk reports.

        ``now_ns`` and ``now_ms`` are the same instant, monotonic and by the wall clock. The age of a position is
        derived from the wall clock once, when the position is first set; from then on it goes by monotonic time.
        """
        opened = {held.position_id: held.opened_ns for held in state.held}
        state.held = [
            held_of(
                position, opened.get(position.position_id, monotonic_of(position.opened_ms, now_ns, now_ms))
            )
            for position in positions
        ]

    def renew_fx(self, view: View) -> None:
        """Store an FX book after others that were not shown, none of which has jumped from the one before."""
        self._fx_mid = 0.0
        self._observe_fx(view)

    def _observe_fx(self, view: View) -> None:
        """Store an FX book, and doubt it for a while if it has jumped."""
        self.fx = view
        top = view.top
        if top is None:
            return
        if self._fx_mid and abs(top.mid / self._fx_mid - 1) > self._fx_jump:
            self._fx_doubted_until_ns = top.received_ns + _FX_DOUBTED_NS
        self._fx_mid = top.mid

    def _is_confirmed(self, state: PairState, now_ns: int) -> bool:
        """Return whether the pair may be exited by its quiet books. Entries need young frames."""
        confirmed = self._confirmed(state)
        return data_refusal(state.home, state.away, self.fx, now_ns, self._quality, confirmed) is None

    def _is_late(self, state: PairState) -> bool:
        """Return whether a book of the pair, or the FX book, is late. It is called only when a trade is near."""
        pair, late_after_ns = state.pair, self._late_after_ns
        return (
            is_late(state.home.book, late_after_ns(pair.home.slot))
            or is_late(state.away.book, late_after_ns(pair.away.slot))
            or is_late(self.fx.book, late_after_ns(self._fx_slot))
        )

    def _confirmed(self, state: PairState) -> Confirmed:
        pair, confirmed_ns = state.pair, self._confirmed_ns
        return Confirmed(
            confirmed_ns(pair.home.slot), confirmed_ns(pair.away.slot), confirmed_ns(self._fx_slot)
        )

    def _leaving(
        self, state: PairState, distance: float, fx: tuple[float, float], now_ns: int
    ) -> Exit | None:
        home, away = state.home.book, state.away.book
        if home is None or away is None:
            state.refusal = Refusal.BOOK_BAD
            return None
        for held in state.held:
            back = state.buy_away if held.buy_is_home else state.buy_home
            closing = close_now(held, home, away, fx, back)
            reason = exit_reason(held, closing, distance, now_ns, self._strategy)
            if reason in RETURNED and self._is_late(state):
                state.refusal = Refusal.BOOK_LATE
                reason = due_exit(held, closing, now_ns, self._strategy)
            if reason is not None:
                return self._exit(state, held, closing, reason, fx)
            if closing.net_bps > self._strategy.max_edge_bps:
                state.refusal = Refusal.EDGE_TOO_GOOD
        return None

    def _exit(
        self,
        state: PairState,
        held: HeldPosition,
        closing: Closing,
        reason: ExitReason,
        fx: tuple[float, float],
        lead: LeadingLeg = "both",
    ) -> Exit:
        direction: Direction = "buy_away" if held.buy_is_home else "buy_home"
        return Exit(state.pair, held.position_id, direction, reason, closing, fx, lead)

    def _go_on_following(
        self, state: PairState, followed: FollowedEntry, fx: tuple[float, float], now_ns: int
    ) -> None:
        home, away = state.home.book, state.away.book
        if home is None or away is None:
            return
        back = state.buy_away if followed.held.buy_is_home else state.buy_home
        closing = close_now(followed.held, home, away, fx, back)
        distance = gap_bps(home, away, fx) - state.level_bps
        if exit_reason(followed.held, closing, distance, now_ns, self._strategy) is not None:
            state.followed = None
            self.on_followed(FollowedOutcome(followed.reason, closing.pnl))

    def _entry(
        self,
        state: PairState,
        home: BookTop,
        away: BookTop,
        fx: tuple[float, float],
        now_ns: int,
        *,
        is_fx_doubted: bool,
    ) -> Entry | None:
        """Return the entry to make now, or None. Most ticks end at the tops: no quantity nets more than the first
        unit.
        """
        direction: Direction
        entry_bps, floor_bps = self._strategy.entry_bps, state.edge_floor_bps
        top_bps = top_edge_bps(home.best_ask, away.best_bid, state.buy_home, fx[0])
        if top_bps >= least_edge_bps(entry_bps, -state.level_bps, floor_bps):
            direction = "buy_home"
        else:
            top_bps = top_edge_bps(away.best_ask, home.best_bid, state.buy_away, fx[1])
            if top_bps < least_edge_bps(entry_bps, state.level_bps, floor_bps):
                return None
            direction = "buy_away"
        funnel = state.funnel
        funnel.wanted += 1
        funnel.wanted_bps += top_bps
        barred = Refusal.FX_DEPARTS if is_fx_doubted else state.barred.get(direction)
        if barred is None and not state.is_funded:
            barred = Refusal.NOT_FUNDED
        if barred is not None and (state.followed is not None or not self.follows):
            state.refusal = barred
            funnel.barred += 1
            funnel.barred_bps += top_bps
            return None
        whole_home, whole_away = state.home.book, state.away.book
        if whole_home is None or whole_away is None:
            state.refusal = Refusal.BOOK_BAD
            return None
        if self._is_late(state):
            state.refusal = Refusal.BOOK_LATE
            return None
        entry, state.refusal = self._judge(state, direction, whole_home, whole_away, fx, barred)
        if entry is not None:
            funnel.sized += 1
            funnel.sized_bps += entry.edge.net_bps
            if state.refusal is None:
                funnel.decided += 1
                funnel.decided_bps += entry.edge.net_bps
        if state.refusal is None or entry is None:
            return entry
        self.follow_refused(state, entry, state.refusal, now_ns)
        return None

    def _judge(
        self,
        state: PairState,
        direction: Direction,
        home: OrderBookSnapshot,
        away: OrderBookSnapshot,
        fx: tuple[float, float],
        barred: Refusal | None,
    ) -> tuple[Entry | None, Refusal | None]:
        """Return the entry, and why it is not made. When money or coins are missing, it is what the books alone
        allow.
        """
        entry = self._sized(state, direction, home, away, fx, barred)
        missing = None
        if entry is None and barred is None:
            missing = self._missing(state, direction, home, away, fx)
            if missing is not None:
                entry = self._sized(state, direction, home, away, fx, Refusal.INVENTORY_SHORT)
        if entry is None or barred is not None:
            return entry, barred
        objection = self._objection(state, entry, home, away)
        if objection is None and missing is not None:
            state.short = missing
            objection = Refusal.INVENTORY_SHORT
        return entry, objection

    def _missing(
        self,
        state: PairState,
        direction: Direction,
        home: OrderBookSnapshot,
        away: OrderBookSnapshot,
        fx: tuple[float, float],
    ) -> tuple[str, str] | None:
        """Return (venue, currency) of which there is too little for the smallest entry; None if there is enough."""
        paid, sold = _spent(state.pair, direction)
        money, coins = self.free.get(paid, 0.0), self.free.get(sold, 0.0)
        if direction == "buy_home":
            coins *= home.best_ask
        else:
            money, coins = money * fx[0], coins * away.best_ask * fx[0]
        if min(money, coins) >= self._cost_min * _ROOM_FOR_LOTS:
            return None
        return paid if money < coins else sold

    def _sized(
        self,
        state: PairState,
        direction: Direction,
        home: OrderBookSnapshot,
        away: OrderBookSnapshot,
        fx: tuple[float, float],
        barred: Refusal | None,
    ) -> Entry | None:
        """Return the largest entry that the books, the limits and free balances allow; if ``barred``, the books
        alone.
        """
        money = coins = cost_max = inf
        if barred is None:
            paid, sold = _spent(state.pair, direction)
            money, coins, cost_max = self.free.get(paid, 0.0), self.free.get(sold, 0.0), state.cost_max
        if direction == "buy_home":
            terms, rate, asks, bids, against_bps = (
                state.buy_home, fx[0], home.asks, away.bids, -state.level_bps
            )  # fmt: skip
        else:
            terms, rate, asks, bids, against_bps = (
                state.buy_away, fx[1], away.asks, home.bids, state.level_bps
            )  # fmt: skip
            money *= fx[0]
        edge = find_edge(
            asks,
            bids,
            terms,
            rate,
            entry_bps=least_edge_bps(self._strategy.entry_bps, against_bps, state.edge_floor_bps),
            min_edge_bps=least_edge_bps(self._strategy.min_edge_bps, against_bps, state.edge_floor_bps),
            # Risk counts orders at their limit prices, which are above the average price: hence one per cent less.
            cost_max=min(self._cost_max, min(cost_max, money) * 0.99),
            sell_max=coins,
        )
        if edge is None or edge.cost < self._cost_min:
            return None
        return Entry(state.pair, direction, edge, fx)

    def _objection(
        self, state: PairState, entry: Entry, home: OrderBookSnapshot, away: OrderBookSnapshot
    ) -> Refusal | None:
        """Return why an entry that nets enough is not made; None when it is."""
        edge, fx = entry.edge, entry.fx
        if edge.net_bps > self._strategy.max_edge_bps:
            return Refusal.EDGE_TOO_GOOD
        if entry.direction == "buy_home":
            back_bps = top_edge_bps(away.best_ask, home.best_bid, state.buy_away, fx[1])
        else:
            back_bps = top_edge_bps(home.best_ask, away.best_bid, state.buy_home, fx[0])
        distance = gap_bps(home, away, fx) - state.level_bps
        away_from_level = -distance if entry.direction == "buy_home" else distance
        at_once_bps = edge.net_bps + back_bps
        once_closed_bps = at_once_bps + away_from_level
        room_bps = at_once_bps + self._strategy.stop_loss_bps
        if once_closed_bps < self._strategy.round_trip_bps or room_bps < self._strategy.stop_room_bps:
            return Refusal.ROUND_TRIP_COST
        if not is_unusual(away_from_level, state.band_bps, self._strategy.entry_z):
            return Refusal.SPREAD_USUAL
        return None


def _spent(pair: Pair, direction: Direction) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return (venue, currency) of what an entry spends: money where it buys, coins where it sells."""
    home, away = pair.home.market, pair.away.market
    bought, sold = (home, away) if direction == "buy_home" else (away, home)
    return (bought.venue, bought.quote), (sold.venue, sold.base)


def held_of(position: Position, opened_ns: int = 0) -> HeldPosition:
    """Return an open position as floats; ``opened_ns`` is left out where its age does not matter."""
    return HeldPosition(
        position_id=position.position_id,
        buy_is_home=position.direction == "buy_home",
        long_base=float(position.long_base),
        short_base=float(position.short_base),
        home_quote=float(position.flows.home_quote - position.other_fees),
        away_quote=float(position.flows.away_quote),
        entry_notional=float(position.entry_notional),
        opened_ns=opened_ns,
    )
