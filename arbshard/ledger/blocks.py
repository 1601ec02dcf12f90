"""Finds what a ledger says is blocked, for ``arbshard reconcile`` while nothing runs. It only reads."""

from arbshard.ledger.events import DifferenceFound, DifferenceResolved, StrayFound, StrayGone
from arbshard.ledger.history import LedgerHistory
from arbshard.wire.reconciliation import Difference, Reconciliation, StrayOrder

_KINDS = ("DifferenceFound", "DifferenceResolved", "StrayFound", "StrayGone")


def blocks_of(reader: LedgerHistory) -> Reconciliation:
    """Return the differences and stray orders that no event has resolved.

    Which pairs they block depends on the run. Raises ``LedgerError``.
    """
    differences: dict[tuple[str, str], Difference] = {}
    strays: dict[tuple[str, str], StrayOrder] = {}
    for seq, at_ms, _, _, _, body in reader.rows(_KINDS):
        match reader.decode(seq, body):
            case DifferenceFound(venue=venue, currency=currency) as differs:
                known = differences.get((venue, currency))
                since_ms = known.since_ms if known is not None else at_ms
                differences[venue, currency] = Difference(
                    venue, currency, differs.stated, differs.booked, since_ms, (), differs.high - differs.low
                )
            case DifferenceResolved(venue=venue, currency=currency):
                differences.pop((venue, currency), None)
            case StrayFound(venue=venue, client_id=client_id) as found:
                strays[venue, client_id] = StrayOrder(
                    venue, client_id, found.symbol, found.remaining, at_ms, found.pair
                )
            case StrayGone(venue=venue, client_id=client_id):
                strays.pop((venue, client_id), None)
            case _:
                pass  # the row's kind is not that of its event: ``verify`` reports it
    return Reconciliation(
        tag=reader.live.meta.get("tag", ""),
        statements=(),
        differences=tuple(differences[key] for key in sorted(differences)),
        strays=tuple(strays[key] for key in sorted(strays)),
        unknown=(),
    )
