"""Every reason not to trust what is seen, its threshold, and which one is named first."""

import pytest
from msgspec.structs import replace

from arbshard.config import DataConfig
from arbshard.engine.quality import QUIET, UNSEEN, Confirmed, Quality, View, data_refusal, quality_of
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
    def ask(now_ns=None, confirmed=None, **views):
        now_ns = make.now_ns if now_ns is None else now_ns
        return data_refusal(**{**good, **views}, now_ns=now_ns, quality=QUALITY, confirmed=confirmed)

    return ask


def aged(view, ms):
    assert view.book is not None
    return View(replace(view.book, received_ns=view.book.received_ns - int(ms * MS)), view.live, view.bad)


def changed(view, **how):
    return View(**{"book": view.book, "live": view.live, "bad": view.bad, **how})


def test_settings_become_nanoseconds():
    config = DataConfig(
        max_book_age_ms=1.5, max_leg_skew_ms=2.0, max_fx_age_ms=3.25, jump_bps=2500, jump_settle_ms=7.5
    )
    assert quality_of(config) == Quality(1_500_000, 2_000_000, 3_250_000, 1.25, 0.8, 7_500_000)


def test_good_data_is_trusted(judge):
    assert judge() is None


@pytest.mark.parametrize("side", ["home", "away"])
class TestEitherBook:
    def test_bad(self, judge, good, side):
        assert judge(**{side: changed(good[side], book=None, bad=True)}) is Refusal.BOOK_BAD

    def test_missing(self, judge, side):
        assert judge(**{side: UNSEEN}) is Refusal.BOOK_MISSING

    def test_not_live(self, judge, good, side):
        assert judge(**{side: changed(good[side], live=False)}) is Refusal.VENUE_DOWN

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
    assert judge(fx=changed(good["fx"], book=None, bad=True)) is Refusal.FX_MISSING
    assert judge(fx=changed(good["fx"], bad=True)) is Refusal.FX_MISSING


def test_fx_stale_or_its_venue_down(judge, good):
    assert judge(fx=aged(good["fx"], 5000)) is None
    assert judge(fx=aged(good["fx"], 5000.001)) is Refusal.FX_STALE
    assert judge(fx=changed(good["fx"], live=False)) is Refusal.FX_STALE


def test_first_reason_is_named(judge, good):
    """Each line repairs the doubt of the line before and leaves all later ones."""
    old_home = changed(aged(good["home"], 1600), live=False)
    bad = {"home": changed(good["home"], book=None, bad=True), "away": UNSEEN, "fx": UNSEEN}
    assert judge(**bad) is Refusal.BOOK_BAD
    assert judge(home=old_home, away=UNSEEN, fx=UNSEEN) is Refusal.BOOK_MISSING
    assert judge(home=old_home, fx=UNSEEN) is Refusal.VENUE_DOWN
    assert judge(home=changed(old_home, live=True), fx=UNSEEN) is Refusal.BOOK_STALE
    assert judge(home=aged(good["home"], 1200), fx=UNSEEN) is Refusal.LEG_SKEW
    assert judge(fx=UNSEEN) is Refusal.FX_MISSING
    assert judge(fx=aged(good["fx"], 6000)) is Refusal.FX_STALE


class TestConfirmed:
    """Confirmations count as frames do, for exits; they lift nothing but age."""

    @pytest.mark.parametrize(
        ("side", "ms", "refusal"),
        [
            ("home", 1600, Refusal.BOOK_STALE),
            ("away", 1600, Refusal.BOOK_STALE),
            ("home", 1200, Refusal.LEG_SKEW),
            ("away", 1200, Refusal.LEG_SKEW),
            ("fx", 6000, Refusal.FX_STALE),
        ],
    )
    def test_lifts_age(self, make, judge, good, side, ms, refusal):
        views = {side: aged(good[side], ms)}
        never = {"home_ns": 0, "away_ns": 0, "fx_ns": 0}
        assert refusal in QUIET
        assert judge(**views) is refusal
        assert judge(**views, confirmed=Confirmed(**never)) is refusal
        assert judge(**views, confirmed=Confirmed(**{**never, f"{side}_ns": make.now_ns})) is None

    def test_is_judged_by_the_same_bounds(self, make, judge, good):
        views = {"home": aged(good["home"], 9_000), "away": aged(good["away"], 9_000)}
        for age_ms, refusal in ((1500, None), (1500.001, Refusal.BOOK_STALE)):
            at_ns = make.now_ns - int(age_ms * MS)
            assert judge(**views, confirmed=Confirmed(at_ns, at_ns, 0)) is refusal
        skewed = Confirmed(make.now_ns, make.now_ns - 1001 * MS, 0)
        assert judge(**views, confirmed=skewed) is Refusal.LEG_SKEW

    @pytest.mark.parametrize("side", ["home", "away", "fx"])
    def test_lifts_nothing_else(self, make, judge, good, side):
        now = Confirmed(make.now_ns, make.now_ns, make.now_ns)
        for view in (UNSEEN, changed(good[side], live=False), changed(good[side], book=None, bad=True)):
            assert judge(**{side: view}, confirmed=now) is judge(**{side: view}) is not None


class TestGlance:
    def test_the_book_is_decoded_when_asked_for_and_once(self, make):
        loads = []

        def load():
            loads.append(1)
            return make.home_book()

        view = View.glanced(make.home_book().top, True, load)
        assert (view.top.best_bid, view.live, view.bad) == (make.home_book().best_bid, True, False)
        assert loads == []
        assert view.book == view.book == make.home_book()
        assert loads == [1]

    def test_a_book_found_bad_when_asked_for_is_not_trusted_from_then_on(self, make, judge):
        view = View.glanced(make.home_book().top, True, lambda: None)
        assert judge(home=view) is None
        assert view.book is None
        assert view.top is None
        assert judge(home=view) is Refusal.BOOK_BAD
        assert view.book is None
