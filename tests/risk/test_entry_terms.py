"""What workers are told about entries: each pair's level, room and bars, and only what has changed."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.config import BaselineConfig, Config, SeriesConfig, SizingConfig
from arbshard.engine.baseline import Baselines
from arbshard.model.entry_terms import Bar, Baseline
from arbshard.model.refusal import Refusal
from arbshard.risk.core import RiskCore
from arbshard.risk.limits.reversion import ReversionRule
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.validation import Moment, Objection
from arbshard.wire.messages import Fund, Hello, ReadTerms, SetLimits
from support import world as w


def knowing(**known):
    """Baselines of these pairs, by base."""
    baselines = Baselines(SeriesConfig(), BaselineConfig())
    baselines.known.update(known)
    return baselines


SECOND = 1_000_000_000
GOOD = Baseline(level_bps=-12.3, band_bps=4.1, half_life_s=3.0, samples=100, returns=5)


@pytest.fixture
def core():
    world = w.World()
    core = RiskCore(Config(), world.universe, PortfolioState())
    core.start(w.NOW_MS, "run", "1")
    core.commit()
    core.handle(Hello(0, 1, 100, ("BTC", "ETH")), w.NOW_MS, 1)
    core.handle(Fund(0, 1, "BTC", Decimal(w.HOME_PRICE)), w.NOW_MS, 1)
    core.commit()
    return core


def refresh(core, second=0):
    core.refresh_terms(w.NOW_MS + second * 1000, second * SECOND)


def read(core, serial=0):
    reply, events = core.handle(ReadTerms(0, 1, serial), w.NOW_MS, 1)
    assert not events
    return reply


class Barring:
    """A rule that says what it is told."""

    def __init__(self):
        self.barred = {}

    def objection(self, pair, direction, moment):
        return self.barred.get((pair.base, direction))


def test_first_everything_then_what_has_changed(core):
    refresh(core, 1)
    terms = read(core)
    assert {one.pair for one in terms.pairs} == {"BTC", "ETH"}
    assert {currency for _, currency, _ in terms.available} >= {"KRW", "USDT", "BTC"}
    again = read(core, terms.serial)
    assert (again.serial, again.pairs, again.available) == (terms.serial, (), ())
    core.use_baselines(knowing(BTC=GOOD))
    refresh(core, 2)
    changed = read(core, terms.serial)
    assert changed.serial == terms.serial + 1
    assert {one.pair for one in changed.pairs} == {"BTC", "ETH"}  # BTC has a level, ETH is barred without one


def test_levels_are_told_in_steps(core):
    core.use_baselines(baselines := knowing(BTC=GOOD, ETH=GOOD))
    refresh(core, 1)
    terms = read(core)
    assert {one.level_bps for one in terms.pairs} == {-12.5}
    baselines.known["BTC"] = replace(GOOD, level_bps=-12.4, samples=101)
    refresh(core, 2)
    assert read(core, terms.serial).serial == terms.serial
    baselines.known["BTC"] = replace(GOOD, level_bps=-13.1)
    refresh(core, 3)
    assert [one.pair for one in read(core, terms.serial).pairs] == ["BTC"]


def test_a_round_takes_a_second_at_least(core):
    core.guard.entry_rules.append(rule := Barring())
    refresh(core, 1)
    serial = read(core).serial
    rule.barred["BTC", "buy_home"] = Objection(Refusal.HALTED, "why")
    core.refresh_terms(w.NOW_MS, SECOND + SECOND // 2)
    assert read(core, serial).serial == serial
    refresh(core, 2)
    (changed,) = read(core, serial).pairs
    assert changed.barred == (("buy_home", Refusal.HALTED),)


def test_bars_say_why(core):
    core.guard.entry_rules.append(rule := Barring())
    rule.barred["BTC", "buy_home"] = Objection(Refusal.HALTED, "one side")
    rule.barred["ETH", "buy_home"] = rule.barred["ETH", "buy_away"] = Objection(Refusal.HALTED, "both sides")
    refresh(core, 1)
    assert core.terms.bars == {
        "BTC": (Bar("buy_home", Refusal.HALTED, "one side"),),
        "ETH": (Bar("", Refusal.HALTED, "both sides"),),
    }
    rule.barred.clear()
    refresh(core, 2)
    assert not core.terms.bars


def test_a_tightened_limit_reaches_the_worker(core):
    refresh(core, 1)
    terms = read(core)
    assert {one.cost_max for one in terms.pairs} == {2 * SizingConfig().entry_notional_max}
    core.guard.set_symbol_limits(
        replace(core.guard.get_symbol_limits("BTC"), max_order_notional=Decimal(300_000))
    )
    refresh(core, 2)
    (changed,) = read(core, terms.serial).pairs
    assert (changed.pair, changed.cost_max, changed.barred) == ("BTC", Decimal(300_000), ())


def test_limits_that_workers_go_by_reach_them_when_they_are_changed(core):
    refresh(core, 1)
    terms = read(core)
    assert {(one.edge_bps_min, one.positions_max) for one in terms.pairs} == {(0.0, 1)}
    changes = (("edge_bps_min", "25"), ("symbol_positions_max", "2"), ("order_notional_max", "500000"))
    core.command(SetLimits(changes, ""), w.NOW_MS)
    core.commit()
    refresh(core, 2)
    changed = {(one.edge_bps_min, one.positions_max, one.cost_max) for one in read(core, terms.serial).pairs}
    assert changed == {(25.0, 2, Decimal(500_000))}


def test_room_that_is_too_small_for_any_entry_is_said(core):
    core.guard.set_symbol_limits(replace(core.guard.get_symbol_limits("BTC"), max_order_notional=Decimal(9)))
    refresh(core, 1)
    (bar,) = core.terms.bars["BTC"]
    assert bar == Bar(
        "", Refusal.ORDER_NOTIONAL, "BTC: the limit has room for 9, an entry has at least 20000"
    )


def test_serials_of_another_session_mean_nothing(core):
    refresh(core, 1)
    assert read(core, read(core).serial + 5).pairs


class TestReversion:
    MOMENT = Moment(0, 0, 0)

    def said(self, baseline, **settings):
        known = knowing() if baseline is None else knowing(BTC=baseline)
        rule = ReversionRule(BaselineConfig(**settings), 20.0, known)
        return rule.objection(w.World().pairs["BTC"], "buy_home", self.MOMENT)

    def test_a_gap_that_returns_soon_may_be_entered(self):
        assert self.said(GOOD) is None

    @pytest.mark.parametrize(
        ("baseline", "reason", "says"),
        [
            (None, Refusal.BASELINE_UNKNOWN, "60 samples, there are 0 yet"),
            (replace(GOOD, returns=2, half_life_s=None), Refusal.BASELINE_UNKNOWN, "2 excursions"),
            (replace(GOOD, half_life_s=10.5), Refusal.REVERTS_TOO_SLOWLY, "takes 10.5 s"),
            (replace(GOOD, half_life_s=None), Refusal.REVERTS_TOO_SLOWLY, "more than it lasted"),
            (replace(GOOD, excursion_s=21.0), Refusal.REVERTS_TOO_SLOWLY, "has lasted 21 s"),
        ],
    )
    def test_otherwise_it_says_why_not(self, baseline, reason, says):
        objection = self.said(baseline)
        assert objection.reason is reason
        assert says in objection.detail
        assert self.said(baseline, is_required=False) is None


def test_a_pair_that_has_gone_is_told_no_more_and_one_that_comes_back_is_told_anew(core) -> None:
    """What was known of it must not be used for the market that comes back."""
    refresh(core)
    whole = w.make_universe("BTC", "ETH")
    assert {terms.pair for terms in read(core).pairs} == {"BTC", "ETH"}
    core.set_universe(replace(w.make_universe("BTC"), serial=1), w.NOW_MS)
    core.commit()
    assert {terms.pair for terms in read(core).pairs} == {"BTC"}  # before the next round too
    refresh(core, 10)
    before = core.terms.serial
    core.set_universe(replace(whole, serial=2), w.NOW_MS)
    core.commit()
    assert read(core, before).pairs == ()
    refresh(core, 20)
    assert {terms.pair for terms in read(core, before).pairs} == {"ETH"}
