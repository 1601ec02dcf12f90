"""A hash of what the tables hold, not of how they came to hold it."""

from decimal import Decimal

from arbshard.risk.portfolio.fingerprint import fingerprint


def test_the_order_of_filling_does_not_matter() -> None:
    assert fingerprint(({"a": Decimal(1), "b": Decimal(2)},)) == fingerprint(
        ({"b": Decimal(2), "a": Decimal(1)},)
    )


def test_every_part_matters() -> None:
    seen = {
        fingerprint(({"a": Decimal(1)},)),
        fingerprint(({"a": Decimal(2)},)),
        fingerprint(({"b": Decimal(1)},)),
        fingerprint(({"a": Decimal(1)}, {})),
        fingerprint(({},), ({"a": Decimal(1)},)),
        fingerprint(({("a", "b"): {"c": (1, 2)}},)),
        fingerprint(({("a", "b"): {"c": (1, 3)}},)),
    }
    assert len(seen) == 7
