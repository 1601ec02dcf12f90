"""Makes the names of orders and fills at the venues. Pure.

All code that sends orders, queries them or receives their events uses these functions, so that every id is written
and read in the same way.
"""

from arbshard.model.market import Market

VENUE_ID_MAX = 36
"""Length of a client order id in characters, at the stricter venue."""


def venue_id(tag: str, client_id: str) -> str:
    """Return the client order id that the venue is given: our id with the ledger's ``tag`` before it.

    The tag keeps ids from repeating when a ledger is lost, because a venue may remember an id for ever.
    """
    assert tag, "a ledger without a tag"
    name = f"{tag}-{client_id}"
    assert len(name) <= VENUE_ID_MAX, name
    return name


def client_id_of(tag: str, name: str) -> str | None:
    """Return our id of an order that its venue calls ``name``; None for an order that is not ours."""
    head = f"{tag}-"
    return name[len(head) :] if tag and name.startswith(head) else None


def fill_id(market: Market, trade_id: str | int) -> str:
    """Return the permanent id of a fill. Some venues number trades per market, so the market is part of it."""
    return f"{market.venue}:{market.symbol}:{trade_id}"
