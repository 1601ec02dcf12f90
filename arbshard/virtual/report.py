"""Formats a finished simulation as text: as a report for a person, and as one line where many are run."""

from collections.abc import Iterator, Mapping

from arbshard.virtual.outcome import SimulationReport

_LAST_SHOWN = 25
_WIDTH = 240


def lines_of(report: SimulationReport) -> Iterator[str]:
    """Return the lines that ``arbshard simulate`` prints."""
    settings, tally = report.settings, report.tally
    yield (
        f"seed {settings.seed}: {settings.pairs} pairs on {settings.shards} shards, {settings.updates:g} frames per "
        f"market and second, faults {settings.faults}, regime {settings.regime}, orders {_mode(report)}"
    )
    yield f"  virtual time  {_span(report.virtual_s)} in {report.cpu_s:.1f} s: {report.speed:.0f} x real time"
    yield f"  events        {report.events_run} callbacks, {report.frames} frames, {report.lines} trace lines"
    yield f"  trades        {tally.entries} entries, {tally.exits} exits, {tally.won} won, {tally.pnl:.0f} KRW"
    yield f"  closed for    {_counts(tally.reasons)}"
    yield f"  orders        {_counts(tally.orders)}"
    yield f"  refused       {_counts(tally.refused)}"
    yield f"  evaluations   refused by workers: {_counts(tally.barred)}"
    yield f"  faults        {sum(report.faults.values())}: {_counts(report.faults)}"
    yield f"  system        started {report.starts} times, {tally.fenced} workers fenced"
    yield f"  processes     {_counts(tally.ends)}"
    if report.memory:
        first, last = report.memory[0], report.memory[-1]
        yield (
            f"  memory        {first.rss_mb:g} MB and {first.objects} objects after {first.hour:g} h, "
            f"{last.rss_mb:g} MB and {last.objects} after {last.hour:g} h"
        )
    yield f"  trace hash    {report.hash}"
    yield f"  invariants    {'all hold' if not report.violations else f'{len(report.violations)} VIOLATED'}"
    if report.violations:
        yield from _violations(report)


def line_of(report: SimulationReport) -> str:
    """Return one line, and for a failure also the command that repeats it."""
    said = f"seed {report.settings.seed:>10} {_mode(report):>10}  {_span(report.virtual_s)}  {report.speed:>4.0f} x  "
    said += f"{report.tally.exits:>5} trades  {sum(report.faults.values()):>4} faults  {report.hash}  "
    if not report.violations:
        return said + "ok"
    return said + f"VIOLATED: {report.violations[0]}\n  {report.settings.command()}"


def _mode(report: SimulationReport) -> str:
    settings = report.settings
    if not settings.is_live:
        return "paper"
    return f"live/{'logon' if settings.order_api == 'ws' and settings.logs_on else settings.order_api}"


def _violations(report: SimulationReport) -> Iterator[str]:
    yield f"violated after {report.virtual_s:.3f} s of virtual time:"
    for violation in report.violations:
        yield f"  {violation}"
    yield "the last that happened (nanoseconds of virtual time, kind, what):"
    for line in report.last[-_LAST_SHOWN:]:
        yield f"  {line[:_WIDTH]}"
    yield f"again: {report.settings.command()}"


def _counts(counts: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda one: -one[1]))
        or "none"
    )


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
