"""Defines the simulated Upbit's errors: the venue's name, its message and the HTTP status.

Everything that reads or carries out a request raises them; ``rest`` turns them into replies.
"""

from typing import Literal

import msgspec


class UpbitRefusal(Exception):
    """Is raised for a request that is not carried out."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.status = status
        self.body = error_body(name, message)


def error_body(name: str | int, message: str) -> bytes:
    """Return the JSON of an error."""
    return msgspec.json.encode({"error": {"name": name, "message": message}})


def unauthorised(name: str, message: str) -> UpbitRefusal:
    """Return an error with status 401."""
    return UpbitRefusal(401, name, message)


def missing(parameter: str) -> UpbitRefusal:
    """Return the error for a mandatory parameter that is missing."""
    return UpbitRefusal(400, "validation_error", f"{parameter} is missing")


def invalid(parameter: str) -> UpbitRefusal:
    """Return the error for a parameter with an invalid value."""
    return UpbitRefusal(400, "invalid_parameter", f"{parameter} does not have a valid value")


def order_not_found() -> UpbitRefusal:
    """Return the error for an order that does not exist, or cannot be cancelled any more."""
    return UpbitRefusal(404, "order_not_found", "The order was not found.")


def market_not_found() -> UpbitRefusal:
    """Return the error for a market that does not exist."""
    return UpbitRefusal(404, "notfoundmarket", "The market was not found.")


def market_offline() -> UpbitRefusal:
    """Return the error for a market that does not trade at present."""
    return UpbitRefusal(403, "market_offline", "The market is not open for orders.")


def by_side(kind: str, side: Literal["bid", "ask"], message: str) -> UpbitRefusal:
    """Return an error that has the side in its name."""
    return UpbitRefusal(400, f"{kind}_{side}", message)
