"""What ``--grid`` may say, and the lattice that it spans."""

import pytest

from arbshard.config import Config
from arbshard.errors import ConfigError, UsageError
from arbshard.sweep.space import SearchSpace, parse_axes

BASE = Config()


def space(*texts):
    return SearchSpace(BASE, parse_axes(texts, BASE))


def test_values_are_sorted_as_numbers_and_kept_as_written():
    (axis,) = parse_axes(["strategy.entry_bps=100, 30,20.5"], BASE)
    assert axis == ("strategy.entry_bps", ("20.5", "30", "100"), True)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("entry_bps=20:30:5", ("20", "25", "30")),
        ("entry_bps=20:29:5", ("20", "25")),
        ("stop_loss_bps=0.1:0.3:0.1,50", ("0.1", "0.2", "0.3", "50")),
        ("take_profit_bps=-10:0:10", ("-10", "0")),
        ("sizing.entry_notional_max=500000,1000000", ("500000", "1000000")),
    ],
)
def test_ranges(text, values):
    assert parse_axes([text], BASE)[0].values == values


def test_values_without_an_order_stay_as_they_are_given():
    axes = parse_axes(["close_on_spread_reversal=true,false", "warnings.warning=ignore,close"], BASE)
    assert [(axis.values, axis.is_ordered) for axis in axes] == [
        (("true", "false"), False),
        (("ignore", "close"), False),
    ]


def test_points_and_configurations():
    grid = space("entry_bps=30,40", "max_hold_s=10,20,30")
    points = [grid.point(number) for number in range(grid.size)]
    assert points == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    config = grid.config((1, 2))
    assert (config.strategy.entry_bps, config.strategy.max_hold_s) == (40.0, 30.0)
    assert config.sizing == BASE.sizing
    assert grid.values((0, 1)) == {"strategy.entry_bps": "30", "strategy.max_hold_s": "20"}


def test_neighbours_differ_in_one_ordered_key():
    grid = space("entry_bps=30,40,50", "close_on_spread_reversal=true,false", "max_hold_s=10,20,30")
    assert sorted(grid.around((1, 0, 0), 1)) == [(0, 0, 0), (1, 0, 1), (2, 0, 0)]
    assert len(grid.around((1, 0, 0), 2)) == 4


def test_values_that_contradict_each_other_are_no_configuration():
    grid = space("min_edge_bps=10,50", "entry_bps=30,60")
    with pytest.raises(ConfigError, match="min_edge_bps is above entry_bps"):
        grid.config((1, 0))
    assert grid.config((1, 1)).strategy.min_edge_bps == 50


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ([], "name at least one key"),
        (["entry_bps"], "must be a key and its values"),
        (["entry_bps="], "must be a key and its values"),
        (["entry_bps=20,,30"], "a value is empty"),
        (["entry_pbs=20"], "there is no key 'entry_pbs'; is entry_bps meant?"),
        (["strategy=20"], "there is no key 'strategy'"),
        (["quite_unknown=20"], "configs/default.toml lists all keys"),
        (["buy_fee_bps=5"], "'buy_fee_bps' is one of"),
        (["venues.upbit.depth=5,10"], "a backtest has it from the tape"),
        (["name=a,b"], "cannot be varied"),
        (["symbols.homonyms=a,b"], "holds several values at once"),
        (["entry_bps=20,x"], "strategy.entry_bps cannot be 'x'"),
        (["max_hold_s=-1,5"], "strategy.max_hold_s cannot be '-1'"),
        (["entry_bps=20,20.0"], "the value 20.0 is given twice"),
        (["entry_bps=20,30", "strategy.entry_bps=40"], "given twice"),
        (["entry_bps=30:20:5"], "FROM:TO:STEP"),
        (["entry_bps=0:1000:0.001"], "values are too many"),
        (["entry_bps=10,15"], "min_edge_bps is above entry_bps"),
    ],
)
def test_a_bad_grid_is_one_clear_line(texts, why):
    with pytest.raises(UsageError) as raised:
        space(*texts)
    assert why in str(raised.value)
    assert str(raised.value).startswith("--grid")
    assert "\n" not in str(raised.value)
