"""Every reason not to trust what is seen, its threshold, and which one is named first."""

import pytest
from msgspec.structs import replace

from arbshard.config import DataConfig
from arbshard.engine.quality import UNSEEN, Quality, doubt, quality_of
from arbshard.model.refusal import Refusal

MS = 1_000_000
QUALITY = Quality(book_age_ns_max=1500 * MS, leg_skew_ns_max=1000 * MS, fx_age_ns_max=5000 * MS)


@pytest.fixture
def good(make):
    return {
        "home": make.view(make.home_book()),
        "away": make.view(make.away_book()),
        "fx": make.view(make.fx_book()),
    }


@pytest.fixture
def judge(make, good):
    def ask(now_ns=None, **views):
        return doubt(**{**good, **views}, now_ns=make.now_ns if now_ns is None else now_ns, quality=QUALITY)

    return ask


def aged(view, ms):
    assert view.book is not None
    return view._replace(book=replace(view.book, received_ns=view.book.received_ns - int(ms * MS)))


def test_settings_become_nanoseconds():
    config = DataConfig(max_book_age_ms=1.5, max_leg_skew_ms=2.0, max_fx_age_ms=3.25)
    assert quality_of(config) == Quality(1_500_000, 2_000_000, 3_250_000)


def test_good_data_is_trusted(judge):
    assert judge() is None


@pytest.mark.parametrize("side", ["home", "away"])
class TestEitherBook:
    def test_bad(self, judge, good, side):
        assert judge(**{side: good[side]._replace(book=None, bad=True)}) is Refusal.BOOK_BAD

    def test_missing(self, judge, side):
        assert judge(**{side: UNSEEN}) is Refusal.BOOK_MISSING

    def test_not_live(self, judge, good, side):
        assert judge(**{side: good[side]._replace(live=False)}) is Refusal.VENUE_DOWN

    def test_skewed(self, judge, good, side):
        assert judge(**{side: aged(good[side], 1000)}) is None
        assert judge(**{side: aged(good[side], 1000.001)}) is Refusal.LEG_SKEW

    def test_stale(self, judge, good, side):
        assert judge(**{side: aged(good[side], 1500.001)}) is Refusal.BOOK_STALE


def test_both_stale_together(judge, make):
    assert judge(make.now_ns + 1500 * MS) is None
    assert judge(make.now_ns + 1500 * MS + 1) is Refusal.BOOK_STALE


def test_fx_missing_or_bad(judge, good):
    assert judge(fx=UNSEEN) is Refusal.FX_MISSING
    assert judge(fx=good["fx"]._replace(book=None, bad=True)) is Refusal.FX_MISSING
    assert judge(fx=good["fx"]._replace(bad=True)) is Refusal.FX_MISSING


def test_fx_stale_or_its_venue_down(judge, good):
    assert judge(fx=aged(good["fx"], 5000)) is None
    assert judge(fx=aged(good["fx"], 5000.001)) is Refusal.FX_STALE
    assert judge(fx=good["fx"]._replace(live=False)) is Refusal.FX_STALE


def test_first_reason_is_named(judge, good):
    """Each line repairs the doubt of the line before and leaves all later ones."""
    old_home = aged(good["home"], 1600)._replace(live=False)
    bad = {"home": good["home"]._replace(book=None, bad=True), "away": UNSEEN, "fx": UNSEEN}
    assert judge(**bad) is Refusal.BOOK_BAD
    assert judge(home=old_home, away=UNSEEN, fx=UNSEEN) is Refusal.BOOK_MISSING
    assert judge(home=old_home, fx=UNSEEN) is Refusal.VENUE_DOWN
    assert judge(home=old_home._replace(live=True), fx=UNSEEN) is Refusal.BOOK_STALE
    assert judge(home=aged(good["home"], 1200), fx=UNSEEN) is Refusal.LEG_SKEW
    assert judge(fx=UNSEEN) is Refusal.FX_MISSING
    assert judge(fx=aged(good["fx"], 6000)) is Refusal.FX_STALE
