from collections.abc import Callable
from decimal import Decimal

import pytest

from arbshard.exchanges.binance.params import BinanceParams, from_request
from arbshard.exchanges.binance.refusals import BinanceRefusal


def refusal(action: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(BinanceRefusal) as refused:
        action()
    return refused.value.code, refused.value.message


def test_the_query_wins_over_the_body() -> None:
    params = from_request("a=1&b=x%20y", "a=2&c=3")
    assert [params.text(name) for name in "abc"] == ["1", "x y", "3"]
    params.finish()


def test_a_name_twice_in_one_part_is_refused() -> None:
    assert refusal(lambda: from_request("a=1&a=2", "")) == (
        -1101,
        "Duplicate values for a parameter detected.",
    )


def test_what_is_never_read_is_refused() -> None:
    params = BinanceParams({"symbol": "BTCUSDT", "colour": "red", "size": "5"})
    params.symbol()
    assert refusal(params.finish) == (
        -1104,
        "Not all sent parameters were read; read '1' parameter(s) but was sent '3'.",
    )
    params.skip("colour", "size")
    params.finish()


def test_missing_and_empty() -> None:
    params = BinanceParams({"empty": ""})
    missing = "Mandatory parameter '{}' was not sent, was empty/null, or malformed."
    assert refusal(lambda: params.need("absent")) == (-1102, missing.format("absent"))
    assert refusal(lambda: params.need("empty")) == (-1102, missing.format("empty"))
    assert refusal(lambda: params.text("empty")) == (-1105, "Parameter 'empty' was empty.")
    assert params.text("absent") is None
    assert params.decimal("absent") is None
    assert params.integer("absent") is None
    assert params.flag("absent") is False


@pytest.mark.parametrize("text", ["0.00000001", "1", "12345678.12345678", "1.100000000000", "0"])
def test_amounts(text: str) -> None:
    assert BinanceParams({"price": text}).decimal("price") == Decimal(text)


@pytest.mark.parametrize(
    "text", ["-1", "1e5", ".5", "1.", "nan", "inf", "1,5", " 1", "1\n", "1" * 21, "\u0661"]
)
def test_what_is_no_amount(text: str) -> None:
    code, message = refusal(lambda: BinanceParams({"price": text}).decimal("price"))
    assert code == -1100
    assert message == (
        r"Illegal characters found in parameter 'price'; legal range is '^([0-9]{1,20})(\.[0-9]{1,20})?$'."
    )


def test_more_than_eight_decimals() -> None:
    params = BinanceParams({"quantity": "0.000000001"})
    assert refusal(lambda: params.decimal("quantity")) == (
        -1111,
        "Parameter 'quantity' has too much precision.",
    )


def test_whole_numbers() -> None:
    params = BinanceParams({"good": "17", "bad": "17.5", "huge": "9" * 20})
    assert params.integer("good") == 17
    assert refusal(lambda: params.integer("bad"))[0] == -1100
    assert refusal(lambda: params.integer("huge"))[0] == -1108


def test_flags_symbols_ids_and_choices() -> None:
    params = BinanceParams(
        {"yes": "TRUE", "no": "false", "odd": "1", "symbol": "btcusdt", "id": "a b", "tif": "DAY"}
    )
    assert params.flag("yes") is True
    assert params.flag("no") is False
    assert refusal(lambda: params.flag("odd"))[0] == -1100
    assert refusal(params.symbol)[0] == -1100
    assert refusal(lambda: params.client_id("id"))[0] == -1100
    other = BinanceRefusal(-1115, "Invalid timeInForce.")
    assert refusal(lambda: params.one_of("tif", ("GTC", "IOC"), other)) == (-1115, "Invalid timeInForce.")
