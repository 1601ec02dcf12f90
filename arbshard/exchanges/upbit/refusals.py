"""How the simulated Upbit says no: the venue's name for the error, its words and the HTTP status.

Raised by all that read or carry out a request; ``rest`` makes the reply of it.
"""

from typing import Literal

import msgspec


class Refused(Exception):
    """A request that is not carried out."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.status = status
        self.body = error_body(name, message)


def error_body(name: str | int, message: str) -> bytes:
    """The JSON of an error."""
    return msgspec.json.encode({"error": {"name": name, "message": message}})


def unauthorised(name: str, message: str) -> Refused:
    """401."""
    return Refused(401, name, message)


def missing(parameter: str) -> Refused:
    """A parameter that must be there is not."""
    return Refused(400, "validation_error", f"{parameter} is missing")


def invalid(parameter: str) -> Refused:
    """A parameter has a value that it cannot have."""
    return Refused(400, "invalid_parameter", f"{parameter} does not have a valid value")


def order_not_found() -> Refused:
    """No such order, or none that could still be cancelled."""
    return Refused(404, "order_not_found", "The order was not found.")


def market_not_found() -> Refused:
    """No such market."""
    return Refused(404, "notfoundmarket", "The market was not found.")


def by_side(kind: str, side: Literal["bid", "ask"], message: str) -> Refused:
    """An error that has the side in its name."""
    return Refused(400, f"{kind}_{side}", message)
