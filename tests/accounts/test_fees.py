"""The account's fees are asked for at a slow pace, and what is known is kept while no answer comes."""

from decimal import Decimal
from types import SimpleNamespace

from arbshard.accounts.fees import FeeReader
from arbshard.clock import ManualClock
from arbshard.config import VenuesConfig
from arbshard.errors import VenueUnavailable
from arbshard.venues.base.client import Answer
from arbshard.venues.upbit.rules import UpbitRules

UPBIT = VenuesConfig().upbit
"""5 bps on either side."""
CHANCE = b'{"bid_fee":"%s","ask_fee":"0.0005","market":{"id":"KRW-BTC"}}'


class Asked:
    """Answers one after the other; None is a failure."""

    def __init__(self, *fees: bytes | None) -> None:
        self.fees = list(fees)
        self.paths: list[str] = []

    async def ask(self, request, *, urgent=False):
        self.paths.append(f"{request.path} {request.params['market']}")
        fee = self.fees.pop(0)
        if fee is None:
            raise VenueUnavailable("nobody there")
        return Answer(200, CHANCE % fee)


async def test_asked_at_the_start_and_again_after_ten_minutes(counted) -> None:
    asker, clock = Asked(b"0.0005", None, b"0.0025"), ManualClock()
    markets = {"KRW-ETH": SimpleNamespace(), "KRW-BTC": SimpleNamespace()}
    reader = FeeReader("upbit", UpbitRules(), asker, markets, UPBIT, counted, clock)
    first = await reader.fees()
    assert first is not None
    assert (first.symbol, first.buy_bps, first.sell_bps) == ("KRW-BTC", Decimal(5), Decimal(5))
    clock.advance_ms(599_000)
    assert await reader.fees() is first
    clock.advance_ms(2_000)
    assert await reader.fees() is first  # it fails, and what is known is kept
    assert counted.counts["fee_errors"] == 1
    clock.advance_ms(59_000)
    assert await reader.fees() is first
    clock.advance_ms(2_000)
    again = await reader.fees()
    assert again is not None
    assert again.buy_bps == Decimal(25)
    assert asker.paths == ["/v1/orders/chance KRW-BTC"] * 3


async def test_a_fee_that_refuses_entries_is_asked_for_again_each_minute(counted) -> None:
    """Entries are refused while it lasts, so its end must not be noticed ten minutes late."""
    asker, clock = Asked(b"0.0025", b"0.0025", b"0.0005"), ManualClock()
    reader = FeeReader("upbit", UpbitRules(), asker, {"KRW-BTC": SimpleNamespace()}, UPBIT, counted, clock)
    stated = []
    for _ in range(4):
        fees = await reader.fees()
        assert fees is not None
        stated.append(fees.buy_bps)
        clock.advance_ms(60_000)
    assert stated == [Decimal(25), Decimal(25), Decimal(5), Decimal(5)]
    assert asker.fees == []


async def test_without_a_market_nothing_is_asked(counted) -> None:
    reader = FeeReader("upbit", UpbitRules(), Asked(), {}, UPBIT, counted, ManualClock())
    assert await reader.fees() is None
