"""What Upbit's words for the state of an order mean: one table, for REST and the private stream alike. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from arbshard.model.order import OrderState

STATES: Final[Mapping[str, OrderState]] = {
    "wait": "ACCEPTED",
    "watch": "ACCEPTED",
    "trade": "PARTIAL",  # the private stream only: one execution
    "prevented": "ACCEPTED",  # self-trade prevention took a part; how the order ends is told after that
    "done": "FILLED",
    "cancel": "EXPIRED",  # nobody cancels our orders: it is how an IOC order ends that found too little
}


def state_of(word: str, filled: Decimal) -> OrderState:
    """The state of an order that Upbit calls ``word`` and of which ``filled`` was executed.

    A word that is not in the table is UNKNOWN, so that the order is asked about again.
    """
    state = STATES.get(word, "UNKNOWN")
    return "PARTIAL" if state == "ACCEPTED" and filled else state
