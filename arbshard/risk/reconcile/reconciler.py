"""``Reconciler``: compares what the venues state of our accounts with the ledger. Pure; owned by ``core``.

The first statement of a venue is what a live ledger begins with there. Each later one is compared, currency by
currency: with the ledger's amount, or, where orders may have moved the currency since the venue read it, with the
interval that ``activity`` allows. A difference, or an open order of ours that no intent owns, blocks entries of the
pairs concerned and nothing else, until both agree again or a person accepts. What blocks is in the ledger and
survives a restart. Statements do not survive it, so after each start entries wait for new ones; they wait as well
when the newest comparison is too old. Order and age of statements are measured in monotonic time.

What a venue's digits explain is no difference (``tolerance``). What the rounding of fills explains, one unit of the
last digit for each fill since both agreed last, is booked to an account of its own.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from arbshard.ledger.events import (
    AccountOpened,
    Deposited,
    DifferenceFound,
    DifferenceResolved,
    Event,
    StrayFound,
    StrayGone,
)
from arbshard.model.market import Direction, Pair
from arbshard.model.money import ZERO, plain
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio.equity import to_cents
from arbshard.risk.portfolio.holdings import Account
from arbshard.risk.portfolio.operator_state import KnownDifference
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.reconcile.activity import EXACT, Activity, Span
from arbshard.risk.reconcile.tolerance import Tolerances, digits_of
from arbshard.risk.validation import CommandOutcome, Moment, Objection, is_amount, is_currency
from arbshard.wire.messages import Denied, Done, Statement
from arbshard.wire.reconciliation import (
    AcceptDifference,
    Difference,
    Reconciliation,
    StrayOrder,
    UnknownOrder,
    VenueStatement,
)

Recognise = Callable[[str, str, Callable[[Decimal], bool], Moment], list[Event]]
"""(venue, currency, whether a change explains what the venue states, now): see ``risk.transfers``."""
_REASON_MAX = 200
FILLS_MAX = 1000
"""Largest number of fills between two agreements whose rounding is explained."""


class StatementReceipt(NamedTuple):
    """Says what a venue last stated in this session; 0 for never."""

    at_ms: int = 0
    """Wall time, for people."""
    read_ns: int = 0
    """Monotonic time of the same moment."""
    settled: bool = False
    settled_ns: int = 0
    """When its newest settled statement was read: monotonic time."""
    compared_ms: int = 0
    """Wall time of the oldest of the newest comparisons of its currencies; 0 when one was never compared."""
    compared_ns: int = 0
    """Monotonic time of the same."""
    is_exact: bool = False
    """Whether the newest settled statement was compared with amounts throughout, and with no interval."""
    open_orders: int = 0


_NOTHING = StatementReceipt()


class Reconciler:
    """Compares statements with the ledger. A core has one live, and none on paper, where no venue keeps accounts."""

    def __init__(
        self,
        pairs: dict[str, Pair],
        state: PortfolioState,
        *,
        tolerances: Tolerances,
        age_max_s: float,
        tag: str,
    ) -> None:
        """Make a reconciler. For entries, a venue's comparison may be ``age_max_s`` old. ``tag`` is the ledger's."""
        self._pairs = pairs
        self._state = state
        self._tolerances = tolerances
        self._age_max_ns = int(age_max_s * 1e9)
        self._tag = tag
        self.activity = Activity(pairs.values())
        self._blocked: dict[Account, tuple[str, ...]] = {}
        self._symbols: dict[tuple[str, str], str] = {}
        self.venues: tuple[str, ...] = ()
        self.set_pairs()
        self.locked: dict[Account, Decimal] = {}
        """What orders that are not ours have locked."""
        self._receipts: dict[str, StatementReceipt] = {}
        self._compared: dict[Account, tuple[int, int]] = {}
        """Wall time and monotonic time of the newest comparison of each currency."""
        self._unbounded_ns: dict[Account, int] = {}
        """Traded currencies that nothing bounds now, and since when (monotonic ns)."""
        self.recognise: Recognise = _explain_nothing
        """Returns the events that explain a difference: announced transfers."""
        self._new: set[str] = set()
        """Simulated venues that have begun anew and not stated their balances yet."""

    def set_pairs(self) -> None:
        """Follow a change of the pairs; what was stated and compared stays."""
        pairs = self._pairs.values()
        self.activity.set_pairs(pairs)
        legs = [(pair, leg.market) for pair in pairs for leg in (pair.home, pair.away)]
        blocked: dict[Account, list[str]] = {}
        for pair in pairs:
            for account in _accounts(pair):
                blocked.setdefault(account, []).append(pair.base)
        self._blocked = {account: tuple(bases) for account, bases in blocked.items()}
        self._symbols = {(market.venue, market.symbol): pair.base for pair, market in legs}
        self.venues = tuple(sorted({market.venue for _, market in legs}))

    def begin_anew(self) -> None:
        """Begin anew: the simulated exchanges of another run know nothing of what was there before."""
        self._new = set(self.venues)

    # What other parts ask.

    def last_statement(self, venue: str) -> StatementReceipt:
        """Return what ``venue`` last stated in this session."""
        return self._receipts.get(venue, _NOTHING)

    def available(self, venue: str, currency: str) -> Decimal:
        """Return what a new order may spend: what is neither held for our orders nor locked by orders of others.

        While venue and ledger differ, the smaller of both counts.
        """
        free = self._state.balances.available(venue, currency)
        known = self._state.reconciled.differences.get((venue, currency))
        if known is not None and known.amount < 0:
            free = max(ZERO, free + known.amount)
        locked = self.locked.get((venue, currency))
        return free if locked is None else max(ZERO, free - locked)

    def objection(self, pair: Pair, direction: Direction, moment: Moment) -> Objection | None:
        """Return why nothing of ``pair`` may be entered in either direction (504, 506, 503); None if it may."""
        del direction
        for venue in _venues(pair):
            stale = self._age_objection(venue, moment.now_ns)
            if stale is not None:
                return stale
        for account in _accounts(pair) if self._unbounded_ns else ():
            if self._is_too_old(self._unbounded_ns.get(account, moment.now_ns), moment.now_ns):
                return Objection(Refusal.STATEMENT_OLD, self._not_compared(account))
        reconciled = self._state.reconciled
        if reconciled.differences:
            for account in _accounts(pair):
                known = reconciled.differences.get(account)
                if known is not None:
                    said = f"{plain(known.stated)} by the venue, {plain(known.booked)} by the ledger"
                    return Objection(Refusal.NOT_RECONCILED, f"{' '.join(account)}: {said}")
        for (venue, client_id), stray in reconciled.strays.items():
            if stray.pair == pair.base:
                detail = f"{venue}: order {client_id} is open, and no open intent owns it"
                return Objection(Refusal.NOT_RECONCILED, detail)
        return None

    def trouble_with(self, venue: str, now_ns: int) -> str:
        """Return why entries wait for statements of ``venue``, as a sentence; empty when they do not."""
        stale = self._age_objection(venue, now_ns)
        if stale is not None:
            return stale.detail
        for account, since_ns in self._unbounded_ns.items():
            if account[0] == venue and self._is_too_old(since_ns, now_ns):
                return self._not_compared(account)
        return ""

    def _age_objection(self, venue: str, now_ns: int) -> Objection | None:
        settled_ns = self.last_statement(venue).settled_ns
        if not settled_ns:
            detail = f"{venue} has not stated what we own there since the last start"
            return Objection(Refusal.NO_STATEMENT, detail)
        if not self._is_too_old(settled_ns, now_ns):
            return None
        detail = f"{venue} has made no settled statement of what we own for {self._age_max_ns // 10**9} s"
        return Objection(Refusal.STATEMENT_OLD, detail)

    def _is_too_old(self, at_ns: int, now_ns: int) -> bool:
        return now_ns - at_ns > self._age_max_ns

    def _not_compared(self, account: Account) -> str:
        """Return a text that stays the same while it lasts, because each change is sent to the workers."""
        seconds = self._age_max_ns // 10**9
        return (
            f"{' '.join(account)} could not be compared for {seconds} s: orders under way may pay fees in it"
        )

    def blocked_by(self, account: Account) -> tuple[str, ...]:
        """Return the pairs that a difference of ``account`` blocks."""
        return self._blocked.get(account, ())

    # What the venues and people state.

    def compare(self, said: Statement, moment: Moment) -> CommandOutcome:
        """Return the events of a venue's statement; they are to be applied before the next one."""
        problem = self._problem(said)
        if problem is not None:
            return Denied(problem), []
        now_ms = moment.now_ms
        before = self.last_statement(said.venue)
        if said.read_ns <= before.read_ns:
            return Done(f"{said.venue}: older than the newest statement"), []
        receipt = before._replace(
            at_ms=said.at_ms,
            read_ns=said.read_ns,
            settled=said.settled,
            open_orders=len(said.open_orders),
        )
        self._receipts[said.venue] = receipt
        self.activity.forget_before(said.venue, said.read_ns)
        if not said.settled:
            return Done(f"{said.venue}: not settled, so not compared"), []
        if self.activity.is_too_old(said.venue, said.read_ns):
            return Done(f"{said.venue}: from before this start, so not compared"), []
        stated = {currency: free + locked for currency, free, locked in said.balances}
        every = self._currencies(said.venue, stated)
        spans: Mapping[str, Span] = {}
        if said.venue in self._new or said.venue not in self._state.reconciled.opened:
            self._new.discard(said.venue)
            events = list(self._opening(said.venue, stated, now_ms))
        else:
            trades = self._state.trades.values()
            spans = self.activity.spans(said.venue, said.read_ns, trades, self._state.balances)
            events = []
            for currency in every:
                account = said.venue, currency
                span = spans.get(currency, EXACT)
                events += self._compare(account, stated.get(currency, ZERO), span, moment)
        events += self._look_for_strays(said, now_ms)
        is_exact = self._note_comparison(said, every, spans)
        oldest_ms, oldest_ns = min(
            (self._compared.get((said.venue, one), (0, 0)) for one in every),
            key=lambda times: times[1],
            default=(said.at_ms, said.read_ns),
        )
        self._receipts[said.venue] = receipt._replace(
            settled_ns=said.read_ns, compared_ms=oldest_ms, compared_ns=oldest_ns, is_exact=is_exact
        )
        under_way = sum(1 for one in every if spans.get(one, EXACT).width)
        ways = f", {under_way} of them with an interval, for orders under way" if under_way else ""
        return Done(f"{said.venue}: {len(every)} currencies compared{ways}"), events

    def _note_comparison(self, said: Statement, every: list[str], spans: Mapping[str, Span]) -> bool:
        """Remember which amounts this statement was compared with. Return whether all of them were exact."""
        venue, before_ns = said.venue, self.last_statement(said.venue).settled_ns or said.read_ns
        exact = [one for one in every if not spans.get(one, EXACT).width]
        self._lock(said, exact)
        for account in self.activity.traded | {(venue, one) for one in every}:
            if account[0] != venue:
                continue
            if not spans.get(account[1], EXACT).is_vague:
                self._compared[account] = said.at_ms, said.read_ns
                self._unbounded_ns.pop(account, None)
            elif account in self.activity.traded:
                self._unbounded_ns.setdefault(account, before_ns)
        return len(exact) == len(every)

    def explains(self, venue: str, currency: str, change: Decimal) -> bool:
        """Return whether booking ``change`` would end a difference that is known."""
        known = self._state.reconciled.differences.get((venue, currency))
        if known is None:
            return False
        return abs(known.amount - change) <= self._tolerances.of(venue, currency) + known.uncertain

    def accept(self, command: AcceptDifference, price: Decimal | None, moment: Moment) -> CommandOutcome:
        """Book what the venue states as what the person says it is. ``price``: value of one unit, None if unknown."""
        account = command.venue, command.currency
        known = self._state.reconciled.differences.get(account)
        if known is None:
            return Denied(f"{command.venue} {command.currency}: venue and ledger do not differ"), []
        if known.uncertain:
            return Denied(
                f"{command.venue} {command.currency}: orders under way may explain {plain(known.uncertain)} of it; "
                "accept it when they have ended ('arbshard reconcile --end-intent PAIR' ends one that is stuck)"
            ), []
        where, has_more = f"{command.venue} {command.currency}", known.amount > 0
        if has_more is (command.kind in ("withdrawal", "fee")) and command.kind != "unexplained":
            return Denied(
                f"{where}: the venue has {'more' if has_more else 'less'} than the ledger, "
                f"which is not a {command.kind}"
            ), []
        counts = command.kind in ("fee", "unexplained")
        price = command.price if command.price is not None else price
        if counts and price is None:
            return Denied(f"nothing is known of the price of {command.currency}: give --price"), []
        value = -to_cents(-known.amount * price) if counts and price is not None else ZERO
        deposited = Deposited(
            at_ms=moment.now_ms,
            venue=command.venue,
            currency=command.currency,
            amount=known.amount,
            why=command.kind,
            reason=command.reason[:_REASON_MAX] or "by hand",
            value=value,
            day=moment.day,
        )
        resolved = DifferenceResolved(
            at_ms=moment.now_ms, venue=command.venue, currency=command.currency, how="accepted"
        )
        result = f", which counts {value:+,.2f} as a result" if counts else ", which counts as no result"
        text = (
            f"{where}: {plain(known.amount)} booked as {command.kind}{result}; its pairs may be traded again"
        )
        return Done(text), [deposited, resolved]

    def _problem(self, said: Statement) -> str | None:
        if said.venue not in self.venues:
            return f"{said.venue[:_REASON_MAX]} is not a venue of this run"
        amounts = [amount for _, *both in said.balances for amount in both]
        amounts += [remaining for _, _, remaining in said.open_orders]
        wrong = next((amount for amount in amounts if not is_amount(amount)), None)
        if wrong is not None:
            return f"{said.venue}: {wrong} is not an amount"
        names = [currency for currency, _, _ in said.balances]
        unnamed = next((name for name in names if not is_currency(name)), None)
        if unnamed is not None:
            return f"{said.venue}: {unnamed[:_REASON_MAX]!r} is not a currency"
        return f"{said.venue} names a currency twice" if len(set(names)) < len(names) else None

    def _currencies(self, venue: str, stated: dict[str, Decimal]) -> list[str]:
        """Return all currencies that the venue or the ledger has any of."""
        booked = {
            currency
            for (where, currency), held in self._state.balances.items()
            if where == venue and held.total
        }
        differing = {currency for where, currency in self._state.reconciled.differences if where == venue}
        return sorted(booked | differing | {currency for currency, amount in stated.items() if amount})

    def _opening(self, venue: str, stated: dict[str, Decimal], now_ms: int) -> Iterator[Event]:
        for currency in self._currencies(venue, stated):
            amount = stated.get(currency, ZERO) - self._state.balance(venue, currency).total
            if amount:
                yield Deposited(at_ms=now_ms, venue=venue, currency=currency, amount=amount, why="opening")
        yield AccountOpened(at_ms=now_ms, venue=venue)

    def _compare(self, account: Account, stated: Decimal, span: Span, moment: Moment) -> Iterator[Event]:
        """Compare one currency. ``span``: by how much both amounts may differ and be right."""
        venue, currency = account
        now_ms = moment.now_ms
        booked = self._state.balance(venue, currency).total
        difference = stated - booked
        unexplained = difference - span.nearest(difference)
        tolerance = self._tolerances.of(venue, currency)
        slack = tolerance + self.activity.rounding(account, digits_of(venue).unit, FILLS_MAX)
        known = self._state.reconciled.differences.get(account)
        is_same = known is not None and _is_still(known, difference, span, slack)
        if abs(unexplained) > slack:

            def fits(change: Decimal) -> bool:
                return abs(difference - change - span.nearest(difference - change)) <= slack

            explained = self.recognise(venue, currency, fits, moment)
            if explained:
                yield from explained
                if known is not None:
                    yield DifferenceResolved(at_ms=now_ms, venue=venue, currency=currency, how="agrees")
            elif not is_same:
                yield DifferenceFound(
                    at_ms=now_ms,
                    venue=venue,
                    currency=currency,
                    stated=stated,
                    booked=booked,
                    low=span.low,
                    high=span.high,
                )
            return
        if span.width and (known is None or is_same):
            return  # nothing contradicts it, and it is not known to the digit
        if not span.width:
            self.activity.agreed(account)
            if abs(difference) > tolerance:
                yield Deposited(
                    at_ms=now_ms,
                    venue=venue,
                    currency=currency,
                    amount=difference - tolerance.copy_sign(difference),
                    why="rounding",
                )
        if known is not None:
            yield DifferenceResolved(at_ms=now_ms, venue=venue, currency=currency, how="agrees")

    def _look_for_strays(self, said: Statement, now_ms: int) -> Iterator[Event]:
        known = self._state.reconciled.strays
        prefix = f"{self._tag}-"
        open_now: set[str] = set()
        for name, symbol, remaining in said.open_orders:
            client_id = name.removeprefix(prefix)
            if not self._tag or client_id == name or self._is_owned(client_id) or client_id in open_now:
                continue
            open_now.add(client_id)
            base = self._symbols.get((said.venue, symbol), "")
            is_old = (said.venue, client_id) in known
            if is_old or self.activity.has_ended_since((said.venue, base), said.read_ns):
                continue  # known, or its intent ended after this was read
            yield StrayFound(
                at_ms=now_ms,
                venue=said.venue,
                client_id=client_id,
                symbol=symbol,
                remaining=remaining,
                pair=base,
            )
        for (venue, client_id), stray in known.items():
            if venue == said.venue and client_id not in open_now:
                yield StrayGone(at_ms=now_ms, venue=venue, client_id=client_id, pair=stray.pair)

    def _is_owned(self, client_id: str) -> bool:
        trade = self._state.trades.get(client_id.rpartition("-")[0])
        return trade is not None and trade.result(client_id) is not None

    def _lock(self, said: Statement, currencies: list[str]) -> None:
        locked = {currency: amount for currency, _, amount in said.balances}
        for currency in currencies:
            amount = locked.get(currency, ZERO)
            if amount:
                self.locked[said.venue, currency] = amount
            else:
                self.locked.pop((said.venue, currency), None)


def _is_still(known: KnownDifference, difference: Decimal, span: Span, slack: Decimal) -> bool:
    """Return whether the difference that is known is still there, as far as ``span`` lets it be seen."""
    if known.uncertain and not span.width:
        return False
    off = slack + known.uncertain
    return difference - span.high - off <= known.amount <= difference - span.low + off


def _explain_nothing(*_: object) -> list[Event]:
    return []


def _venues(pair: Pair) -> tuple[str, str]:
    return pair.home.market.venue, pair.away.market.venue


def _accounts(pair: Pair) -> tuple[Account, ...]:
    home, away = pair.home.market, pair.away.market
    return (
        (home.venue, home.base),
        (home.venue, home.quote),
        (away.venue, away.base),
        (away.venue, away.quote),
    )


def reconciliation_of(
    reconciler: Reconciler | None, state: PortfolioState, tag: str, now_ns: int
) -> Reconciliation:
    """Return how venues and ledger differ, for people and for status. ``reconciler`` is None on paper."""
    return Reconciliation(
        tag=tag,
        statements=tuple(_statements(reconciler, now_ns)) if reconciler is not None else (),
        differences=tuple(
            Difference(
                *account,
                known.stated,
                known.booked,
                known.since_ms,
                reconciler.blocked_by(account) if reconciler is not None else (),
                known.uncertain,
            )
            for account, known in sorted(state.reconciled.differences.items())
        ),
        strays=tuple(
            StrayOrder(venue, client_id, one.symbol, one.remaining, one.since_ms, one.pair)
            for (venue, client_id), one in sorted(state.reconciled.strays.items())
        ),
        unknown=tuple(_unknown(state)),
        rounding=tuple(
            (*account, amount) for account, amount in sorted(state.results.rounding.items()) if amount
        ),
    )


def _statements(reconciler: Reconciler, now_ns: int) -> Iterator[VenueStatement]:
    for venue in reconciler.venues:
        receipt = reconciler.last_statement(venue)
        yield VenueStatement(
            venue,
            receipt.at_ms,
            receipt.settled,
            receipt.compared_ms,
            receipt.open_orders,
            receipt.read_ns,
            receipt.compared_ns,
            reconciler.trouble_with(venue, now_ns),
        )


def _unknown(state: PortfolioState) -> Iterator[UnknownOrder]:
    for trade in state.trades.values():
        for result in trade.orders:
            if result.state == "UNKNOWN":
                market = result.order.market
                yield UnknownOrder(
                    market.venue,
                    result.order.client_id,
                    market.symbol,
                    trade.intent.pair,
                    trade.intent.decided_ms,
                )
