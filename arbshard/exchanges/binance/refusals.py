"""How the simulated Binance says no: one exception with the venue's code, words and HTTP status.

Raised by every file that reads or carries out a request; ``rest`` and ``wsapi`` turn it into their error bodies.
"""

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]
"""What an answer is made of. Amounts are texts."""


class Refused(Exception):
    """A request that is not carried out."""

    def __init__(
        self, code: int, message: str, status: int = 400, data: dict[str, Json] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.data = data
        """More about it, where the venue says more."""
        self.retry_after_s = 0
        """Whole seconds to wait; 0 where waiting does not help."""
        self.retry_at_ms = 0
        """Wall time when waiting is over; 0 likewise."""

    def body(self) -> dict[str, Json]:
        """As the venue prints it."""
        body: dict[str, Json] = {"code": self.code, "msg": self.message}
        return body if self.data is None else {**body, "data": self.data}


def missing(name: str) -> Refused:
    """A mandatory parameter is not there."""
    return Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def missing_both(one: str, other: str) -> Refused:
    """One of two parameters is needed."""
    return Refused(-1102, f"Param '{one}' or '{other}' must be sent, but both were empty/null!")


def illegal(name: str, legal: str) -> Refused:
    """A parameter is not of its form; ``legal`` is the form as a regular expression."""
    return Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def not_required(name: str) -> Refused:
    """A parameter that does not go with the others."""
    return Refused(-1106, f"Parameter '{name}' sent when not required.")


def not_valid(name: str) -> Refused:
    """A parameter of the right form whose value makes no sense."""
    return Refused(-1130, f"Data sent for parameter '{name}' is not valid.")


def too_precise(name: str) -> Refused:
    """More decimals than the asset has."""
    return Refused(-1111, f"Parameter '{name}' has too much precision.")


def filter_failure(name: str) -> Refused:
    """An order breaks the filter of this name."""
    return Refused(-1013, f"Filter failure: {name}")


def rejected(message: str) -> Refused:
    """The matching engine does not take an order."""
    return Refused(-2010, message)


def unknown_order() -> Refused:
    """There is no open order to cancel."""
    return Refused(-2011, "Unknown order sent.")


def no_such_order() -> Refused:
    """There is no order to tell about."""
    return Refused(-2013, "Order does not exist.")


def bad_signature() -> Refused:
    """The signature is not that of the request."""
    return Refused(-1022, "Signature for this request is not valid.")


def bad_key() -> Refused:
    """No account has this key, or the key may not do this."""
    return Refused(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def bad_key_format() -> Refused:
    """The key is missing or no key at all."""
    return Refused(-2014, "API-key format invalid.", 401)
