import pytest

from perf.comparison import compare, highest_of, rates_of
from perf.figures import Percentiles
from perf.results import Conditions, Highest, Results
from perf.steadiness import Steadiness

QUIET = Steadiness(loop_ms=3.0, loop_share=0.01, cpu_share=0.01, late_p50_us=5.0, late_p99_us=20.0)


def results_of(*, steadiness=(QUIET, QUIET)):
    conditions = Conditions(python="3.11", cores=2, cpu="x", load_before=0.0, steadiness=steadiness)
    return Results(conditions=conditions)


@pytest.fixture
def turns(row):
    """One row for each p50; p99 is four times that, and the CPU 100 µs a message."""

    def make(client, p50s, rate=1_000.0, processes=1, **changes):
        return [
            row(
                client=client,
                rate=rate,
                processes=processes,
                turn=turn,
                send_us=Percentiles(p50=p50, p99=4 * p50, count=1),
                cpu_s={client: 1.0, "generator": 9.0},
                **changes,
            )
            for turn, p50 in enumerate(p50s)
        ]

    return make


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ((100, 105, 110), (200, 210, 220), "better"),
        ((200, 210, 220), (100, 105, 110), "worse"),
        ((100, 100, 100), (100, 100, 100), "can't tell"),
        # The medians differ by half, and one side's turns by more than that.
        ((100, 100, 100), (120, 150, 190), "can't tell"),
        ((120, 150, 190), (100, 100, 100), "can't tell"),
        # The turns disagree.
        ((100, 100, 130), (104, 135, 120), "can't tell"),
        # One turn and two turns are never enough.
        ((100,), (900,), "can't tell"),
        ((100, 100), (900, 900), "can't tell"),
    ],
)
def test_a_verdict_needs_three_turns_that_agree_by_more_than_their_spread(ours, theirs, verdict):
    assert compare(ours, theirs).verdict == verdict


@pytest.mark.parametrize(("share", "verdict"), [(0.4, "better"), (0.5, "can't tell"), (0.9, "can't tell")])
def test_noise_as_large_as_the_difference_hides_it(share, verdict):
    assert compare((100,) * 3, (150,) * 3, noise_share=share).verdict == verdict


@pytest.mark.parametrize(("noise", "verdict"), [(49, "better"), (50, "can't tell")])
def test_noise_may_also_be_in_the_unit_of_the_values(noise, verdict):
    assert compare((100,) * 3, (150,) * 3, noise=noise).verdict == verdict


def test_the_ratio_is_taken_turn_by_turn():
    assert compare((100, 200, 100), (200, 400, 300)).extent == (2.0, 2.0, 3.0)


def test_of_a_rate_more_is_better():
    ratio = compare((60, 60, 60), (20, 20, 15), more_is_better=True)
    assert ratio.extent == (3.0, 3.0, 4.0)
    assert ratio.verdict == "better"


def test_each_figure_is_compared_with_the_peer_s_better_number_of_processes(turns):
    results = results_of()
    results.load = turns("arbshard", (100, 101, 102), processes=2)
    results.equal = [
        *turns("ccxt", (300, 310, 320), processes=1),
        *turns("ccxt", (200, 210, 220), processes=2),
    ]
    (at,) = rates_of(results)
    assert at.ours[0] == (100, 101, 102)
    (peer,) = at.peers
    assert [ratio.extent.median for ratio in peer.ratios] == pytest.approx([210 / 101, 210 / 101, 1.0])
    assert [ratio.verdict for ratio in peer.ratios] == ["better", "better", "can't tell"]


def test_what_was_given_up_after_a_turn_counts_for_nothing(turns):
    results = results_of()
    results.load = turns("arbshard", (100, 100, 100), processes=2)
    results.equal = [
        *turns("ccxt", (50,), processes=1),
        *turns("ccxt", (200, 200, 200), processes=2),
    ]
    assert rates_of(results)[0].peers[0].ratios[0].extent == (2.0, 2.0, 2.0)


def test_turns_without_a_decision_are_not_the_best_ones(turns):
    results = results_of()
    results.load = turns("arbshard", (100, 100, 100))
    results.equal = [
        *turns("ccxt", (0, 0, 0), processes=1, decided=0),
        *turns("ccxt", (200, 200, 200), processes=2),
    ]
    assert rates_of(results)[0].peers[0].ratios[0].extent == (2.0, 2.0, 2.0)


def test_a_turn_that_failed_on_one_side_is_left_out(turns):
    results = results_of()
    results.load = turns("arbshard", (100, 100, 100))
    results.equal = turns("ccxt", (200, 300, 400))[1:]
    ratio = rates_of(results)[0].peers[0].ratios[0]
    assert ratio.extent == (3.0, 3.5, 4.0)
    assert (ratio.verdict, ratio.turns) == ("can't tell", 2)


def test_a_noisy_machine_takes_verdicts_away(turns):
    late = Steadiness(loop_ms=3.0, loop_share=0.01, cpu_share=0.01, late_p50_us=10.0, late_p99_us=5_000.0)
    results = results_of(steadiness=(QUIET, late))
    results.load = turns("arbshard", (100, 100, 100))
    results.equal = turns("ccxt", (300, 300, 300))
    assert [ratio.verdict for ratio in rates_of(results)[0].peers[0].ratios] == [
        "better",
        "can't tell",
        "can't tell",
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "count", "note"),
    [
        (0, 9, 3, "better: not held"),
        (9, 0, 3, "worse: only it holds"),
        (9, 9, 3, "can't tell: neither holds"),
        (0, 9, 1, "can't tell: not held"),
        (9, 0, 1, "can't tell: only it holds"),
    ],
)
def test_who_does_not_hold_the_rate_has_no_ratios(turns, ours, theirs, count, note):
    results = results_of()
    results.load = turns("arbshard", (100,) * count, lost=ours)
    results.equal = turns("ccxt", (100,) * count, lost=theirs)
    (peer,) = rates_of(results)[0].peers
    assert (peer.note, peer.ratios) == (note, ())
    assert peer.held == (0 if theirs else count, count)


@pytest.mark.parametrize(("ours", "theirs"), [(9_999, 0), (0, 9_999), (9_999, 9_999)])
def test_a_late_generator_says_nothing_about_a_client(turns, ours, theirs):
    results = results_of()
    results.load = turns("arbshard", (100, 100, 100), late=ours)
    results.equal = turns("ccxt", (900, 900, 900), late=theirs)
    (peer,) = rates_of(results)[0].peers
    assert peer.is_unclear
    assert peer.ratios[0].extent == (9.0, 9.0, 9.0)
    assert {ratio.verdict for ratio in peer.ratios} == {"can't tell"}


def test_a_late_generator_beside_a_client_that_does_not_hold_the_rate_is_no_verdict(turns):
    results = results_of()
    results.load = turns("arbshard", (100, 100, 100), late=9_999)
    results.equal = turns("ccxt", (900, 900, 900), lost=9)
    assert rates_of(results)[0].peers[0].note == "can't tell: generator late"


def highest(client, *rates, processes=1):
    return [
        Highest(client=client, processes=processes, rate=rate, turn=turn) for turn, rate in enumerate(rates)
    ]


def test_highest_rates_are_compared_turn_by_turn():
    results = results_of()
    results.highest = [
        *highest("arbshard", 50_000, 60_000, 60_000, processes=2),
        *highest("ccxt", 7_000, processes=1),
        *highest("ccxt", 5_000, 5_000, 7_000, processes=2),
    ]
    ours, ccxt = highest_of(results)
    assert ours.rate == (50_000, 60_000, 60_000)
    assert (ccxt.processes, ccxt.ratio.verdict) == (2, "better")
    assert ccxt.ratio.extent == pytest.approx((60 / 7, 10.0, 12.0))


def test_a_difference_of_one_rung_is_none():
    results = results_of()
    results.highest = [*highest("arbshard", *[20_000] * 3), *highest("ccxt", *[15_000] * 3)]
    assert highest_of(results)[1].ratio.verdict == "can't tell"


def test_below_the_lowest_rung_counts_as_the_lowest():
    results = results_of()
    results.highest = [*highest("arbshard", *[20_000] * 3), *highest("ccxt", 0, 0, 0)]
    assert highest_of(results)[1].ratio.extent == (20.0, 20.0, 20.0)
