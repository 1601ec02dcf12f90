"""``arbshard config``: check, show and schema."""

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arbshard.cli import app
from arbshard.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


def run(*words):
    return CliRunner().invoke(app, ["config", *map(str, words)])


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_check_accepts_the_files_of_the_project(file):
    result = run("check", file)
    assert result.exit_code == 0
    assert ": accepted; instance '" in result.stdout


def test_check_says_what_is_wrong(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("[run]\nshards = 0\n")
    error = run("check", file).exception
    assert isinstance(error, ConfigError)
    assert "run.shards" in str(error)


def test_what_is_shown_is_accepted_and_is_the_same(tmp_path):
    shown = run("show").stdout
    file = tmp_path / "c.toml"
    file.write_text("".join(f"{line}\n" for line in shown.splitlines() if not line.endswith(" = null")))
    assert run("show", file).stdout == shown


def test_show_says_where_each_value_is_from(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("[run]\nshards = 3\n[sampling]\nenabled = false\n")
    lines = run("show", file, "--origin").stdout.splitlines()
    assert f"run.shards = 3  # {file}" in lines
    assert f"sampling.enabled = false  # {file}" in lines
    assert sum(line.endswith(f"# {file}") for line in lines) == 2
    assert all(line.endswith("# default") for line in lines if f"# {file}" not in line)


def test_show_says_which_variable_sets_a_value(tmp_path, monkeypatch):
    monkeypatch.setenv("ARBSHARD__RUN__SHARDS", "5")
    monkeypatch.setenv("ARBSHARD__SAMPLING", "{ enabled = false }")
    monkeypatch.setenv("ARBSHARD__LIVE__BALANCE_TOLERANCES__KRW", "1")
    file = tmp_path / "c.toml"
    file.write_text("[run]\nshards = 3\nmax_pairs = 9\n")
    lines = run("show", file, "--origin").stdout.splitlines()
    assert "run.shards = 5  # ARBSHARD__RUN__SHARDS" in lines
    assert f"run.max_pairs = 9  # {file}" in lines
    assert "sampling.enabled = false  # ARBSHARD__SAMPLING" in lines
    assert 'live.balance_tolerances.KRW = "1"  # ARBSHARD__LIVE__BALANCE_TOLERANCES__KRW' in lines
    said = run("check", file).stdout
    assert said.endswith("the environment sets live.balance_tolerances.KRW, run.shards, sampling\n")


def test_every_command_counts_the_environment(monkeypatch):
    monkeypatch.setenv("ARBSHARD__NAME", "never-started")
    said = CliRunner().invoke(app, ["positions"]).exception
    assert "no instance named 'never-started' is running" in str(said)


def test_show_as_json_has_no_secret():
    shown = json.loads(run("show", "--json").stdout)
    assert shown["run"]["shards"] == 4
    assert "opens-nothing" not in json.dumps(shown)


class TestSchema:
    @pytest.fixture
    def schema(self):
        return json.loads(run("schema").stdout)

    def test_amounts_may_be_numbers_and_patterns_are_those_of_editors(self, schema):
        text = json.dumps(schema)
        assert '"required": [' not in text  # a file may leave out any key
        assert "decimal" not in text
        assert "\\\\Z" not in text
        assert schema["$defs"]["LimitsConfig"]["properties"]["order_notional_max"]["type"] == [
            "number",
            "string",
        ]

    def test_sections_of_other_venues_are_known(self, schema):
        venues = schema["$defs"]["VenuesConfig"]
        assert "others" not in venues["properties"]
        assert venues["additionalProperties"] == {"$ref": "#/$defs/VenueConfig"}

    @pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
    def test_it_knows_every_key_of_the_files_of_the_project(self, schema, file):
        def check(tree, node):
            if "$ref" in node:
                node = schema["$defs"][node["$ref"].rpartition("/")[2]]
            for key, value in tree.items():
                known = node.get("properties", {}).get(key) or node.get("additionalProperties")
                assert known, key
                if isinstance(value, dict) and isinstance(known, dict):
                    check(value, known)

        check(tomllib.loads(file.read_text(encoding="utf-8")), schema)


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("words", [[], ["status"], ["limits", "set"]])
def test_help_by_either_name(words, option):
    result = CliRunner().invoke(app, [*words, option])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_version():
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == CliRunner().invoke(app, ["version"]).stdout
