"""Defines the simulated Binance's errors: one exception with the venue's code, message and HTTP status.

Every file that reads or carries out a request raises them; ``rest`` and ``wsapi`` turn them into error bodies.
"""

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]
"""What an answer is made of. Amounts are texts."""


class BinanceRefusal(Exception):
    """Is raised for a request that is not carried out."""

    def __init__(
        self, code: int, message: str, status: int = 400, data: dict[str, Json] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.data = data
        """Further data, where the venue returns such."""
        self.retry_after_s = 0
        """Whole seconds to wait; 0 where waiting does not help."""
        self.retry_at_ms = 0
        """Wall time in ms when the wait is over; 0 where waiting does not help."""

    def body(self) -> dict[str, Json]:
        """Return the error as the venue prints it."""
        body: dict[str, Json] = {"code": self.code, "msg": self.message}
        return body if self.data is None else {**body, "data": self.data}


def missing(name: str) -> BinanceRefusal:
    """Return the error for a mandatory parameter that is missing."""
    return BinanceRefusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def missing_both(one: str, other: str) -> BinanceRefusal:
    """Return the error for two parameters of which one is needed."""
    return BinanceRefusal(-1102, f"Param '{one}' or '{other}' must be sent, but both were empty/null!")


def illegal(name: str, legal: str) -> BinanceRefusal:
    """Return the error for a parameter with illegal characters; ``legal`` is its form as a regular expression."""
    return BinanceRefusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def not_required(name: str) -> BinanceRefusal:
    """Return the error for a parameter that does not go with the others."""
    return BinanceRefusal(-1106, f"Parameter '{name}' sent when not required.")


def not_valid(name: str) -> BinanceRefusal:
    """Return the error for a parameter of the right form with an invalid value."""
    return BinanceRefusal(-1130, f"Data sent for parameter '{name}' is not valid.")


def too_precise(name: str) -> BinanceRefusal:
    """Return the error for an amount with more decimals than the asset has."""
    return BinanceRefusal(-1111, f"Parameter '{name}' has too much precision.")


def filter_failure(name: str) -> BinanceRefusal:
    """Return the error for an order that breaks the filter of this name."""
    return BinanceRefusal(-1013, f"Filter failure: {name}")


def rejected(message: str) -> BinanceRefusal:
    """Return the error for an order that the matching engine does not accept."""
    return BinanceRefusal(-2010, message)


def invalid_symbol() -> BinanceRefusal:
    """Return the error for a symbol that does not exist."""
    return BinanceRefusal(-1121, "Invalid symbol.")


def market_closed() -> BinanceRefusal:
    """Return the error for a symbol that does not trade at present."""
    return rejected("Market is closed.")


def unknown_order() -> BinanceRefusal:
    """Return the error for a cancel of an order that is not open."""
    return BinanceRefusal(-2011, "Unknown order sent.")


def no_such_order() -> BinanceRefusal:
    """Return the error for a query about an order that does not exist."""
    return BinanceRefusal(-2013, "Order does not exist.")


def bad_signature() -> BinanceRefusal:
    """Return the error for a signature that is not that of the request."""
    return BinanceRefusal(-1022, "Signature for this request is not valid.")


def bad_key() -> BinanceRefusal:
    """Return the error for a key of no account, or without this permission."""
    return BinanceRefusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def bad_key_format() -> BinanceRefusal:
    """Return the error for a key that is missing or invalid."""
    return BinanceRefusal(-2014, "API-key format invalid.", 401)
