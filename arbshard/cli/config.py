"""Defines ``arbshard config …``, which checks a configuration, shows all of it, and prints its JSON Schema for
editors.

All commands include what the environment sets (``ARBSHARD__RUN__SHARDS=8``), as a run does.
"""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from arbshard.cli.options import config_of
from arbshard.config import Config, find_config, find_remarks, without_secrets
from arbshard.config.environment import settings_of

app = typer.Typer(no_args_is_help=True, help="Check a configuration file and show what is in force.")

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="A TOML file, or the name of one that comes with arbshard.")
]
_Value = str | int | float | bool | list[Any] | dict[str, Any] | None


@app.command("check")
def check_config(file: FileArgument) -> None:
    """Check whether a run would accept FILE, and print what is wrong with it otherwise.

    Exit code: 0 accepted, 2 not.
    """
    config = config_of(None, file)
    told = f"{file}: accepted; instance '{config.name}', {config.mode} orders, data {config.data}"
    keys = [setting.key for setting in settings_of(os.environ)]
    typer.echo(told + (f"; the environment sets {', '.join(keys)}" if keys else ""))
    for remark in find_remarks(config):
        typer.echo(f"{file}: note: {remark}")


@app.command("show")
def show_config(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="A TOML file, or the name of one that comes with arbshard; none: all defaults.",
        ),
    ] = None,
    origin: Annotated[
        bool,
        typer.Option("--origin", help="Show for each key what sets it: a variable, FILE or the default."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show every key with the value in force, one a line: as TOML takes it, after a dotted name."""
    tree: dict[str, Any] = msgspec.to_builtins(without_secrets(config_of(None, file)))
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(tree)).decode())
        return
    # The environment overrides the file, and a key overrides the table that it is in.
    origins = (
        dict.fromkeys(_keys(tomllib.loads(find_config(file).read_text(encoding="utf-8"))), str(file))
        if file
        else {}
    )
    origins |= {setting.key: setting.variable for setting in settings_of(os.environ)}
    for key, value in _leaves(tree):
        line = f"{key} = {msgspec.json.encode(value).decode()}"
        if origin:
            line += f"  # {_origin_of(key, origins)}"
        typer.echo(line)


def _origin_of(key: str, origins: dict[str, str]) -> str:
    """Return what sets ``key``. ``origins`` are by key or table, and the later override the earlier."""
    found = "default"
    for one, origin in origins.items():
        if one == key or key.startswith(f"{one}.") or one.startswith(f"{key}."):
            found = origin
    return found


@app.command("schema")
def show_schema() -> None:
    """Print the JSON Schema of the configuration, for editors that check TOML by one, such as those with taplo."""
    typer.echo(msgspec.json.format(msgspec.json.encode(_schema_of_files())).decode())


def _schema_of_files() -> dict[str, Any]:
    """Return the JSON Schema of what ``load_config`` accepts in a file."""
    schema: dict[str, Any] = _as_in_files(msgspec.json.schema(Config))
    venues = schema["$defs"]["VenuesConfig"]
    # Sections of venues that ccxt carries are beside the others: [venues.NAME].
    venues["additionalProperties"] = venues["properties"].pop("others")["additionalProperties"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def _as_in_files(node: Any) -> Any:
    """Return ``node`` with amounts as TOML has them, regular expressions for editors, and nothing required.

    A file overrides the defaults, so it may leave out any key.
    """
    if isinstance(node, list):
        return [_as_in_files(one) for one in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _as_in_files(value) for key, value in node.items()}
    if isinstance(changed.get("required"), list):
        del changed["required"]
    if changed.get("format") == "decimal":
        del changed["format"]
        changed["type"] = ["number", "string"]
    if isinstance(changed.get("pattern"), str):
        changed["pattern"] = changed["pattern"].replace("\\Z", "$")
    return changed


def _leaves(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, _Value]]:
    """Yield every dotted key with its value; an empty table is a value."""
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _keys(tree: dict[str, Any]) -> Iterator[str]:
    return (key for key, _ in _leaves(tree))
