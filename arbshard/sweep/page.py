"""Formats a ``SweepReport`` as a page: sentences, tables and diagrams, like the reports of runs. It is pure."""

from collections.abc import Iterator

from arbshard.report.document import (
    Cell,
    Document,
    PageSection,
    PageTable,
    Tile,
    Tone,
    gain,
    number,
    seconds,
    share,
    table,
    wall,
)
from arbshard.report.findings import amount
from arbshard.report.model import Finding, Plot
from arbshard.sweep.judging import AxisReport, FoldReport, PointReport, SweepReport, in_sample

SIGNIFICANT = 0.95
"""The usual significance level: below it, chance explains the best result."""
_DOUBTFUL = 0.8
_MINUTES_MIN = 60
"""With fewer changes of equity their distribution is not known well enough."""


def sweep_document(report: SweepReport) -> Document:
    """Return the page of a sweep."""
    first, last = report.parts[0], report.parts[-1]
    span = f"{wall(first.start_ns // 1_000_000)} to {wall(last.end_ns // 1_000_000)} UTC"
    return Document(
        title=report.title,
        subtitle=(
            f"{report.search}, seed {report.seed} · {len(report.parts)} parts, {span} · {report.tape} · "
            f"made {wall(report.made_ms)} UTC by arbshard {report.version}"
        ),
        verdict=None,
        findings=tuple(_findings(report)),
        tiles=tuple(_tiles(report)),
        sections=tuple(one for one in _sections(report) if one.parts),
    )


def named(values: dict[str, str]) -> str:
    """Return the values of a point for a sentence, with keys without their sections."""
    return (
        ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in values.items()) or "nothing changed"
    )


def ratio(value: float | None) -> Cell:
    """Return a cell with a Sharpe ratio of a minute."""
    if value is None:
        return Cell("–")
    return Cell(f"{value:+.4f}".replace("-", "−"), "bad" if value < 0 else "")


def certainty(probability: float) -> str:
    """Return a probability in per cent; nothing is certain."""
    return "above 99.9%" if probability > 0.999 else f"{probability:.1%}"


# --- sentences


def _findings(report: SweepReport) -> Iterator[Finding]:
    best, unit = report.best, report.currency
    if best is None or best.in_pnl is None:
        yield Finding("bad", "No point has a result in all parts, so there is nothing to judge.")
    elif len(report.idle_parts) == len(report.parts):
        yield Finding(
            "bad",
            "No point entered anything in any part, so there is nothing to judge. Parts may be too short for the "
            "rules of [baseline], or every value may be too strict.",
        )
    else:
        did = (
            "earned"
            if best.in_pnl > 0
            else "lost"
            if best.in_pnl < 0
            else "neither earned nor lost anything:"
        )
        yield Finding(
            "good" if best.in_pnl > 0 else "bad",
            f"The best point in sample, {named(best.values)}, {did} {amount(abs(best.in_pnl))} {unit} there "
            f"with {best.entries:,} entries.",
        )
        yield _outside(report, best)
        yield from _forward(report)
        yield from _deflated(report)
        yield from _look_ahead(report)
        yield from _against_base(report, best)
        yield from _around(report)
    yield from _incomplete(report)


def _outside(report: SweepReport, best: PointReport) -> Finding:
    if len(report.parts) == 1:
        return Finding(
            "bad",
            "Nothing was kept out: every result is in sample and says nothing about other days. Use --parts.",
        )
    if best.out_pnl is None:
        return Finding("bad", "The last part, which was kept out, has no result for the best point.")
    did = (
        "earned" if best.out_pnl > 0 else "lost" if best.out_pnl < 0 else "neither earned nor lost anything:"
    )
    return Finding(
        "good" if best.out_pnl > 0 else "bad",
        f"In the last part, which was kept out, it {did} {amount(abs(best.out_pnl))} {report.currency}.",
    )


def _forward(report: SweepReport) -> Iterator[Finding]:
    done = [one for one in report.folds if one.in_pnl is not None and one.out_pnl is not None]
    if len(done) < 2:
        return
    inside = sum(float(one.in_pnl or 0) for one in done)
    outside = sum(float(one.out_pnl or 0) for one in done)
    gains = sum((one.out_pnl or 0) > 0 for one in done)
    yield Finding(
        "good" if outside > 0 and 2 * gains > len(done) else "bad" if outside <= 0 else "warn",
        f"Chosen by one part and tried on the next, points brought {amount(outside, signed=True)} {report.currency} "
        f"against {amount(inside, signed=True)} where they were chosen; {gains} of {len(done)} steps gained.",
    )


def _deflated(report: SweepReport) -> Iterator[Finding]:
    found = report.deflated
    if found is None:
        return
    before = f", {report.earlier:,} of them in earlier sweeps of this folder" if report.earlier else ""
    said = (
        f"{found.trials:,} configurations were tried{before}: "
        f"the deflated Sharpe ratio is {certainty(found.probability)}"
    )
    if report.minutes < _MINUTES_MIN:
        yield Finding(
            "warn", f"{said}, but {report.minutes} minutes in sample are too few for it to mean anything."
        )
    elif found.probability >= SIGNIFICANT:
        yield Finding("good", f"{said}, so chance alone hardly explains the best one.")
    else:
        yield Finding(
            "warn" if found.probability >= _DOUBTFUL else "bad",
            f"{said}, so the best of so many looks like this by chance too often to rely on it.",
        )


def _look_ahead(report: SweepReport) -> Iterator[Finding]:
    found = report.look_ahead
    if found is None:
        yield Finding("warn", "The look-ahead check has no result in all parts.")
        return
    said = f"{amount(found.delayed_pnl, signed=True)} instead of {amount(found.pnl, signed=True)} {report.currency}"
    if found.is_same:
        yield Finding(
            "warn" if found.decisions else "plain",
            "With each frame delayed by one, all decisions are the same, so the look-ahead check shows nothing.",
        )
    elif found.has_improved:
        yield Finding(
            "bad",
            f"With each frame delayed by one, the best point brings {said}: older books should not lead to more. "
            "Either a decision used what it could not know, or the result is chance.",
        )
    else:
        yield Finding(
            "good", f"With each frame delayed by one, the best point brings {said}: no look-ahead seen."
        )


def _against_base(report: SweepReport, best: PointReport) -> Iterator[Finding]:
    base = report.base
    if base is None or base.in_pnl is None:
        return
    out = f", {amount(base.out_pnl, signed=True)} out of it" if base.out_pnl is not None else ""
    is_better = base.out_pnl is not None and best.out_pnl is not None and base.out_pnl >= best.out_pnl
    yield Finding(
        "warn" if is_better else "plain",
        f"The configuration without any change brings {amount(base.in_pnl, signed=True)} {report.currency} "
        f"in sample{out}" + ("; out of sample the change is worth nothing." if is_better else "."),
    )


def _around(report: SweepReport) -> Iterator[Finding]:
    for axis in report.axes:
        if axis.losing:
            every = axis.losing == len(axis.neighbours)
            lost = ", ".join(one.value for one in axis.neighbours if one.pnl is not None and one.pnl < 0)
            yield Finding(
                "bad" if every else "warn",
                f"{axis.key}={axis.best} gains, and beside it {lost} "
                f"{'lose' if axis.losing > 1 else 'loses'}: "
                + ("the best point is a spike." if every else "the best point is at the edge of a slope."),
            )
        if axis.has_no_effect:
            yield Finding("warn", f"{axis.key} changed no decision: its values need not be tried.")
        elif axis.is_at_edge:
            yield Finding(
                "warn", f"{axis.key}={axis.best} is the last value that was tried: try values beyond it."
            )


def _incomplete(report: SweepReport) -> Iterator[Finding]:
    if report.failed:
        many = "tasks have" if report.failed > 1 else "task has"
        yield Finding(
            "warn", f"{report.failed:,} of {report.tasks:,} {many} failed; their points are not judged."
        )
    if report.invalid:
        many = "points are" if report.invalid > 1 else "point is"
        yield Finding(
            "warn",
            f"{report.invalid:,} {many} not a valid configuration and left out, such as: {report.invalid_reason}.",
        )
    if 0 < len(report.idle_parts) < len(report.parts):
        listed = ", ".join(map(str, report.idle_parts))
        parts = "parts" if len(report.idle_parts) > 1 else "part"
        yield Finding(
            "warn", f"No point entered anything in {parts} {listed}, which shows nothing therefore."
        )


# --- figures


def _tiles(report: SweepReport) -> Iterator[Tile]:
    best, unit = report.best, report.currency
    yield Tile("Points tried", f"{report.tried:,}", f"of {report.lattice:,} on the lattice")
    if best is not None:
        inside, outside = gain(best.in_pnl), gain(best.out_pnl)
        yield Tile(f"Best, in sample, {unit}", inside.text, named(best.values), inside.tone)
        yield Tile(f"Best, out of sample, {unit}", outside.text, "the last part", outside.tone)
    if report.deflated is not None:
        probability = report.deflated.probability
        is_enough = report.minutes >= _MINUTES_MIN
        tone: Tone = "bad" if probability < _DOUBTFUL else ""
        if probability >= SIGNIFICANT and is_enough:
            tone = "good"
        yield Tile(
            "Deflated Sharpe ratio", certainty(probability), f"over {report.deflated.trials:,} trials", tone
        )
    yield Tile(
        "Failed tasks", f"{report.failed:,}", f"of {report.tasks:,}", "bad" if report.failed else "good"
    )


def _sections(report: SweepReport) -> Iterator[PageSection]:
    yield PageSection(
        "folds",
        "In and out of sample",
        "Each step chooses the point with the highest Sharpe ratio in one part and tries it on the next part. What a "
        "point brings where it was chosen and does not bring where it was tried, was fitted to the part.",
        (_folds(report), _parts(report)) if report.folds else (_parts(report),),
    )
    yield PageSection("equity", "Equity of the best point", "", _plots(report, "equity"))
    yield PageSection(
        "points",
        "The best points",
        f"By their Sharpe ratio over the parts in sample. Money is in {report.currency}. A ratio of a minute times "
        "38 is one of a day, times 725 one of a year.",
        (_points(report),),
    )
    yield PageSection(
        "around",
        "Round the best point",
        "One key changes, all others stay as at the best point. A result to rely on has neighbours that are nearly "
        "as good.",
        (_axes(report), *_plots(report, "around")) if report.axes else (),
    )
    yield PageSection(
        "maps",
        "Maps over two keys",
        "Green gains, red loses, empty was not tried; the circle is the best point.",
        _plots(report, "maps"),
    )
    yield PageSection(
        "slices",
        "Maps through the best point",
        "All other keys are as at the best point.",
        _plots(report, "slices"),
    )
    yield PageSection(
        "deflated",
        "What the number of trials takes away",
        "The best of many results is high by chance alone. The deflated Sharpe ratio (Bailey and López de Prado, "
        "2014) is the probability that the true ratio of the best point is above 0, given how many were tried, how "
        "much they differ, and how the changes of its equity are distributed.",
        (_statistics(report),) if report.deflated is not None else (),
    )
    yield PageSection(
        "look-ahead",
        "Look-ahead check",
        "The best point again, with each frame received only when the next one of its market was. That must not "
        "bring more.",
        (_delayed(report),) if report.look_ahead is not None else (),
    )
    if report.failures:
        more = report.failed - len(report.failures)
        intro = f"{more:,} more are in the files of results. " if more > 0 else ""
        yield PageSection(
            "failures",
            "Failed tasks",
            f"{intro}The same command does them again.",
            (_failures(report),),
        )
    yield PageSection("work", "Work", "", (_work(report),))


def _plots(report: SweepReport, section: str) -> tuple[Plot, ...]:
    return tuple(one for one in report.plots if one.section == section)


def _folds(report: SweepReport) -> PageTable:
    rows = [_fold_row(one) for one in report.folds]
    columns = (
        *("chosen by part", "tried on part", "point", "Sharpe where chosen", "Sharpe where tried"),
        *(f"{report.currency} where chosen", f"{report.currency} where tried", "entries there"),
        *("place there", "the search had seen it"),
    )
    return table(columns, rows, (0, 1, 2, 9))


def _fold_row(one: FoldReport) -> tuple[Cell | str, ...]:
    if one.values is None:
        return (f"{one.train}", f"{one.test}", "no point has a result", *(["–"] * 7))
    place = f"{one.rank:,} of {one.ranked:,}" if one.rank is not None else "–"
    return (
        *(f"{one.train}", f"{one.test}", named(one.values), ratio(one.in_sharpe), ratio(one.out_sharpe)),
        *(gain(one.in_pnl), gain(one.out_pnl), f"{one.entries:,}", place),
        Cell("yes", "warn") if one.is_seen else Cell("no"),
    )


def _parts(report: SweepReport) -> PageTable:
    inside = in_sample(report.parts)
    rows = [
        (
            *(f"{one.number}", wall(one.start_ns // 1_000_000), wall(one.end_ns // 1_000_000)),
            seconds((one.end_ns - one.start_ns) / 1e9),
            "in sample" if one.number in inside else "kept out",
        )
        for one in report.parts
    ]
    return table(("part", "from, UTC", "to, UTC", "lasts", "used"), rows, (0, 1, 2, 4))


def _points(report: SweepReport) -> PageTable:
    keys = [axis.key for axis in report.axes]
    rows = [_point_row(f"{place}", one, keys) for place, one in enumerate(report.points, 1)]
    if report.base is not None:
        rows.append(_point_row("unchanged", report.base, keys))
    columns = (
        *("", *(key.rpartition(".")[2] for key in keys)),
        *("Sharpe in sample", "Sharpe out of sample", "PnL in sample", "PnL out of sample"),
        *("entries", "exits", "won", "fees"),
    )
    return table(columns, rows)


def _point_row(place: str, one: PointReport, keys: list[str]) -> tuple[Cell | str, ...]:
    return (
        *(Cell(place), *(Cell(one.values.get(key, "")) for key in keys)),
        *(ratio(one.in_sharpe), ratio(one.out_sharpe)),
        *(gain(one.in_pnl), gain(one.out_pnl), f"{one.entries:,}", f"{one.exits:,}"),
        *(share(one.wins / one.exits if one.exits else None), amount(one.fees)),
    )


def _axes(report: SweepReport) -> PageTable:
    rows = []
    for axis in report.axes:
        beside = [f"{one.value}: {amount(one.pnl, signed=True)}" for one in axis.neighbours]
        rows.append((axis.key, axis.best, ", ".join(beside) or "none", _judgement(axis)))
    return table(("key", "best", f"beside it, {report.currency} in sample", "so"), rows, (0, 1, 2, 3))


def _judgement(axis: AxisReport) -> Cell:
    if axis.has_no_effect:
        return Cell("changes nothing", "warn")
    if axis.losing and axis.losing == len(axis.neighbours):
        return Cell("its neighbours lose: a spike", "bad")
    if axis.losing:
        return Cell("a neighbour loses", "warn")
    if axis.is_at_edge:
        return Cell("at the edge of what was tried", "warn")
    return Cell("" if not axis.neighbours else "its neighbours do not lose")


def _statistics(report: SweepReport) -> PageTable:
    found = report.deflated
    assert found is not None, "the section is left out without it"
    rows: list[tuple[str, Cell | str, str]] = [
        ("deflated Sharpe ratio", certainty(found.probability), f"{SIGNIFICANT:.0%} is the usual level"),
        ("Sharpe ratio of the best point", ratio(found.sharpe), "of a minute, in sample"),
        ("expected of the best by chance", ratio(found.expected_max), "if no point had any skill"),
        ("trials", f"{found.trials:,}", f"{report.earlier:,} of them in earlier sweeps of this folder"),
        ("deviation over the trials", number(found.variance**0.5, 4), "of their Sharpe ratios"),
        ("minutes", number(found.moments.length), "changes of equity, in sample"),
        ("skewness", number(found.moments.skewness, 2), "of these changes; 0 for a normal distribution"),
        ("kurtosis", number(found.moments.kurtosis, 2), "of these changes; 3 for a normal distribution"),
    ]
    return table(("figure", "value", "what it is"), rows, (0, 2))


def _delayed(report: SweepReport) -> PageTable:
    found = report.look_ahead
    assert found is not None, "the section is left out without it"
    rows = [
        ("frames as they came", f"{found.decisions:,}", gain(found.pnl)),
        ("each frame one later", f"{found.delayed_decisions:,}", gain(found.delayed_pnl)),
    ]
    return table(("", "decisions", f"PnL over all parts, {report.currency}"), rows)


def _failures(report: SweepReport) -> PageTable:
    rows = [
        (f"{one.part}", named(one.values), f"{one.delay_frames}", one.place, one.reason)
        for one in report.failures
    ]
    return table(("part", "point", "frames delayed", "where", "why"), rows, (0, 1, 2, 3, 4))


def _work(report: SweepReport) -> PageTable:
    rows = [
        ("tasks", number(report.tasks)),
        ("frames", number(report.frames)),
        ("CPU time of the backtests", seconds(report.cpu_s)),
    ]
    return table(("", ""), rows)
