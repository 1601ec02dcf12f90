"""``arbshard ledger …``: look into the ledger."""

import typer

from arbshard.cli.options import ConfigOption, NameOption, StateOption, state_dir_of
from arbshard.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Look into the ledger.")


@app.command("verify")
def ledger_verify(
    state_dir: StateOption = None, name: NameOption = None, config: ConfigOption = None
) -> None:
    """Recompute all balances and positions from the fills, and compare. Exit code 1 on any difference."""
    from arbshard.ledger.verify import verify
    from arbshard.model.money import use_money_context

    use_money_context()
    path = state_dir_of(name, config, state_dir) / "ledger.sqlite"
    if not path.exists():
        raise UsageError(f"there is no ledger at {path}")
    report = verify(path)
    found = len(report.differences) + report.suppressed
    typer.echo(
        f"{path}: {report.events:,} events, {report.intents:,} intents, {report.fills:,} fills, "
        f"{report.positions:,} positions ({report.closed:,} closed, PnL {report.pnl:,.2f})"
    )
    for difference in report.differences:
        typer.echo(f"  {difference}")
    if report.suppressed:
        typer.echo(f"  and {report.suppressed:,} more")
    typer.echo("everything agrees with the fills" if not found else f"{found:,} differences")
    raise typer.Exit(1 if found else 0)
