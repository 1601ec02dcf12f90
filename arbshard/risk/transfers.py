"""``TransferDesk`` handles what people announce to move, and what venues state of it. Pure; ``core`` calls it.

A transfer is announced before or after it is made at the venue. Until its amount has left, it is held there. What
has left is ours and on no venue, so it is neither a difference nor a result; its fee is a cost once it has arrived,
and what never arrives is a loss when a person says so. On paper, where no venue states anything, an amount leaves at
once.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import combinations

from arbshard.ledger.events import (
    Deposited,
    DepositKind,
    DifferenceResolved,
    Event,
    TransferAnnounced,
    TransferEnded,
)
from arbshard.model.money import ZERO, plain
from arbshard.model.transfer import OUTSIDE, Transfer, TransferEnd
from arbshard.risk.portfolio.equity import to_cents
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.reconcile.reconciler import Reconciler
from arbshard.risk.validation import CommandOutcome, Moment, is_amount, is_currency, is_positive
from arbshard.wire.inventory import (
    AnnounceTransfer,
    ArriveTransfer,
    EndTransfer,
    OpenTransfers,
    ShowTransfers,
)
from arbshard.wire.messages import Denied, Done

_OPEN_MAX = 100
_TOGETHER_MAX = 6
"""Number of transfers of a currency that are considered together where one alone does not explain a difference."""
_REASON_MAX = 200


class TransferDesk:
    """Decides on transfers, and does not change the state itself."""

    def __init__(
        self,
        state: PortfolioState,
        reconciler: Reconciler | None,
        price_of: Callable[[str], Decimal | None],
        movable: Callable[[str, str], Decimal],
        venues: Callable[[], frozenset[str]],
    ) -> None:
        """Make the desk. ``price_of`` returns the value of a unit, ``movable`` the part of a balance that nothing
        needs.
        """
        self._state = state
        self._reconciler = reconciler
        self._price_of = price_of
        self._movable = movable
        self._venues = venues

    def answer(
        self, command: AnnounceTransfer | ArriveTransfer | EndTransfer | ShowTransfers, moment: Moment
    ) -> CommandOutcome:
        """Return the answer, and the events to apply and store before it is given."""
        match command:
            case AnnounceTransfer():
                return self._announce(command, moment)
            case ArriveTransfer():
                return self._arrive(command, moment)
            case EndTransfer():
                return self._end(command, moment)
            case ShowTransfers():
                return OpenTransfers(tuple(self._state.transfers.open.values())), []

    def _announce(self, command: AnnounceTransfer, moment: Moment) -> CommandOutcome:
        """Announce that a person moves money or coins."""
        problem = self._problem(command)
        if problem is not None:
            return Denied(problem), []
        price = command.price if command.price is not None else self._price_of(command.currency)
        if price is None:
            return Denied(f"nothing is known of the price of {command.currency}: give --price"), []
        number = self._state.transfers.count + 1
        announced = TransferAnnounced(
            at_ms=moment.now_ms,
            transfer_id=f"t{number}",
            source=command.source,
            target=command.target,
            currency=command.currency,
            amount=command.amount,
            fee=command.fee,
            price=price,
            reason=command.reason[:_REASON_MAX] or "by hand",
        )
        transfer = Transfer(
            announced.transfer_id,
            announced.source,
            announced.target,
            announced.currency,
            announced.amount,
            announced.fee,
            price,
            announced.at_ms,
            announced.reason,
        )
        made, text = self._at_once(transfer, moment)
        has_left = made and self._reconciler is not None  # the venue has stated it
        if not has_left and command.source != OUTSIDE:
            free = self._movable(command.source, command.currency)
            if command.amount > free:
                return Denied(
                    f"{command.source} {command.currency}: {plain(command.amount)} is to be moved, and "
                    f"{plain(free)} is neither held for orders nor needed to leave open positions"
                ), []
        return Done(f"{transfer.text}: {text}"), [announced, *made]

    def _arrive(self, command: ArriveTransfer, moment: Moment) -> CommandOutcome:
        """Book that a transfer, or a part of it, has arrived, as a person says."""
        known = self._state.transfers.open.get(command.transfer_id)
        if known is None:
            return Denied(self._unknown(command.transfer_id)), []
        if known.target == OUTSIDE:
            return Denied(f"{known.text}: it ends when it has left {known.source}"), []
        amount = known.expected if command.amount is None else command.amount
        most = known.amount if known.is_waiting else known.left
        if not is_positive(amount) or amount > most:
            return Denied(f"{known.text}: {plain(amount)} cannot arrive, {plain(most)} is under way"), []
        events = [*_departure(known, moment), *_arrival(known, amount, moment)]
        missing = most - amount
        if missing <= known.fee:
            text = f"{plain(amount)} has arrived at {known.target}; {plain(missing)} was the fee"
        else:
            text = (
                f"{plain(amount)} has arrived at {known.target}; {plain(missing)} is still under way: say "
                f"'arbshard transfer lost {known.transfer_id}' if it does not arrive"
            )
        events += self._resolved(known.target, known.currency, amount, moment)
        return Done(f"{known.text}: {text}"), events

    def _end(self, command: EndTransfer, moment: Moment) -> CommandOutcome:
        """Book that a transfer is cancelled or lost, as a person says."""
        known = self._state.transfers.open.get(command.transfer_id)
        if known is None:
            return Denied(self._unknown(command.transfer_id)), []
        under_way = known.under_way
        if command.how == "lost" and not under_way:
            what = "comes from outside" if known.source == OUTSIDE else f"has not left {known.source}"
            return Denied(f"{known.text}: nothing of ours is under way, because it {what}: cancel it"), []
        events: list[Event] = []
        fee = lost = ZERO
        if command.how == "lost":
            fee = min(known.fee, under_way)
            lost = under_way - fee
            text = f"{plain(under_way)} is lost, {plain(under_way * known.price)} by its price when announced"
        elif under_way:
            events.append(_deposit(known, known.source, under_way, "transfer", moment))
            events += self._resolved(known.source, known.currency, under_way, moment)
            text = f"{plain(under_way)} is back on {known.source}"
        else:
            text = "nothing more is expected of it"
        events.append(_end(known, command.how, fee, lost, moment))
        return Done(f"{known.text}: {text}"), events

    def recognise(
        self, venue: str, currency: str, fits: Callable[[Decimal], bool], moment: Moment
    ) -> list[Event]:
        """Return the events that explain what a venue states of a currency; none when nothing does.

        ``fits``: whether a change of what we own there explains it.
        """
        candidates: list[tuple[Decimal, Transfer]] = []
        for one in self._state.transfers.open.values():
            if one.currency != currency:
                continue
            if one.is_waiting and one.source == venue:
                candidates.append((-one.amount, one))
            elif one.target == venue:
                candidates.append((one.expected, one))
        candidates = candidates[:_TOGETHER_MAX]
        for size in range(1, len(candidates) + 1):
            for found in combinations(candidates, size):
                if fits(sum((amount for amount, _ in found), ZERO)):
                    return [event for amount, one in found for event in _moved(one, amount, moment)]
        return []

    def _at_once(self, transfer: Transfer, moment: Moment) -> tuple[list[Event], str]:
        """Return what an announcement makes happen at once, and a text about it."""
        end, expected = transfer.source, -transfer.amount
        if transfer.source == OUTSIDE:
            end, expected = transfer.target, transfer.expected
        if self._reconciler is None:
            events = _moved(transfer, expected, moment)
            if transfer.source == OUTSIDE:
                return events, f"{plain(expected)} is booked on {end}"
            if transfer.target == OUTSIDE:
                return events, f"{plain(transfer.amount)} has left {end}"
            return events, (
                f"{plain(transfer.amount)} has left {end}; say 'arbshard transfer in {transfer.transfer_id}' "
                f"when it has arrived"
            )
        resolved = self._resolved(end, transfer.currency, expected, moment)
        if resolved:
            text = "it explains the difference between venue and ledger, whose pairs may be traded again"
            return [*_moved(transfer, expected, moment), *resolved], text
        if transfer.source == OUTSIDE:
            return [], f"{plain(expected)} is expected on {end}"
        return [], f"{plain(transfer.amount)} is held on {end} until its statement shows that it has left"

    def _resolved(self, venue: str, currency: str, change: Decimal, moment: Moment) -> list[Event]:
        """Return the end of a difference that booking ``change`` explains; nothing where there is none."""
        if self._reconciler is None or not self._reconciler.explains(venue, currency, change):
            return []
        return [DifferenceResolved(at_ms=moment.now_ms, venue=venue, currency=currency, how="accepted")]

    def _problem(self, command: AnnounceTransfer) -> str | None:
        venues = self._venues()
        for end in (command.source, command.target):
            if end != OUTSIDE and end not in venues:
                known = ", ".join(sorted(venues))
                return f"{end[:_REASON_MAX]} is not a venue of this run; {OUTSIDE} or one of {known} would be right"
        if command.source == command.target:
            return f"a transfer from {command.source} to {command.target} moves nothing"
        if not is_currency(command.currency):
            return f"{command.currency[:_REASON_MAX]!r} is not a currency"
        if not is_positive(command.amount):
            return f"{command.amount} is not an amount to move"
        if not is_amount(command.fee) or command.fee >= command.amount:
            return f"a fee of {command.fee} leaves nothing of {plain(command.amount)}"
        if command.source == OUTSIDE and command.fee:
            return "from outside only what arrives counts: give that amount, without a fee"
        if command.price is not None and not is_positive(command.price):
            return f"{command.price} is not a price"
        if len(self._state.transfers.open) >= _OPEN_MAX:
            return f"{_OPEN_MAX} transfers are open; end some of them first"
        return None

    def _unknown(self, transfer_id: str) -> str:
        known = ", ".join(self._state.transfers.open) or "none"
        return f"no transfer {transfer_id[:_REASON_MAX]} is open; open: {known}"


def _moved(transfer: Transfer, change: Decimal, moment: Moment) -> list[Event]:
    """Return the events of an amount that has left (below 0) or arrived."""
    if change < 0:
        return [*_departure(transfer, moment)]
    return [*_departure(transfer, moment), *_arrival(transfer, change, moment)]


def _departure(transfer: Transfer, moment: Moment) -> Iterator[Event]:
    """Yield the events with which the whole amount leaves its source; a transfer to outside then ends."""
    if not transfer.is_waiting or transfer.source == OUTSIDE:
        return
    if transfer.target != OUTSIDE:
        yield _deposit(transfer, transfer.source, -transfer.amount, "transfer", moment)
        return
    yield _deposit(transfer, transfer.source, transfer.fee - transfer.amount, "withdrawal", moment)
    if transfer.fee:
        yield _deposit(transfer, transfer.source, -transfer.fee, "fee", moment)
    yield _end(transfer, "arrived", ZERO, ZERO, moment)


def _arrival(transfer: Transfer, amount: Decimal, moment: Moment) -> Iterator[Event]:
    is_from_outside = transfer.source == OUTSIDE
    yield _deposit(transfer, transfer.target, amount, "deposit" if is_from_outside else "transfer", moment)
    rest = (transfer.amount if transfer.is_waiting else transfer.left) - amount
    if rest <= transfer.fee:
        yield _end(transfer, "arrived", ZERO if is_from_outside else rest, ZERO, moment)


def _deposit(transfer: Transfer, venue: str, amount: Decimal, why: DepositKind, moment: Moment) -> Deposited:
    return Deposited(
        at_ms=moment.now_ms,
        venue=venue,
        currency=transfer.currency,
        amount=amount,
        why=why,
        reason=transfer.reason,
        transfer=transfer.transfer_id,
        value=_counts(-amount, transfer) if why == "fee" else ZERO,
        day=moment.day,
    )


def _counts(spent: Decimal, transfer: Transfer) -> Decimal:
    """Return what ``spent``, for which nothing was received, counts as a result."""
    return -to_cents(spent * transfer.price)


def _end(transfer: Transfer, how: TransferEnd, fee: Decimal, lost: Decimal, moment: Moment) -> TransferEnded:
    return TransferEnded(
        at_ms=moment.now_ms,
        transfer_id=transfer.transfer_id,
        currency=transfer.currency,
        how=how,
        fee=fee,
        lost=lost,
        value=_counts(fee + lost, transfer),
        day=moment.day,
    )
