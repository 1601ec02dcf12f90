"""Which correlations are computed: those that the limit needs, of however many pairs."""

import math

from arbshard.engine.correlation import correlation
from arbshard.engine.series import SpreadSeries
from arbshard.risk.limits import correlations as correlations_module
from arbshard.risk.limits.correlations import GapCorrelations

S = 1_000_000_000
MANY = tuple(f"A{number:03}" for number in range(200))


def series_of(*bases, samples=60):
    """Gaps that all move alike, with a little of their own."""
    made = {base: SpreadSeries(100, 1000.0) for base in bases}
    for number, one in enumerate(made.values()):
        for second in range(samples):
            one.add(second * S, 40 * math.sin(second / 5) + math.sin(second * (number + 2)))
    return made


def play(correlations, ticks, start_ns=100 * S):
    for tick in range(ticks):
        correlations.update(start_ns + tick * S // 10)


def test_an_exposed_pair_at_the_end_of_the_alphabet_is_known_with_all_others() -> None:
    found = GapCorrelations(lambda: ("ZZZ",))
    found.set_series(series_of(*MANY, "ZZZ"))
    play(found, 70)
    assert len(found.known) == 200
    assert all("ZZZ" in cell for cell in found.known)
    assert found.get("A199", "ZZZ") > 0.9


def test_what_the_limit_has_asked_for_comes_first() -> None:
    found = GapCorrelations(lambda: MANY)
    found.set_series(series_of(*MANY, "ZZZ"))
    play(found, 5)
    assert found.get("A150", "ZZZ") is None
    play(found, 1)
    assert found.get("A150", "ZZZ") > 0.9


def test_what_is_asked_for_and_what_is_known_are_bounded(monkeypatch) -> None:
    """Pairs come and go for months."""
    monkeypatch.setattr(correlations_module, "_WANTED_MAX", 4)
    monkeypatch.setattr(correlations_module, "_CELLS_MAX", 3)
    found = GapCorrelations()
    found.set_series(series_of(*MANY[:10]))
    for other in MANY[1:10]:
        assert found.get(MANY[0], other) is None
    assert not found.is_idle
    play(found, 5)
    assert found.is_idle  # the others are asked for again at the next entry
    assert [cell[1] for cell in found.known] == ["A002", "A003", "A004"]  # the newest stay
    assert found.get("A000", "A004") > 0.9


def test_a_pair_that_is_gone_is_unknown_and_asked_for_no_more() -> None:
    found = GapCorrelations()
    found.set_series(series_of("A", "B"))
    assert found.get("A", "B") is None
    play(found, 1)
    assert found.get("A", "B") > 0.9
    found.set_series(series_of("A"))
    found.update(3_000 * S)
    assert found.get("A", "B") is None  # it is too old
    play(found, 1, start_ns=3_001 * S)
    assert found.is_idle
    assert found.known == {}


def test_too_short_a_history_stays_unknown() -> None:
    found = GapCorrelations(lambda: ("A", "B"))
    found.set_series(series_of("A", "B", samples=20))
    play(found, 20)
    assert found.get("A", "B") is None


def test_what_is_old_is_unknown_again_and_asked_for() -> None:
    found = GapCorrelations()
    found.set_known({("A", "B"): 0.4}, 1 * S)
    assert found.get("B", "A") == 0.4
    found.set_series(series_of("A", "B"))
    found.update(1802 * S)
    assert found.get("A", "B") is None
    found.update(1803 * S)
    assert found.get("A", "B") > 0.9


def test_the_typical_correlation_needs_ten_cells_and_follows_the_newest() -> None:
    found = GapCorrelations()
    cells = {("A", f"B{number}"): number / 10 for number in range(9)}
    found.set_known(cells, 1)
    assert found.typical is None
    found.set_known(cells | {("A", "Z"): 0.9}, 1)
    assert found.typical == 0.45


def test_nothing_is_computed_anew_without_a_new_sample(monkeypatch) -> None:
    computed = []
    monkeypatch.setattr(
        correlations_module, "correlation", lambda a, b: (computed.append((a, b)), correlation(a, b))[1]
    )
    found = GapCorrelations(lambda: ("A", "B"))
    series = series_of("A", "B", "C")
    found.set_series(series)
    play(found, 10)
    assert len(computed) == 3
    known = found.known
    for one in ("A", "C"):
        series[one].add(60 * S, -90.0)
    play(found, 10, start_ns=110 * S)
    assert len(computed) == 6
    assert found.known != known
    fresh = GapCorrelations(lambda: ("A", "B"))
    fresh.set_series(series)
    play(fresh, 10)
    assert found.known == fresh.known
    found.set_series(series_of("A", "B", "C"))  # of the same samples' numbers, and others all the same
    play(found, 10, start_ns=120 * S)
    assert found.known == known


def test_a_value_that_is_computed_no_more_stays_known_while_the_pair_is_looked_at() -> None:
    found = GapCorrelations(lambda: ("A", "B"))
    found.set_series(series_of("A", "B"))
    play(found, 2)
    found.update(1000 * S)
    found.update(2500 * S)
    assert found.get("A", "B") > 0.9
