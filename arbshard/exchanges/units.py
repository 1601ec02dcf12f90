"""Exact amounts as integers of 1e-8: what both venues print at most. Used by every file that prices or prints."""

UNIT = 100_000_000
"""Units in 1: a price of 1 KRW, a size of 1 coin."""


def plain(units: int) -> str:
    """``units`` as a JSON number without exponent or trailing zeros: ``137002000``, ``0.0145``."""
    whole, rest = divmod(units, UNIT)
    return f"{whole}.{rest:08d}".rstrip("0") if rest else str(whole)


def fixed8(units: int) -> str:
    """``units`` with exactly 8 decimals, as Binance prints every amount."""
    return "%d.%08d" % divmod(units, UNIT)  # noqa: UP031 - a third faster, and books are mostly such amounts
