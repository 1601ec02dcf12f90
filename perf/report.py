"""Prints the tables, for a terminal of 100 columns. It decides nothing."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from perf.baseline import Change
from perf.budgets import Judged
from perf.criterion import faults
from perf.figures import LoadRow, Percentiles
from perf.results import ARBSHARD, QUIET_CORES, Conditions, Results

_STYLES = {"met": "green", "missed": "bold red", "not measured": "yellow"}


def _table(title: str, text: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in text:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _latency(found: Percentiles) -> tuple[str, ...]:
    if not found.count:
        return ("-",) * 5
    return tuple(f"{number:,.0f}" for number in (found.p50, found.p90, found.p99, found.p999, found.max))


_LATENCY = ("p50", "p90", "p99", "p99.9", "max")


def show_conditions(console: Console, conditions: Conditions) -> None:
    """Print the machine, and what else ran on it."""
    commit = f", commit {conditions.commit}" if conditions.commit else ""
    console.print(f"Python {conditions.python}, {conditions.cores} cores, {conditions.cpu}{commit}")
    console.print(f"load before {conditions.load_before:.2f}, after {conditions.load_after:.2f}", end="")
    others = "; ".join(conditions.others) or "none"
    console.print(f"; other processes above 10 % of a core: {others}", highlight=False)
    console.print(f"all others together used {conditions.others_cores:.2f} cores", highlight=False)
    if conditions.other_work:
        console.print(
            f"of it, {conditions.other_work:g} of a core was asked for by --other-work, beside all clients"
        )
    if conditions.others_cores > QUIET_CORES + conditions.other_work:
        console.print(
            "[bold yellow]the machine was busy with other work: times and rates are worse than on a quiet machine"
        )


def show_stages(console: Console, stages: dict[str, float]) -> None:
    """Print the cost of each stage alone."""
    table = _table("Stages alone, µs of CPU (p50: of time)", ("stage",), ("µs",))
    for name, cost in stages.items():
        table.add_row(name, f"{cost:,.2f}")
    console.print(table)


def show_load(console: Console, rows: Sequence[LoadRow]) -> None:
    """Print this system's latency at the fixed rates, and then its costs."""
    table = _table(
        f"{rows[0].processes} shards, generator on the same cores, µs" if rows else "Load",
        ("", "held"),
        ("msg/s", *_LATENCY),
    )
    for row in rows:
        held = "no" if faults(row) else "yes"
        table.add_row("receive → decision", held, f"{row.rate:,.0f}", *_latency(row.receive_us))
        table.add_row("send → decision", "", "", *_latency(row.send_us), end_section=True)
    console.print(table)
    _show_faults(console, rows)
    headings = ("superv.", "worker", "risk", "gener.", "conflated", "oldest ms", "MB")
    table = _table(
        "CPU per message (worker: per tick), µs; MB resident: largest worker / all but generator",
        (),
        ("msg/s", "coins", *headings),
    )
    for row in rows:
        memory = {name: used for name, used in row.rss_mb.items() if name != "generator"}
        worker = max((used for name, used in memory.items() if name.startswith("worker")), default=0.0)
        table.add_row(
            f"{row.rate:,.0f}",
            f"{row.coins:,}",
            f"{row.cpu_us('supervisor', row.delivered):.1f}",
            f"{row.cpu_us('worker', row.decided):.1f}",
            f"{row.cpu_us('risk', row.delivered):.2f}",
            f"{row.cpu_us('generator', row.delivered):.1f}",
            f"{row.conflated_share:.1%}",
            f"{row.slot_age_ms:.1f}",
            f"{worker:.0f} / {sum(memory.values()):.0f}",
        )
    console.print(table)
    table = _table("CPU of each process, of a core", ("process",), [f"{row.rate:,.0f}" for row in rows])
    for name in dict.fromkeys(name for row in rows for name in row.cpu_s):
        table.add_row(name, *(f"{row.cpu_s.get(name, 0.0) / row.seconds:.0%}" for row in rows))
    console.print(table)


def _show_faults(console: Console, rows: Sequence[LoadRow]) -> None:
    """Print why rates do not count as held."""
    for row in rows:
        if found := faults(row):
            name = f"{row.client} x {row.processes}, {row.rate:,.0f} msg/s"
            console.print(f"  not held: {name}: {'; '.join(found)}", highlight=False)


def show_equal(console: Console, rows: Sequence[LoadRow]) -> None:
    """Print all clients at the same rates."""
    table = _table(
        "Equal rates, same frames: send → decision, µs; CPU of the client per message, µs",
        ("client", "held"),
        ("proc.", "msg/s", *_LATENCY, "CPU"),
    )
    for row in rows:
        latency, cpu = _latency(row.send_us), f"{row.client_cpu_us:.0f}"
        held = "no" if faults(row) else "yes"
        table.add_row(row.client, held, str(row.processes), f"{row.rate:,.0f}", *latency, cpu)
    console.print(table)
    _show_faults(console, [row for row in rows if row.client != ARBSHARD])


def show_rest(console: Console, results: Results) -> None:
    """Print approval, orders, start-up, memory, and all other measurements."""
    found = {"risk approval, paper": results.approval_us, "order on the wire, live": results.wire_us}
    if any(found.values()):
        table = _table("From the decision on, µs", ("to",), (*_LATENCY, "times"))
        for name, times in found.items():
            if times is not None:
                table.add_row(name, *_latency(times), f"{times.count:,}")
        console.print(table)
    if results.startup is not None:
        took = ", ".join(f"{seconds:.2f} s" for seconds in results.startup.first_decision_s)
        console.print(f"arbshard run --shards 4 → first decision: {took}", highlight=False)
        table = _table(
            "Footprint without the exchanges, MB (judged: USS + shared once)",
            (),
            ("pairs", "shards", "judged", "all USS", "all RSS", "worker RSS", "exchanges RSS"),
        )
        for one in results.startup.footprints:
            figures = (one.total_mb, one.uss_mb, one.rss_mb, one.worker_rss_mb, one.exchanges_rss_mb)
            table.add_row(f"{one.pairs:,}", str(one.shards), *(f"{figure:.1f}" for figure in figures))
        console.print(table)
    for group, numbers in results.more.items():
        table = _table(group, ("",), ("",))
        for name, number in numbers.items():
            table.add_row(name, f"{number:,.2f}")
        console.print(table)
    for part, why in results.not_measured.items():
        console.print(f"[yellow]not measured[/]: {part}: {why}", highlight=False)


def show_budgets(console: Console, judged: Sequence[Judged]) -> None:
    """Print whether each budget is met or missed."""
    table = _table("Budgets", ("budget",), ("found", "limit", "verdict"))
    for budget, number, verdict in judged:
        found = "-" if number is None else f"{number:,.2f} {budget.unit}"
        limit = f"{'≤' if budget.at_most else '≥'} {budget.limit:,g} {budget.unit}"
        table.add_row(budget.name, found, limit, f"[{_STYLES[verdict]}]{verdict}[/]")
    console.print(table)


def show_changes(console: Console, commit: str, changes: Sequence[Change]) -> None:
    """Print which ratios are worse than in the baseline, and how many were compared."""
    worse = [change for change in changes if change.is_worse]
    console.print(
        f"baseline of commit {commit}: {len(changes)} ratios compared, {len(worse)} worse by more than 25 %",
        highlight=False,
    )
    for change in worse:
        console.print(
            f"  [red]worse[/] {change.name}: {change.before:.2f} → {change.now:.2f}", highlight=False
        )
