"""Decides whether venues and markets accept orders, by reports, listings, statements and time. Pure; ``core`` uses
it.

    ===================================  ==================================================================
    a report states                      what follows
    ===================================  ==================================================================
    the venue accepted the order         venue and market accept orders
    fault ``venue``                      the venue refuses
    fault ``market``                     the market refuses
    fault ``order``                      the market refuses, unless the order broke the rules that are known
    fault ``funds``                      is counted for the venue and the currency, and changes neither
    fault ``busy``                       nothing, until ``BUSY_MIN`` in a row over ``BUSY_MS``: the venue refuses
    ===================================  ==================================================================

A market that the newest listing shows as not trading refuses as well, until a listing shows it as trading. A place
that refuses takes no entries; exits go on and show that it accepts orders again. Without such an exit it is tried
again after a pause, which doubles each time that it begins to refuse anew. Before that there must be a good sign
newer than the last refusal: for a market a listing that has it, for a venue a statement of the account. Where
nothing brings such signs (on paper, or without a supervisor that reads listings) the pause alone counts.

The reason for these numbers: a venue's windows of requests last ten seconds at most, so five busy answers without
one good one over thirty seconds are no burst of ours; a minute is longer than a venue takes to show a rule or a key
that a person has just corrected.
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from arbshard.ledger.events import Event, OrderReported, VenueState, VenueStateChanged
from arbshard.model.market import Leg, Market, MarketRules, Side
from arbshard.model.money import BPS
from arbshard.model.order import Fill, Order, OrderFault
from arbshard.model.universe import Universe
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.portfolio.venue_states import VenueRefusal, VenueSymbol, is_taken, place_of
from arbshard.risk.reconcile.reconciler import Reconciler
from arbshard.risk.validation import Moment

PAUSE_MS = 60_000
PAUSE_MS_MAX = 4 * 3_600_000
BUSY_MIN = 5
BUSY_MS = 30_000
_WHY_MAX = 200
_FEE_UNIT = Decimal("2e-8")
"""Venues state fees with eight decimals."""
_FEE_SHOWN = Decimal("0.001")
_DOUBLINGS_MAX = 16


class UnexpectedFee(NamedTuple):
    """Is a fill whose fee is not the configured one."""

    venue: str
    side: Side
    symbol: str
    configured_bps: Decimal
    paid_bps: Decimal
    since_ms: int


class VenueAcceptance:
    """Decides on the events of one core's ``state.venues``. What it keeps itself is lost with the process."""

    def __init__(self, state: PortfolioState, reconciler: Reconciler | None) -> None:
        self._state = state
        self._reconciler = reconciler
        self._refused: dict[VenueSymbol, Moment] = {}
        """Time at which each place that refuses last refused an order, as far as this process knows."""
        self._busy: dict[str, tuple[int, int]] = {}
        """(answers in a row, when the first one came in monotonic ns) by venue."""
        self._listed_ms = 0
        """Wall time of the newest listing; 0 where none is read again while running."""
        self._revised: Mapping[str, int] = {}
        self._stopped: Mapping[VenueSymbol, str] = {}
        """Markets that the newest listing shows as not trading, and why."""
        self.fees: dict[tuple[str, Side], UnexpectedFee] = {}
        """Fees that are not the configured ones, by venue and side."""
        self.new_fees: list[UnexpectedFee] = []
        """Those that were not reported yet."""
        self.listing_wanted = 0
        """Grows by one with each refusal that a listing may explain: the supervisor reads the listings again."""

    def begin_run(self, now_ms: int) -> list[Event]:
        """Return the events of a new run: what refused in the last one is tried again."""
        return [_changed(place, "unknown", "a new run began", now_ms) for place in self._state.venues.refuses]

    def after(
        self, event: OrderReported, order: Order, rules: MarketRules | None, moment: Moment
    ) -> list[Event]:
        """Return what follows from a report of ``order``, which is applied. ``rules``: of its market, as known."""
        market, venue = order.market, order.market.venue
        if event.fault != "busy":
            self._busy.pop(venue, None)
        match event.fault:
            case "venue":
                return self._refuse((venue, ""), "venue", event.detail, moment)
            case "order" if rules is not None and not rules.allows(order.limit, order.quantity, order.side):
                return []  # refused by the known rules, such as a rest below the minimum: nothing is learned
            case "market" | "order":
                self.listing_wanted += 1
                return self._refuse(place_of(market), event.fault, event.detail, moment)
            case "busy":
                return self._was_busy(venue, event.detail, moment)
            case _:
                return list(self._taken(market, moment.now_ms)) if is_taken(event) else []

    def compare_fees(self, fills: Iterable[Fill], leg: Leg, now_ms: int) -> None:
        """Note a fee that is not the configured one, once for each venue and side."""
        for fill in fills:
            seen = (fill.market.venue, fill.side)
            if seen in self.fees:
                continue
            known = leg.fees.buy_bps if fill.side == "buy" else leg.fees.sell_bps
            whole = fee_base(fill)
            if whole is None or abs(fill.fee - whole * known / BPS) <= whole * known / BPS / 1000 + _FEE_UNIT:
                continue
            paid = (fill.fee * BPS / whole).quantize(_FEE_SHOWN)
            self.fees[seen] = UnexpectedFee(*seen, fill.market.symbol, known, paid, now_ms)
            self.new_fees.append(self.fees[seen])

    def compare_listing(self, universe: Universe, moment: Moment) -> list[Event]:
        """Return what follows from the newest listing in ``universe``: markets that stopped trading refuse.

        What it explains ends at once: a market that trades again, and one whose rules have changed.
        """
        if universe.listed_ms <= self._listed_ms:
            return []
        before, revised = self._stopped, self._revised
        self._listed_ms, self._revised = universe.listed_ms, universe.revised
        self._stopped = {(venue, symbol): why for venue, symbol, why in universe.stopped}
        events: list[Event] = []
        for place, why in self._stopped.items():
            events += self._refuse(place, "market", f"listed as not trading: {why}", moment)
        changed = {
            place_of(leg.market)
            for pair in universe.pairs
            if universe.revised.get(pair.base) != revised.get(pair.base)
            for leg in (pair.home, pair.away)
        }
        for place, refusal in self._state.venues.refuses.items():
            if place in self._stopped:
                continue
            if place in before:
                events.append(
                    _changed(place, "unknown", "the venue lists it as trading again", moment.now_ms)
                )
            elif place in changed and refusal.fault == "order":
                events.append(_changed(place, "unknown", "its rules have changed", moment.now_ms))
        return events

    def tick(self, moment: Moment) -> list[Event]:
        """Try again what has refused for long enough, if there is a good sign."""
        refuses = self._state.venues.refuses
        if not refuses:
            return []
        signs = ((one.place, self._sign_for(one, moment)) for one in refuses.values())
        return [_changed(place, "unknown", sign, moment.now_ms) for place, sign in signs if sign]

    def _sign_for(self, refusal: VenueRefusal, moment: Moment) -> str:
        """Return why what refused is to be tried again; empty while it is not."""
        # After a restart of risk the pause begins anew: only the wall time of the beginning is stored.
        last = self._refused.setdefault(refusal.place, moment)
        rested_ms = (moment.now_ns - last.now_ns) // 1_000_000
        if rested_ms < pause_ms(refusal.in_a_row):
            return ""
        if refusal.fault == "venue" and self._reconciler is not None:
            read_ns = self._reconciler.last_statement(refusal.venue).read_ns
            return "the venue states our account" if read_ns > last.now_ns else ""
        if refusal.symbol and self._listed_ms:
            is_listed = refusal.place not in self._stopped and self._listed_ms >= last.now_ms
            return "the venue lists it as trading" if is_listed else ""
        return f"nothing was refused for {rested_ms // 1000} s"

    def _refuse(self, place: VenueSymbol, fault: OrderFault, why: str, moment: Moment) -> list[Event]:
        self._refused[place] = moment
        known = self._state.venues.refuses.get(place)
        if known is not None and known.fault == fault:
            return []
        return [_changed(place, "refuses", why, moment.now_ms, fault)]

    def _was_busy(self, venue: str, why: str, moment: Moment) -> list[Event]:
        count, since_ns = self._busy.get(venue, (0, moment.now_ns))
        count += 1
        self._busy[venue] = count, since_ns
        known = self._state.venues.refuses.get((venue, ""))
        is_long = count >= BUSY_MIN and moment.now_ns - since_ns >= BUSY_MS * 1_000_000
        if not is_long or (known is not None and known.fault != "busy"):
            return []
        text = f"{count} orders in a row without a good answer: {why}"
        return self._refuse((venue, ""), "busy", text, moment)

    def _taken(self, market: Market, now_ms: int) -> Iterator[Event]:
        for place in ((market.venue, ""), place_of(market)):
            self._refused.pop(place, None)
            if place in self._state.venues.refuses:
                yield _changed(place, "takes orders", "it took an order", now_ms)


def fee_base(fill: Fill) -> Decimal | None:
    """Return the amount that the fee is a share of: base or quote traded; None for a fee in another coin."""
    if fill.fee_currency == fill.market.base:
        return fill.quantity
    return fill.quantity * fill.price if fill.fee_currency == fill.market.quote else None


def _changed(
    place: VenueSymbol, state: VenueState, why: str, now_ms: int, fault: OrderFault = ""
) -> VenueStateChanged:
    venue, symbol = place
    return VenueStateChanged(
        at_ms=now_ms, venue=venue, symbol=symbol, state=state, why=why[:_WHY_MAX], fault=fault
    )


def pause_ms(in_a_row: int) -> int:
    """Return how long nothing is tried after the last refusal, when it began to refuse so many times in a row."""
    return min(PAUSE_MS << min(in_a_row - 1, _DOUBLINGS_MAX), PAUSE_MS_MAX)
