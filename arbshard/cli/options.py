"""Options that several commands share, and what they mean."""

from pathlib import Path
from typing import Annotated, Any

import typer

from arbshard.config import Config, load_config
from arbshard.errors import UsageError
from arbshard.model.rundir import RunFiles

NameOption = Annotated[
    str | None, typer.Option("--name", help="Which instance; default: the configuration's name.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file; default: embedded exchanges, paper.")
]
StateOption = Annotated[
    str | None,
    typer.Option(
        "--state-dir", help="Where ledger and logs are kept; default: ~/.local/state/arbshard/NAME."
    ),
]


def config_of(name: str | None, config: Path | None, state_dir: str | None = None) -> Config:
    """The configuration these options lead to. Raises ``ConfigError``."""
    overrides: dict[str, Any] = {}
    if name is not None:
        overrides["name"] = name
    if state_dir is not None:
        overrides["state_dir"] = state_dir
    return load_config(config, overrides)


def state_dir_of(name: str | None, config: Path | None, state_dir: str | None) -> Path:
    """Where the instance keeps ledger and logs."""
    from supervisor.processes.commands import state_dir_of as state_dir_of_config

    return state_dir_of_config(config_of(name, config, state_dir))


def running_files(name: str | None, config: Path | None) -> tuple[str, RunFiles]:
    """Name and run directory of a running instance. Raises ``UsageError`` when it does not run."""
    from supervisor.places import find_run_dir, running_pid

    instance = config_of(name, config).name
    if running_pid(instance) is None:
        raise UsageError(f"no instance named '{instance}' is running")
    return instance, RunFiles(find_run_dir(instance))
