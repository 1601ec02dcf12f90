"""Finds which venues send no books, and which venues and markets take no orders, for ``collect``. Pure."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from arbshard.model.order import OrderFault
from arbshard.model.risk_note import RiskNote, VenueRefusalNote
from arbshard.status.model import Problem, VenueStatus

_PAIRS_SHOWN = 8
_UNCONNECTED = frozenset({"connecting", "down", "rest"})

_WHAT_TO_DO: dict[OrderFault, str] = {
    "venue": "check the key, its permissions and its addresses at the venue, then 'arbshard doctor'",
    "busy": "it is tried again with pauses; 'arbshard halt --flatten' closes what both venues let close",
    "market": "see the venue's notices; 'arbshard symbols remove {pair}' takes the pair out",
    "order": "its listing is read again; 'arbshard symbols remove {pair}' takes the pair out",
}

_WHAT_WARNED_PAIRS_DO: dict[str, str] = {
    "ignore": "it trades as usual by the rule for that",
    "no_entries": "it enters nothing, and what is open is left as usual",
    "close": "it enters nothing, and is closed once both venues can be used",
}


def problems_of_feeds(venues: Iterable[VenueStatus]) -> Iterator[Problem]:
    """Yield a problem for each venue whose books do not come as they should, or come late."""
    venues = tuple(venues)
    for venue in venues:
        if not venue.is_well:
            how = "on REST" if venue.state == "rest" else venue.state
            # An error of before does not explain why a venue is stale whose streams are up.
            why = f": {venue.last_error}" if venue.state in _UNCONNECTED and venue.last_error else ""
            yield Problem("feed", venue.name, f"{venue.name} is {how}{why}")
    for venue in venues:
        if venue.late and venue.lag_ms_max is not None:
            yield Problem(
                "late",
                venue.name,
                f"books of {venue.name} come late ({', '.join(venue.late)}; more than {venue.lag_ms_max:,} ms after "
                "they were sent): nothing is entered on them; the venue or the line to it is slow, or this "
                "computer's clock is wrong",
            )


def problems_of_orders(note: RiskNote) -> Iterator[Problem]:
    """Yield a problem for each venue and market that takes no orders, and for each currency that orders lacked."""
    for refusal in note.refusing:
        yield Problem("refusing", f"{refusal.venue} {refusal.symbol}".rstrip(), _refused(refusal))
    for short in note.short:
        times = "an order" if short.count == 1 else f"{short.count} orders"
        yield Problem(
            "shortage",
            f"{short.venue} {short.currency}",
            f"{short.venue} has refused {times} for want of {short.currency} since {_at(short.since_ms)} "
            f"({short.why}): what spends {short.currency} there cannot be entered, hedged or closed; "
            f"compare with 'arbshard reconcile', or deposit {short.currency}",
        )


def problems_of_wallets(note: RiskNote) -> Iterator[Problem]:
    """Yield a problem for each venue that does not report which deposits and withdrawals are open."""
    for one in note.wallets:
        if one.problem:
            known = f"its report of {_at(one.at_ms)} is used" if one.at_ms else "nothing is barred there"
            yield Problem(
                "wallets",
                one.venue,
                f"{one.venue} does not report which deposits and withdrawals are open ({one.problem}): {known}; "
                "give the key the right to read, or set warnings.wallets_every_s = 0",
            )


def notices_of_warnings(note: RiskNote) -> Iterator[str]:
    """Yield a line for each warning of a venue."""
    for one in note.warnings:
        yield f"{one.pair}: {one.text}: {_WHAT_WARNED_PAIRS_DO[one.rule]}"


def notices_of_fees(note: RiskNote) -> Iterator[Problem]:
    """Yield a problem for each fee that is not the configured one."""
    for fee in note.fees:
        subject = f"{fee.venue} {fee.symbol} {fee.side}"
        if fee.stated:
            means = (
                f"pairs of {fee.venue} enter nothing, exits go on"
                if fee.stated == "above"
                else "edges are calculated with the configured one, which is larger"
            )
            yield Problem(
                "fee",
                subject,
                f"{fee.venue} states a fee of {fee.paid_bps} bps for a {fee.side}, configured are "
                f"{fee.configured_bps}: {means}; set venues.{fee.venue}.{fee.side}_fee_bps and start again",
            )
            continue
        yield Problem(
            "fee",
            subject,
            f"{fee.venue} charged {fee.paid_bps} bps for a {fee.side} on {fee.symbol}, configured are "
            f"{fee.configured_bps}: results are booked as charged, decisions use the configured fee; "
            f"set venues.{fee.venue}.{fee.side}_fee_bps",
        )


def _refused(one: VenueRefusalNote) -> str:
    pairs = ", ".join(one.pairs[:_PAIRS_SHOWN]) + (", ..." if len(one.pairs) > _PAIRS_SHOWN else "")
    where = f"{one.venue} {one.symbol}" if one.symbol else one.venue
    what = _WHAT_TO_DO.get(one.fault, "").format(pair=one.pairs[0] if one.pairs else "PAIR")
    enters = (
        f"{pairs} {'enters' if len(one.pairs) == 1 else 'enter'} nothing"
        if one.pairs
        else "nothing is entered"
    )
    return (
        f"{where} takes no orders since {_at(one.since_ms)} ({one.why}): {enters}, open positions stay hedged "
        f"and their exits are tried with pauses; {what}"
    )


def _at(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
