"""Which books executors may trade against."""

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from arbshard.config import DataConfig
from arbshard.data.recorded import RecordedMarketDataProvider
from arbshard.runner.books import ProviderBooks

MS = 1_000_000
QUALITY = DataConfig(max_book_age_ms=500.0, max_fx_age_ms=70_000.0)


@pytest.fixture
def world(make, clock):
    """Books of 500 ms at most, at a time and state the test sets."""
    now_ns = make.now_ns
    provider = RecordedMarketDataProvider(
        [make.home_book(received_ns=now_ns), make.fx_book(received_ns=now_ns - 60_000 * MS)]
    )
    pace = SimpleNamespace(clock=clock, has_ended=False)
    return SimpleNamespace(
        provider=provider, pace=pace, books=ProviderBooks(provider, pace, make.fx_leg, QUALITY)
    )


def test_unknown_markets_have_no_book(make, world):
    assert world.books.tradable(make.home) is None
    assert world.books.fx() is None
    view = world.books.view(make.home)
    assert (view.book, view.live, view.bad) == (None, False, False)


def test_a_book_is_tradable_until_it_is_too_old(make, world, clock):
    world.provider.step()
    assert world.books.tradable(make.home) is world.provider.get_latest_snapshot("KRW-BTC")
    clock.advance_ms(500)
    assert world.books.tradable(make.home) is not None
    clock.advance_ms(0.001)
    assert world.books.tradable(make.home) is None
    world.pace.has_ended = True  # no younger one will come
    assert world.books.tradable(make.home) is not None


def test_a_book_of_a_line_that_is_down_is_not_tradable(make, world, monkeypatch):
    world.provider.step()
    monkeypatch.setattr(world.provider, "is_live", lambda _: False)
    assert world.books.tradable(make.home) is None


def test_a_bad_book_hides_the_one_before(make, world, monkeypatch):
    world.provider.step()
    monkeypatch.setattr(world.provider, "is_bad", lambda _: True)
    assert world.books.tradable(make.home) is None
    view = world.books.view(make.home)
    assert (view.book, view.live, view.bad) == (None, True, True)


def test_the_rate_is_exact_and_has_its_age(make, world):
    world.provider.step()
    world.provider.step()
    assert world.books.fx() == replace(make.quote, age_ms=60_000)


def test_a_rate_is_tradable_until_it_is_too_old(make, world, clock, monkeypatch):
    assert world.books.tradable_fx() is None
    world.provider.step()
    world.provider.step()
    clock.advance_ms(10_000)
    assert world.books.tradable_fx() == replace(make.quote, age_ms=70_000)
    for broken in ("is_live", "is_bad"):
        with monkeypatch.context() as patch:
            patch.setattr(world.provider, broken, lambda _, is_so=broken == "is_bad": is_so)
            assert world.books.tradable_fx() is None
    clock.advance_ms(0.001)
    assert world.books.tradable_fx() is None
    assert world.books.fx().age_ms == 70_000  # what is over is valued at it
    world.pace.has_ended = True
    assert world.books.tradable_fx() is not None
