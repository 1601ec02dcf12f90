"""``Reconciler``: what venues state of our accounts, held against the ledger. Pure; owned by ``core``.

The first statement of a venue is what a live ledger begins with there. Each later one is compared, currency by
currency where nothing is under way; a difference, or an open order of ours that no intent owns, blocks entries of
the pairs concerned and nothing else, until both agree again or a person accepts. What blocks is in the ledger and
survives a restart; what was only heard is not, so after each start entries wait for the venues' word.
"""

from collections.abc import Iterator
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
from arbshard.model.market import Pair
from arbshard.model.money import ZERO, plain
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio.holdings import Account
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.reconcile.activity import Activity
from arbshard.risk.validation import Objection, is_amount, is_currency
from arbshard.wire.messages import CommandReply, Denied, Done, Statement
from arbshard.wire.reconciliation import (
    AcceptDifference,
    Difference,
    Reconciliation,
    StrayOrder,
    UnknownOrder,
    VenueStatement,
)

Answer = tuple[CommandReply, list[Event]]
_REASON_MAX = 200


class StatementReceipt(NamedTuple):
    """What a venue last said. Wall times."""

    at_ms: int
    read_ns: int
    """Monotonic time of the same moment."""
    settled: bool
    settled_ms: int
    """Of its newest settled statement in this session; 0 for none."""
    compared_ms: int
    """The oldest of the newest comparisons of its currencies; 0 when one was never compared."""
    open_orders: int


_NOTHING = StatementReceipt(0, 0, settled=False, settled_ms=0, compared_ms=0, open_orders=0)


class Reconciler:
    """Compares statements with the ledger. A core has one live, and none on paper, where no venue keeps accounts."""

    def __init__(
        self, pairs: dict[str, Pair], state: PortfolioState, *, tolerance: Decimal, tag: str
    ) -> None:
        """``tolerance``: the largest difference that is none, in units of any currency. ``tag``: of the ledger."""
        self._pairs = pairs
        self._state = state
        self._tolerance = tolerance
        self._tag = tag
        self.activity = Activity(pairs.values())
        self._blocked: dict[Account, tuple[str, ...]] = {}
        self._symbols: dict[tuple[str, str], str] = {}
        self.venues: tuple[str, ...] = ()
        self.set_pairs()
        self.locked: dict[Account, Decimal] = {}
        """What orders that are not ours have locked."""
        self._heard: dict[str, StatementReceipt] = {}
        self._compared: dict[Account, int] = {}
        self._new: set[str] = set()
        """Simulated venues that have begun anew and not yet said with what."""

    def set_pairs(self) -> None:
        """The pairs have changed; what was heard and compared stands."""
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
        """The simulated exchanges of another run know nothing of what was there before."""
        self._new = set(self.venues)

    # what others ask

    def last_statement(self, venue: str) -> StatementReceipt:
        """What ``venue`` last said in this session."""
        return self._heard.get(venue, _NOTHING)

    def available(self, venue: str, currency: str) -> Decimal:
        """What a new order may spend: neither held for ours nor locked by anybody else's.

        While venue and ledger differ, the smaller of both counts.
        """
        free = self._state.balances.available(venue, currency)
        known = self._state.reconciled.differences.get((venue, currency))
        if known is not None and known.amount < 0:
            free = max(ZERO, free + known.amount)
        locked = self.locked.get((venue, currency))
        return free if locked is None else max(ZERO, free - locked)

    def objection(self, pair: Pair) -> Objection | None:
        """504, 503: why nothing of ``pair`` may be entered."""
        for venue in _venues(pair):
            if not self.last_statement(venue).settled_ms:
                detail = f"{venue} has not stated what we own there since the last start"
                return Objection(Refusal.NO_STATEMENT, detail)
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

    def blocked_by(self, account: Account) -> tuple[str, ...]:
        """The pairs that a difference of ``account`` blocks."""
        return self._blocked.get(account, ())

    # what they tell

    def compare(self, said: Statement, now_ms: int) -> Answer:
        """A venue's statement; the events are to be applied before the next one."""
        problem = self._problem(said)
        if problem is not None:
            return Denied(problem), []
        before = self.last_statement(said.venue)
        if said.read_ns <= before.read_ns:
            return Done(f"{said.venue}: older than what was heard already"), []
        heard = before._replace(
            at_ms=said.at_ms,
            read_ns=said.read_ns,
            settled=said.settled,
            open_orders=len(said.open_orders),
        )
        self._heard[said.venue] = heard
        if not said.settled:
            return Done(f"{said.venue}: not settled, so not compared"), []
        if self.activity.is_before_session(said.read_ns):
            return Done(f"{said.venue}: from before this start, so not compared"), []
        stated = {currency: free + locked for currency, free, locked in said.balances}
        if said.venue in self._new or said.venue not in self._state.reconciled.opened:
            self._new.discard(said.venue)
            currencies = self._currencies(said.venue, stated)
            events = list(self._opening(said.venue, stated, now_ms))
        else:
            is_quiet = self.activity.quiet(said.venue, said.read_ns, self._state.trades.values())
            currencies = [one for one in self._currencies(said.venue, stated) if is_quiet(one)]
            events = list(self._compare(said.venue, stated, currencies, now_ms))
        events += self._look_for_strays(said, now_ms)
        self._lock(said, currencies)
        for currency in currencies:
            self._compared[said.venue, currency] = said.at_ms
        every = self._currencies(said.venue, stated)
        oldest_ms = min((self._compared.get((said.venue, one), 0) for one in every), default=said.at_ms)
        self._heard[said.venue] = heard._replace(settled_ms=said.at_ms, compared_ms=oldest_ms)
        waiting = f", {left} wait for orders under way" if (left := len(every) - len(currencies)) else ""
        return Done(f"{said.venue}: {len(currencies)} currencies compared{waiting}"), events

    def accept(self, command: AcceptDifference, now_ms: int) -> Answer:
        """Book what the venue says."""
        account = command.venue, command.currency
        known = self._state.reconciled.differences.get(account)
        if known is None:
            return Denied(f"{command.venue} {command.currency}: venue and ledger do not differ"), []
        deposited = Deposited(
            at_ms=now_ms,
            venue=command.venue,
            currency=command.currency,
            amount=known.amount,
            why="adjustment",
            reason=command.reason[:_REASON_MAX] or "by hand",
        )
        resolved = DifferenceResolved(
            at_ms=now_ms, venue=command.venue, currency=command.currency, how="accepted"
        )
        text = (
            f"{command.venue} {command.currency}: {plain(known.amount)} booked; its pairs may be traded again"
        )
        return Done(text), [deposited, resolved]

    def _problem(self, said: Statement) -> str | None:
        if said.venue not in self.venues:
            return f"{said.venue[:_REASON_MAX]} is no venue of this run"
        amounts = [amount for _, *both in said.balances for amount in both]
        amounts += [remaining for _, _, remaining in said.open_orders]
        wrong = next((amount for amount in amounts if not is_amount(amount)), None)
        if wrong is not None:
            return f"{said.venue}: {wrong} is no amount"
        names = [currency for currency, _, _ in said.balances]
        unnamed = next((name for name in names if not is_currency(name)), None)
        if unnamed is not None:
            return f"{said.venue}: {unnamed[:_REASON_MAX]!r} is no currency"
        return f"{said.venue} names a currency twice" if len(set(names)) < len(names) else None

    def _currencies(self, venue: str, stated: dict[str, Decimal]) -> list[str]:
        """All that the venue or the ledger has any of."""
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

    def _compare(
        self, venue: str, stated: dict[str, Decimal], currencies: list[str], now_ms: int
    ) -> Iterator[Event]:
        for currency in currencies:
            said, booked = stated.get(currency, ZERO), self._state.balance(venue, currency).total
            known = self._state.reconciled.differences.get((venue, currency))
            if abs(said - booked) > self._tolerance:
                if known is None or known.amount != said - booked:
                    yield DifferenceFound(
                        at_ms=now_ms, venue=venue, currency=currency, stated=said, booked=booked
                    )
            elif known is not None:
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


def reconciliation_of(reconciler: Reconciler | None, state: PortfolioState, tag: str) -> Reconciliation:
    """How venues and ledger differ, for people and for status. ``reconciler``: None on paper."""
    return Reconciliation(
        tag=tag,
        statements=tuple(_statements(reconciler)) if reconciler is not None else (),
        differences=tuple(
            Difference(
                *account,
                known.stated,
                known.booked,
                known.since_ms,
                reconciler.blocked_by(account) if reconciler is not None else (),
            )
            for account, known in sorted(state.reconciled.differences.items())
        ),
        strays=tuple(
            StrayOrder(venue, client_id, one.symbol, one.remaining, one.since_ms, one.pair)
            for (venue, client_id), one in sorted(state.reconciled.strays.items())
        ),
        unknown=tuple(_unknown(state)),
    )


def _statements(reconciler: Reconciler) -> Iterator[VenueStatement]:
    for venue in reconciler.venues:
        heard = reconciler.last_statement(venue)
        yield VenueStatement(venue, heard.at_ms, heard.settled, heard.compared_ms, heard.open_orders)


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
