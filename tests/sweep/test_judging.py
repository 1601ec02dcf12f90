"""What results are worth, shown on results that are made for it."""

from array import array
from decimal import Decimal

import msgspec
import pytest

from arbshard.config import Config
from arbshard.report.html import render_html
from arbshard.report.markdown import render_markdown
from arbshard.report.write import to_json
from arbshard.sweep.judging import BASE, Evaluations, SweepFacts, changes_of, judge
from arbshard.sweep.page import sweep_document
from arbshard.sweep.parts import SweepPart
from arbshard.sweep.plots import plots_of
from arbshard.sweep.space import SearchSpace, parse_axes
from arbshard.sweep.tasks import TaskResult

pytestmark = pytest.mark.needs("tape")
MINUTE_NS = 60_000_000_000
PARTS = tuple(
    SweepPart(n, n * 10 * MINUTE_NS, (n + 1) * 10 * MINUTE_NS, "a", "b", f"part {n}") for n in range(1, 4)
)
SPACE = SearchSpace(Config(), parse_axes(["entry_bps=30,40,50", "max_hold_s=10,20"], Config()))
POINTS = [SPACE.point(number) for number in range(SPACE.size)]


def result(point, part, gain, *, failure="", delay=0, decided=None, entries=3):
    """Ten minutes, in which ``gain`` is earned on the whole, a little unevenly."""
    steps = [gain / 10 + (1 if n % 2 else -1) for n in range(10)]
    equity = array("d", [0.0, *(sum(steps[: n + 1]) for n in range(10))])
    return TaskResult(
        key=f"{point} {part.number} {delay}", config_hash=f"config {point}",
        values=msgspec.json.encode(SPACE.values(point) if point in POINTS else {}).decode(), part=part,
        delay_frames=delay, version="1", failure=failure, place="here", took_s=1.0, cpu_s=1.0,
        decisions_hash=decided or f"{point} {part.number} {delay}", decisions=5, frames=100, entries=entries,
        exits=entries, wins=1, pnl=Decimal(str(round(gain, 2))), fees=Decimal(1),
        equity_ns=array("q", [part.start_ns + n * MINUTE_NS for n in range(11)]), equity=equity,
    )  # fmt: skip


def judged(gains, *, late=None, base=None, search="grid", stored=(), parts=PARTS, invalid=None, **changes):
    """``gains``: by point what each part brings; a text is why the task failed."""
    found, delayed = Evaluations(), Evaluations()

    def put(into, point, brought, delay=0):
        for part, gain in zip(parts, brought, strict=True):
            is_text = isinstance(gain, str)
            into.add(
                point,
                result(
                    point,
                    part,
                    0.0 if is_text else gain,
                    failure=gain if is_text else "",
                    delay=delay,
                    **changes,
                ),
            )

    for point, brought in gains.items():
        put(found, point, brought)
    if base is not None:
        put(found, BASE, base)
    candidates = list(gains)
    best = found.best(candidates, [one.number for one in parts[:-1] or parts])
    if late is not None:
        put(delayed, best, late, 1)
    facts = SweepFacts("/tape", "1", 0, search, 0, tuple(parts), invalid or {})
    plots = list(plots_of(SPACE, parts, found, best)) if best is not None else []
    return judge(SPACE, facts, candidates, found, delayed, stored, plots)


GAINS = {point: (10.0 + number, 5.0, 1.0) for number, point in enumerate(POINTS)}


def findings(report):
    return {one.text: one.kind for one in sweep_document(report).findings}


def one_of(found, words):
    (text,) = [text for text in found if words in text]
    return text, found[text]


def test_the_best_point_is_chosen_by_the_parts_in_sample_alone():
    gains = {**GAINS, POINTS[1]: (20.0, 20.0, -50.0), POINTS[2]: (0.0, 0.0, 900.0)}
    report = judged(gains)
    assert report.best.values == {"strategy.entry_bps": "30", "strategy.max_hold_s": "20"}
    assert (report.best.in_pnl, report.best.out_pnl) == (Decimal("40.0"), Decimal("-50.0"))
    assert report.best.entries == 6
    assert one_of(findings(report), "which was kept out")[1] == "bad"
    assert [one.in_sharpe for one in report.points] == sorted(one.in_sharpe for one in report.points)[::-1]


def test_changes_do_not_cross_from_one_part_to_the_next():
    one, other = (result(POINTS[0], part, gain) for part, gain in zip(PARTS, (10.0, -10.0), strict=False))
    changes = changes_of([one, other])
    assert len(changes) == 20
    assert sum(changes) == pytest.approx(0.0)
    assert max(map(abs, changes)) < 3


def test_each_step_forward_chooses_by_one_part_and_tries_the_next():
    gains = dict.fromkeys(POINTS, (0.0, 0.0, 0.0)) | {
        POINTS[3]: (50.0, -5.0, 2.0),
        POINTS[4]: (1.0, 60.0, 7.0),
    }
    first, second = judged(gains).folds
    assert (first.train, first.test) == (1, 2)
    assert first.values == SPACE.values(POINTS[3])
    assert (first.in_pnl, first.out_pnl) == (50, -5)
    assert (first.rank, first.ranked) == (6, 6)
    assert second.values == SPACE.values(POINTS[4])
    assert second.rank == 1
    assert not any(one.is_seen for one in (first, second))
    assert [one.is_seen for one in judged(gains, search="optuna").folds] == [True, False]


def test_a_spike_is_marked_and_a_hill_is_not():
    hill = {point: (50.0 - 10 * abs(point[0] - 1) - point[1], 40.0, 1.0) for point in POINTS}
    assert [axis.losing for axis in judged(hill).axes] == [0, 0]
    spike = dict.fromkeys(POINTS, (-20.0, -10.0, 1.0)) | {POINTS[2]: (50.0, 40.0, 1.0)}
    report = judged(spike)
    assert [(axis.key, axis.losing, len(axis.neighbours)) for axis in report.axes] == [
        ("strategy.entry_bps", 2, 2),
        ("strategy.max_hold_s", 1, 1),
    ]
    assert one_of(findings(report), "30, 50 lose: the best point is a spike")[1] == "bad"
    slope = {point: (60.0 - 50.0 * point[0], 10.0, 1.0) for point in POINTS}
    assert judged(slope).axes[0].is_at_edge
    half = hill | {POINTS[0]: (-50.0, -9.0, 1.0), POINTS[1]: (-50.0, -9.0, 1.0)}
    assert one_of(findings(judged(half)), "30 loses")[1] == "warn"


def test_a_key_that_changes_nothing_is_named():
    found, decided = Evaluations(), {}
    for point in POINTS:
        for part in PARTS:
            decided[point, part.number] = f"{point[0]} {part.number}"
            found.add(point, result(point, part, 10.0 + point[0], decided=decided[point, part.number]))
    report = judge(
        SPACE, SweepFacts("/t", "1", 0, "grid", 0, PARTS, {}), POINTS, found, Evaluations(), (), ()
    )
    assert [axis.has_no_effect for axis in report.axes] == [False, True]
    assert one_of(findings(report), "max_hold_s changed no decision")[1] == "warn"


@pytest.mark.parametrize(
    ("late", "words", "kind"),
    [
        ((1.0, 1.0, 1.0), "no look-ahead seen", "good"),
        ((90.0, 9.0, 9.0), "older books should not lead to more", "bad"),
        ((1.0, "it ended", 1.0), "The look-ahead check has no result", "warn"),
        (None, "The look-ahead check has no result", "warn"),
    ],
)
def test_the_look_ahead_check(late, words, kind):
    assert one_of(findings(judged(GAINS, late=late)), words)[1] == kind


def test_a_look_ahead_check_that_changed_nothing_shows_nothing():
    report = judged(GAINS, late=(1.0, 1.0, 1.0), decided="the same")
    assert one_of(findings(report), "so the look-ahead check shows nothing")[1] == "warn"


def test_every_configuration_that_was_ever_tried_counts():
    few = judged(GAINS)
    assert (few.deflated.trials, few.earlier) == (6, 0)
    earlier = [result((n, 9), part, n * 1.0) for n in range(20) for part in PARTS]
    own = [result(point, PARTS[0], 1.0) for point in POINTS]
    bad = [result((99, 9), PARTS[0], 1.0, failure="no"), result((98, 9), PARTS[0], 1.0, delay=1)]
    many = judged(GAINS, base=(1.0, 1.0, 1.0), stored=[*earlier, *own, *bad])
    assert (many.deflated.trials, many.earlier) == (27, 20)
    assert many.deflated.probability < few.deflated.probability
    assert "20 of them in earlier sweeps" in one_of(findings(many), "the deflated Sharpe ratio")[0]


def test_a_few_minutes_prove_nothing():
    text, kind = one_of(findings(judged(GAINS)), "the deflated Sharpe ratio")
    assert kind == "warn"
    assert "20 minutes in sample are too few" in text


def test_failed_points_are_counted_and_not_judged():
    gains = {**GAINS, POINTS[5]: (900.0, "its process was ended by SIGKILL", 1.0)}
    report = judged(gains)
    assert report.best.values == SPACE.values(POINTS[4])
    assert (report.failed, report.tasks) == (1, 18)
    assert report.failures[0].reason == "its process was ended by SIGKILL"
    assert one_of(findings(report), "1 of 18 task has failed")[1] == "warn"
    page = render_html(sweep_document(report), "")
    assert "its process was ended by SIGKILL" in page
    nothing = judged(dict.fromkeys(POINTS, ("no", "no", "no")))
    assert nothing.best is None
    assert one_of(findings(nothing), "nothing to judge")[1] == "bad"


def test_the_unchanged_configuration_is_compared():
    assert one_of(findings(judged(GAINS, base=(1.0, 1.0, 0.5))), "without any change")[1] == "plain"
    text, kind = one_of(findings(judged(GAINS, base=(1.0, 1.0, 9.0))), "without any change")
    assert kind == "warn"
    assert "the change is worth nothing" in text


def test_one_part_alone_keeps_nothing_out():
    report = judged({point: gains[:1] for point, gains in GAINS.items()}, parts=PARTS[:1])
    assert report.folds == ()
    assert report.best.out_pnl is None
    assert one_of(findings(report), "Nothing was kept out")[1] == "bad"


def test_parts_without_an_entry_and_invalid_points_are_named():
    report = judged(GAINS, entries=0, invalid={(0, 0): "min_edge_bps is above entry_bps"})
    assert report.idle_parts == (1, 2, 3)
    found = findings(report)
    assert one_of(found, "No point entered anything in any part, so there is nothing to judge")[1] == "bad"
    assert "min_edge_bps is above" in one_of(found, "not a valid configuration")[0]
    assert len(found) == 2
    found = Evaluations()
    for point in POINTS:
        for part, entries in zip(PARTS, (3, 0, 3), strict=True):
            found.add(point, result(point, part, 1.0, entries=entries))
    report = judge(
        SPACE, SweepFacts("/t", "1", 0, "grid", 0, PARTS, {}), POINTS, found, Evaluations(), (), ()
    )
    assert report.idle_parts == (2,)
    assert one_of(findings(report), "No point entered anything in part 2,")[1] == "warn"


def test_maps_have_the_values_and_the_mark_of_the_best_point():
    report = judged(GAINS)
    (found,) = [one for one in report.plots if one.kind == "heat"]
    assert [line.name for line in found.lines] == ["10", "20"]
    assert found.lines[0].x == ("30", "40", "50")
    assert found.mark == ("50", "20")
    highest = max(value for line in found.lines for value in line.y)
    assert found.lines[1].y[2] == highest == report.best.in_sharpe
    along = [one for one in report.plots if one.section == "around"]
    assert [line.name for line in along[0].lines] == ["in sample", "out of sample"]
    equity = next(one for one in report.plots if one.name == "equity")
    assert [line.name for line in equity.lines] == [
        "part 1, in sample",
        "part 2, in sample",
        "part 3, out of sample",
    ]
    assert equity.lines[2].y[-1] == pytest.approx(21.0)


def test_all_forms_say_the_same():
    report = judged(GAINS, late=(1.0, 1.0, 1.0), base=(0.0, 0.0, 0.0))
    document = sweep_document(report)
    page, text = render_html(document, ""), render_markdown(document).replace("\\", "")
    for words in (*(one.text for one in document.findings), *(one.value for one in document.tiles)):
        assert words in text, words
        assert words.replace("&", "&amp;") in page, words
    assert {one.anchor for one in document.sections} >= {"folds", "points", "around", "maps", "deflated"}
    assert msgspec.json.decode(to_json(report))["best"]["in_pnl"] == "20.0"
