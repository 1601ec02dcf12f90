"""Computes with exact money: Decimal helpers that round against ourselves, and nothing else."""

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, InvalidOperation

ZERO = Decimal(0)
ONE = Decimal(1)
BPS = Decimal(10_000)

# 50 digits: quantity (8 places) x price (8 places) x fee (5 places) x FX is exact with room to spare, so no product
# or sum of money is ever rounded; only division is.
MONEY_CONTEXT = Context(prec=50)


_GROUPED = re.compile(r"\d{1,3}(,\d{3})+(\.\d*)?")


def use_money_context() -> None:
    """Make the exact context the current one; every process that touches money calls this at its start."""
    from decimal import setcontext

    setcontext(MONEY_CONTEXT.copy())


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Return the largest multiple of ``step`` that is not above ``value``, whatever context is in use."""
    assert step > 0, step
    return MONEY_CONTEXT.multiply(MONEY_CONTEXT.divide(value, step).to_integral_value(ROUND_FLOOR), step)


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """Return the smallest multiple of ``step`` that is not below ``value``, whatever context is in use."""
    assert step > 0, step
    return MONEY_CONTEXT.multiply(MONEY_CONTEXT.divide(value, step).to_integral_value(ROUND_CEILING), step)


def typed_amount(text: str) -> Decimal:
    """Return the amount that a person typed; commas may separate thousands.

    Raises ``InvalidOperation`` for anything else, such as ``1,5``: it means 1.5 in many countries, and must not be
    read as 15.
    """
    text = text.strip()
    if "," in text and not _GROUPED.fullmatch(text):
        raise InvalidOperation
    return Decimal(text.replace(",", ""))


def exact(value: float) -> Decimal:
    """Return the decimal a float was written as.

    ``repr`` gives the shortest text that reads back as the same float, which for prices and sizes of up to 15
    significant digits is the text the venue sent.
    """
    return Decimal(repr(value))


def plain(value: Decimal) -> str:
    """Return ``value`` without exponent and without trailing zeros, as it is stored and sent."""
    if value == 0:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
