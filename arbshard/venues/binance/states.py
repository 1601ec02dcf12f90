"""What Binance's words for the status of an order mean: one table, for REST and user data alike. Pure."""

from collections.abc import Mapping
from typing import Final

from arbshard.model.order import OrderState

STATES: Final[Mapping[str, OrderState]] = {
    "NEW": "ACCEPTED",
    "PENDING_NEW": "ACCEPTED",
    "PARTIALLY_FILLED": "PARTIAL",
    "FILLED": "FILLED",
    "CANCELED": "CANCELED",
    "PENDING_CANCEL": "ACCEPTED",  # documented as not in use; such an order has not ended yet
    "REJECTED": "REJECTED",
    "EXPIRED": "EXPIRED",  # how an IOC order ends that found too little
    "EXPIRED_IN_MATCH": "EXPIRED",  # self-trade prevention
}


def state_of(word: str) -> OrderState:
    """The state of an order that Binance calls ``word``.

    A word that is not in the table is UNKNOWN, so that the order is asked about again.
    """
    return STATES.get(word, "UNKNOWN")
