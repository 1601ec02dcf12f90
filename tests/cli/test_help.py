"""Every command says how it is used: its group, examples that are true, and its exit codes."""

import re
import shlex

import pytest
from typer.testing import CliRunner

from arbshard.cli import app, command
from arbshard.cli.help import COMMANDS, GROUPS, commands_of

ALL = dict(commands_of(app))


def found(words):
    """The command that ``words`` begin with, and the words after it."""
    one = command()
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
    assert one is not command()
    known = {name for parameter in one.params for name in parameter.opts} | {"--help"}
    assert {word for word in rest if word.startswith("-")} <= known


@pytest.mark.parametrize("path", [*ALL, *GROUPS])
def test_help_shows_examples_and_exit_codes(path):
    shown = CliRunner().invoke(app, [*path.split(), "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "Examples:" in shown.output
    assert f"arbshard {path}" in shown.output
    assert "Exit codes: 0" in shown.output


def test_no_help_loses_what_is_in_brackets():
    """Rich would take it for markup, and show nothing of it."""
    texts = [info.callback.__doc__ for info in ALL.values()]
    for path in ALL:
        one, _ = found(path.split())
        texts += [parameter.help for parameter in one.params if getattr(parameter, "help", None)]
    assert [text for text in texts if text and re.search(r"(?<!\\)\[[a-z#/]", text)] == []


def test_a_flag_takes_no_value_in_the_help():
    one, _ = found(["run"])
    flag = next(parameter for parameter in one.params if "--live" in parameter.opts)
    assert flag.metavar == ""


def test_commands_are_listed_in_groups():
    shown = CliRunner().invoke(app, ["--help"]).output
    places = [shown.index(f" {panel} ") for panel in ("Run", "See what it does", "Act while it runs")]
    assert places == sorted(places)
    assert "Record, replay and study" in shown
