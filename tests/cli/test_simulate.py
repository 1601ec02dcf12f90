"""What ``arbshard simulate`` takes for kinds of faults, and what it says of a wrong one."""

import pytest

from arbshard.cli.simulate import _settings
from arbshard.errors import UsageError
from arbshard.virtual.rates import UNKIND_LIVE_PER_HOUR, UNKIND_PER_HOUR, kinds_of


def kinds(only, mode="mixed"):
    return _settings(1, 1.0, 4, 2, 0.8, "usual", only, "mixed", mode).only


def test_every_kind_can_be_asked_for_where_it_exists():
    for is_live, mode in ((False, "paper"), (True, "live")):
        every = kinds_of(is_live=is_live)
        assert kinds(",".join(every), mode) == tuple(every)
    assert UNKIND_PER_HOUR.keys() | UNKIND_LIVE_PER_HOUR.keys() <= kinds_of(is_live=True).keys()


def test_a_wrong_name_is_answered_with_all_that_exist():
    with pytest.raises(
        UsageError, match=r"^--only fire: must be some of .*cut.*market_closes.*hand_trade"
    ) as error:
        kinds("cut, fire", "paper")
    assert all(kind in str(error.value) for kind in {**kinds_of(is_live=True), **kinds_of(is_live=False)})


@pytest.mark.parametrize(
    ("only", "mode", "wanted"),
    [
        ("hand_trade", "paper", "live"),
        ("hand_trade", "mixed", "live"),
        ("late_fills", "live", "paper"),
        ("late_fills", "mixed", "paper"),
    ],
)
def test_a_kind_that_would_never_come_names_the_mode_that_has_it(only, mode, wanted):
    with pytest.raises(UsageError, match=f"add --mode {wanted}$"):
        kinds(only, mode)
    assert kinds(only, wanted) == (only,)
