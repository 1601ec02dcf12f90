"""What ccxt's words mean: only what certainly changed nothing is called refused."""

import importlib.util

import msgspec
import pytest

from arbshard.venues.unified.calls import ErrorText
from arbshard.venues.unified.states import ERRORS, STATES, state_of, understand


def said(*lines, status=400, message="words"):
    return understand(status, msgspec.json.encode(ErrorText([*lines, "BaseError"], message)))


@pytest.mark.parametrize(
    ("lines", "meaning"),
    [
        (("OrderNotFound", "InvalidOrder", "ExchangeError"), "not_found"),
        (("OrderImmediatelyFillable", "InvalidOrder", "ExchangeError"), "rejected"),
        (("InsufficientFunds", "ExchangeError"), "rejected"),
        (("BadSymbol", "BadRequest", "ExchangeError"), "rejected"),
        (("MarketClosed", "OperationRejected", "ExchangeError"), "rejected"),
        (("DuplicateOrderId", "InvalidOrder", "ExchangeError"), "unknown"),
        (("RateLimitExceeded", "NetworkError", "OperationFailed"), "not_accepted"),
        (("DDoSProtection", "NetworkError", "OperationFailed"), "not_accepted"),
        (("RequestTimeout", "NetworkError", "OperationFailed"), "unknown"),
        (("OnMaintenance", "ExchangeNotAvailable", "NetworkError", "OperationFailed"), "unknown"),
        (("NullResponse", "BadResponse", "OperationFailed"), "unknown"),
        (("CancelPending", "OperationFailed"), "unknown"),
        (("ExchangeError",), "unknown"),
        (("OfATreeThatIsNewer", "ExchangeError"), "unknown"),
    ],
)
def test_exceptions(lines, meaning):
    assert said(*lines).meaning == meaning
    assert said(*lines).detail == f"{lines[0]}: words"


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (("PermissionDenied", "AuthenticationError", "ExchangeError"), "venue"),
        (("AccountSuspended", "AuthenticationError", "ExchangeError"), "venue"),
        (("RestrictedLocation", "OperationRejected", "ExchangeError"), "venue"),
        (("InsufficientFunds", "ExchangeError"), "funds"),
        (("InvalidOrder", "ExchangeError"), "order"),
        (("OrderImmediatelyFillable", "InvalidOrder", "ExchangeError"), "order"),
        (("BadRequest", "ExchangeError"), "order"),
        (("BadSymbol", "BadRequest", "ExchangeError"), "market"),
        (("ContractUnavailable", "InvalidOrder", "ExchangeError"), "market"),
        (("MarketClosed", "OperationRejected", "ExchangeError"), "market"),
        (("RateLimitExceeded", "NetworkError", "OperationFailed"), "busy"),
        (("DDoSProtection", "NetworkError", "OperationFailed"), "busy"),
        (("InvalidNonce", "NetworkError", "OperationFailed"), "busy"),
        (("RequestTimeout", "NetworkError", "OperationFailed"), ""),
        (("DuplicateOrderId", "InvalidOrder", "ExchangeError"), ""),
        (("OrderNotFound", "InvalidOrder", "ExchangeError"), ""),
    ],
)
def test_what_a_refusal_says_about_trying_again(lines, fault):
    assert said(*lines).fault == fault


def test_clocks():
    assert said("InvalidNonce", "NetworkError", "OperationFailed").clock_off


@pytest.mark.parametrize("line", ["InvalidOrder", "InsufficientFunds", "OrderNotFound", "RateLimitExceeded"])
def test_from_500_on_nobody_knows(line):
    assert said(line, status=500).meaning == "unknown"
    assert said(line, status=503).meaning == "unknown"


def test_a_text_of_another_form_goes_by_its_status():
    assert understand(429, b"<html>").meaning == "not_accepted"
    assert understand(502, b"<html>").meaning == "unknown"


@pytest.mark.parametrize(
    ("word", "filled", "state"),
    [
        ("open", 0, "ACCEPTED"),
        ("open", 1, "PARTIAL"),
        ("closed", 1, "FILLED"),
        ("canceled", 0, "EXPIRED"),
        ("canceling", 1, "PARTIAL"),
        ("rejected", 0, "REJECTED"),
        (None, 0, "ACCEPTED"),
        ("a new word", 1, "UNKNOWN"),
        ("", 0, "UNKNOWN"),
    ],
)
def test_order_states(word, filled, state):
    assert state_of(word, filled) == state


@pytest.mark.needs("ccxt")
def test_every_exception_of_the_table_is_ccxts():
    assert importlib.util.find_spec("ccxt") is not None
    from ccxt.base import errors

    assert {name for name in ERRORS if not hasattr(errors, name)} == set()
    assert set(STATES) == {"open", "closed", "canceled", "canceling", "expired", "rejected"}
