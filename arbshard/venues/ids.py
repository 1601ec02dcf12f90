"""Names of orders and fills at the venues. Used by all that sends, asks or listens, so that both ways agree. Pure."""

from arbshard.model.market import Market

VENUE_ID_MAX = 36
"""Characters of a client order id, at the stricter venue."""


def venue_id(tag: str, client_id: str) -> str:
    """What an order is called at its venue: ours, behind the ledger's ``tag``.

    The tag keeps ids from repeating when a ledger is lost: a venue may remember an id for ever.
    """
    assert tag, "a ledger without a tag"
    name = f"{tag}-{client_id}"
    assert len(name) <= VENUE_ID_MAX, name
    return name


def client_id_of(tag: str, name: str) -> str | None:
    """Our id of an order that its venue calls ``name``; None for an order that is not ours."""
    head = f"{tag}-"
    return name[len(head) :] if tag and name.startswith(head) else None


def fill_id(market: Market, trade_id: str | int) -> str:
    """A fill's id for ever: some venues number trades per market, so the market is part of it."""
    return f"{market.venue}:{market.symbol}:{trade_id}"
