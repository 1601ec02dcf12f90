"""Defines options that several commands share, and converts their values."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer

from arbshard.cli.completion import complete_configs, complete_names
from arbshard.config import REGIMES, Config, find_config, load_config
from arbshard.errors import UsageError
from arbshard.model.money import typed_amount
from arbshard.model.rundir import RunFiles

NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="Which instance; default: the name in the configuration.",
        autocompletion=complete_names,
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file, or the name of one that comes with arbshard, such as paper-band; default: embedded "
        "exchanges, paper. The environment lies over it: ARBSHARD__RUN__SHARDS=8.",
        autocompletion=complete_configs,
    ),
]
StateOption = Annotated[
    str | None,
    typer.Option(
        "--state-dir", help="Where ledger and logs are kept; default: ~/.local/state/arbshard/NAME."
    ),
]

SinceOption = Annotated[
    str | None, typer.Option("--since", help="ISO date or time, UTC unless it names a zone: 2026-11-01.")
]
REGIME_HELP = "How simulated prices behave. " + " ".join(f"{name}: {what}." for name, what in REGIMES.items())
WAIT_S_MAX = 86_400.0
"""The longest time for which a command waits, in seconds. A limit also refuses ``nan`` and ``inf``."""
_EVER_MS = -(2**63)


def wall_ms_of(option: str, text: str | None) -> int:
    """Return the wall time in ms that ``--option TEXT`` names, or one long ago when it was not given.

    Raises ``UsageError``.
    """
    if text is None:
        return _EVER_MS
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--{option} {text}: not a date or time such as 2026-11-01 or 2026-11-01T09:30+09:00"
        ) from error


def config_of(
    name: str | None,
    config: Path | None,
    state_dir: str | None = None,
    others: Mapping[str, Any] | None = None,
) -> Config:
    """Return the configuration of these options and of the environment. ``others``: values of further options.

    Raises ``ConfigError``.
    """
    overrides: dict[str, Any] = dict(others or {})
    if name is not None:
        overrides["name"] = name
    if state_dir is not None:
        overrides["state_dir"] = state_dir
    return load_config(find_config(config) if config is not None else None, overrides, os.environ)


def symbols_of(text: str) -> list[str]:
    """Return the pairs that ``--symbols`` names. Raises ``UsageError``."""
    names = [one.strip() for one in text.split(",") if one.strip()]
    if not names:
        raise UsageError("--symbols: names no pair")
    return names


def state_dir_of(name: str | None, config: Path | None, state_dir: str | None) -> Path:
    """Return the folder in which the instance keeps its ledger and logs."""
    from supervisor.statedir import state_dir_of as state_dir_of_config

    return state_dir_of_config(config_of(name, config, state_dir))


def running_files(name: str | None, config: Path | None) -> tuple[str, RunFiles]:
    """Return the name and the run directory of a running instance. Raises ``UsageError`` when it does not run."""
    from supervisor.places import find_run_dir, running_pid

    instance = config_of(name, config).name
    if running_pid(instance) is None:
        running = [name for name in names_of_instances() if running_pid(name) is not None]
        others = f"; these run: {', '.join(running)}" if running else ""
        raise UsageError(f"no instance named '{instance}' is running{others}")
    return instance, RunFiles(find_run_dir(instance))


def names_of_instances() -> list[str]:
    """Return the names of the instances that run or have left their run directory."""
    from arbshard.model.rundir import LOCK
    from supervisor.places import usable_roots

    return sorted(
        path.name
        for root in usable_roots()
        if root.path.is_dir()
        for path in root.path.iterdir()
        # No instance has a name that begins with a dot; the simulation keeps its files in such folders meanwhile.
        if not path.name.startswith(".") and (path / LOCK).is_file()
    )


def amount_of(option: str, text: str) -> Decimal:
    """Return the amount that ``option`` was given. Raises ``UsageError``."""
    try:
        value = typed_amount(text)
    except InvalidOperation as error:
        raise UsageError(f"{option} {text}: not an amount such as 20000 or 1.5") from error
    if not value.is_finite() or value < 0:
        raise UsageError(f"{option} {text}: not an amount of 0 or more")
    return value


def require_own_supervisor() -> None:
    """Raise ``UsageError`` where PyPI's process manager has taken the place of our package ``supervisor``.

    Both have that name. Whichever is installed last into an environment overwrites a file of the other, and
    whichever is removed takes that file along.
    """
    import supervisor

    if not hasattr(supervisor, "ARBSHARD"):
        place = next(iter(supervisor.__path__), "this environment")
        raise UsageError(
            f"the package 'supervisor' at {place} is not that of arbshard: PyPI's process manager has the same name "
            "and was installed or removed there; install arbshard into an environment of its own, for example by pipx"
        )
