"""Defines ``arbshard campaign``, which runs for hours, watches, stops, judges and reports."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from arbshard.errors import UsageError

if TYPE_CHECKING:
    from arbshard.campaign.file import CampaignFile


def campaign(
    name: Annotated[str, typer.Argument(help="A campaign (S0 to S3), a file, or 'list' or 'show'.")],
    shown: Annotated[str | None, typer.Argument(help="After 'show': which campaign.")] = None,
    duration: Annotated[float | None, typer.Option("--duration", help="Seconds.")] = None,
    symbols: Annotated[str | None, typer.Option("--symbols", help="Pairs: BTC,ETH.")] = None,
    shards: Annotated[int | None, typer.Option("--shards", help="Worker processes.")] = None,
    speed: Annotated[
        float | None,
        typer.Option("--speed", help="Multiply the message rate of the embedded exchanges by this."),
    ] = None,
    virtual: Annotated[
        bool, typer.Option("--virtual", help="The same campaign in the simulation, in minutes.")
    ] = False,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            "--state-dir", help="Where campaigns of this name are kept; default: below ~/.local/state."
        ),
    ] = None,
) -> None:
    """Run a campaign and judge it. Exit code: 0 passed, 1 failed, 2 could not run.

    'list' names all campaigns, 'show NAME' says what one does and how its last runs went.
    """
    from arbshard.campaign.file import find_campaign, load_campaign

    if name == "list":
        _list()
        return
    if name == "show":
        if shown is None:
            raise UsageError("campaign show: name a campaign, as in 'arbshard campaign show S0'")
        _show(load_campaign(find_campaign(shown)), state_dir)
        return
    if shown is not None:
        raise UsageError(f"campaign {name}: the argument '{shown}' is one too many")
    path = find_campaign(name)
    changed = with_options(load_campaign(path), str(path), duration, symbols, shards, speed)
    root = _root_of(changed, state_dir)
    if virtual:
        from arbshard.campaign.virtual import run_virtual

        result = run_virtual(changed, root)
    else:
        from arbshard.campaign.campaign import Campaign
        from supervisor.places import find_run_dir, running_pid

        result = Campaign(changed, root, find_run_dir, running_pid).run()
    typer.echo(result.line())
    if result.no_report:
        typer.echo(f"  no report: {result.no_report}")
    for kept in (*result.reports, result.folder):
        typer.echo(f"  {kept}")
    for line in result.not_watched:
        typer.echo(f"  in the simulation: {line}")
    raise typer.Exit(result.verdict.exit_code)


def with_options(
    given: "CampaignFile",
    where: str,
    duration: float | None,
    symbols: str | None,
    shards: int | None,
    speed: float | None,
) -> "CampaignFile":
    """Return the campaign as the command line changes it, checked again. Raises ``UsageError``."""
    from arbshard.campaign.file import CampaignFile, config_of
    from arbshard.config.section import explain

    tree: dict[str, Any] = msgspec.to_builtins(given)
    if duration is not None:
        tree["duration_s"] = duration
    if symbols is not None:
        tree["symbols"] = [one.strip() for one in symbols.split(",") if one.strip()]
    if shards is not None:
        tree["shards"] = shards
    if speed is not None:
        if not 0 < speed <= 100:
            raise UsageError(f"--speed {speed:g}: must be above 0 and at most 100")
        if config_of(given, where).data != "sim":
            raise UsageError("--speed: the messages of real exchanges come as they come")
        sim = tree["config"].setdefault("sim", {})
        sim["updates_per_s"] = config_of(given, where).sim.updates_per_s * speed
        tree["virtual"]["updates_per_s"] = given.virtual.updates_per_s * speed
    try:
        changed = msgspec.convert(tree, CampaignFile)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{where} with the options of the command line: {explain(error, CampaignFile)}"
        ) from error
    config_of(changed, f"{where} with the options of the command line")
    return changed


def _root_of(given: "CampaignFile", state_dir: Path | None) -> Path:
    from arbshard.cli.options import config_of
    from supervisor.statedir import state_dir_of

    if state_dir is not None:
        return state_dir.expanduser().absolute()
    return state_dir_of(config_of(given.instance, None))


def _list() -> None:
    from arbshard.campaign.file import campaign_files, load_campaign

    for name, path in campaign_files().items():
        found = load_campaign(path)
        typer.echo(f"{name}  {found.duration_s / 60:>6,.0f} min  {len(found.symbols)} symbols  {found.about}")


def _show(given: "CampaignFile", state_dir: Path | None) -> None:
    from arbshard.campaign.campaign import past_results

    typer.echo(f"{given.name}: {given.about}")
    typer.echo(f"  {given.duration_s:g} s, {', '.join(given.symbols)}, {given.shards} shards")
    for section in ("config", "rules", "verdict", "virtual"):
        text = msgspec.json.format(msgspec.json.encode(getattr(given, section))).decode()
        sys.stdout.write(f"{section}: {text}\n")
    for result in past_results(_root_of(given, state_dir)):
        typer.echo(f"{result.folder}\n  {result.line()}")
