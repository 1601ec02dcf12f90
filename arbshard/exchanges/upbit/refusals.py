"""How the simulated Upbit says no: the venue's name for the error, its words and the HTTP status.

Raised by all that read or carry out a request; ``rest`` makes the reply of it.
"""

from typing import Literal

import msgspec


class UpbitRefusal(Exception):
    """A request that is not carried out."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.status = status
        self.body = error_body(name, message)


def error_body(name: str | int, message: str) -> bytes:
    """The JSON of an error."""
    return msgspec.json.encode({"error": {"name": name, "message": message}})


def unauthorised(name: str, message: str) -> UpbitRefusal:
    """401."""
    return UpbitRefusal(401, name, message)


def missing(parameter: str) -> UpbitRefusal:
    """A parameter that must be there is not."""
    return UpbitRefusal(400, "validation_error", f"{parameter} is missing")


def invalid(parameter: str) -> UpbitRefusal:
    """A parameter has a value that it cannot have."""
    return UpbitRefusal(400, "invalid_parameter", f"{parameter} does not have a valid value")


def order_not_found() -> UpbitRefusal:
    """No such order, or none that could still be cancelled."""
    return UpbitRefusal(404, "order_not_found", "The order was not found.")


def market_not_found() -> UpbitRefusal:
    """No such market."""
    return UpbitRefusal(404, "notfoundmarket", "The market was not found.")


def market_offline() -> UpbitRefusal:
    """The market does not trade at present."""
    return UpbitRefusal(403, "market_offline", "The market is not open for orders.")


def by_side(kind: str, side: Literal["bid", "ask"], message: str) -> UpbitRefusal:
    """An error that has the side in its name."""
    return UpbitRefusal(400, f"{kind}_{side}", message)
