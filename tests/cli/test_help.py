"""Every command says how it is used: its group, examples that are true, and its exit codes."""

import re
import shlex
from functools import cache
from typing import Annotated

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from arbshard.cli import app, command
from arbshard.cli.help import COMMANDS, GROUPS, commands_of

ALL = dict(commands_of(app))


@cache
def everything():
    """The command line. To build it takes as long as all else that a test of an example does."""
    return command()


def found(words):
    """The command that ``words`` begin with, and the words after it."""
    one = everything()
    words = list(words)
    while words and words[0] in getattr(one, "commands", {}):
        one = one.commands[words.pop(0)]
    return one, words


def test_each_command_has_its_help():
    assert set(COMMANDS) == set(ALL)
    groups = {group.name for group in app.registered_groups}
    assert set(GROUPS) == groups
    single = {path for path in ALL if " " not in path}
    assert {path for path, one in COMMANDS.items() if one.panel} == single
    assert all(one.panel for one in GROUPS.values())


@pytest.mark.parametrize(
    "example", [line for one in (*COMMANDS.values(), *GROUPS.values()) for line in one.examples]
)
def test_examples_are_true(example):
    one, rest = found(shlex.split(example.split(" | ")[0].split(" > ")[0]))
    assert one is not everything()
    known = {name for parameter in one.params for name in parameter.opts} | {"--help"}
    assert {word for word in rest if word.startswith("-")} <= known


@pytest.mark.parametrize("path", [*ALL, *GROUPS])
def test_help_shows_examples_and_exit_codes(path):
    shown = CliRunner().invoke(app, [*path.split(), "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "Examples:" in shown.output
    assert f"arbshard {path}" in shown.output
    assert "Exit codes: 0" in shown.output


def commands_below(one, above=()):
    """Every command below ``one``, and itself, with the words that call it."""
    yield above, one
    for name, below in getattr(one, "commands", {}).items():
        yield from commands_below(below, (*above, name))


def bracketed(texts):
    """What is in brackets in these texts, such as ``[limits]``."""
    return {word for text in texts if text for word in re.findall(r"\[[^\]\s]+\]", text)}


def lost_brackets(of, shown_by):
    """What is in brackets in the sources of the commands of ``of``, and missing in their help."""
    for path, one in commands_below(typer.main.get_command(of)):
        written = bracketed([one.help, one.epilog, *(getattr(part, "help", None) for part in one.params)])
        if written:
            yield from ((path, word) for word in written if word not in shown_by(of, path))


@pytest.fixture
def shown_by(capsys, monkeypatch):
    """Return the help that people see of one command."""
    monkeypatch.setenv("COLUMNS", "300")

    def shown(of, path):
        command(of).main([*path, "--help"], prog_name="arbshard", standalone_mode=False)
        return capsys.readouterr().out

    return shown


def test_no_help_loses_what_is_in_brackets(shown_by):
    """Rich would take it for markup, and show nothing of it."""
    assert list(lost_brackets(app, shown_by)) == []


def test_brackets_are_shown_in_every_place_of_a_help(shown_by):
    made = typer.Typer(help="Reads [web].")

    @made.callback(epilog="Examples: [run]")
    def group():
        """Read [paper] and [alerts.targets]."""

    @made.command(epilog="Exit codes: [0]")
    def one(
        name: Annotated[str, typer.Argument(help="Key of [limits].")],
        way: Annotated[str, typer.Option(help="Key of [sim.faults].")] = "",
    ):
        """Change [bold] and [/]."""

    of_group, of_one = shown_by(made, ()), shown_by(made, ("one",))
    assert {"[web]", "[run]", "[bold]", "[/]"} <= bracketed([of_group])
    assert {"[limits]", "[sim.faults]", "[bold]", "[/]", "[0]"} <= bracketed([of_one])
    assert "\\" not in of_group + of_one
    assert list(lost_brackets(made, shown_by)) == []


def test_a_flag_takes_no_value_in_the_help():
    one, _ = found(["run"])
    flag = next(parameter for parameter in one.params if "--live" in parameter.opts)
    assert flag.metavar == ""


def test_commands_are_listed_in_groups():
    shown = CliRunner().invoke(app, ["--help"]).output
    places = [shown.index(f" {panel} ") for panel in ("Run", "See what it does", "Act while it runs")]
    assert places == sorted(places)
    assert "Record, replay and study" in shown
