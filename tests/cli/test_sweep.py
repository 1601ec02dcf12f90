"""``arbshard sweep`` as typed: bad input is one line and exit code 2."""

import sys

import pytest

from arbshard.cli import main

pytestmark = pytest.mark.needs("tape", "analysis")


@pytest.fixture
def tape(tmp_path):
    from support.sweep_rig import write_tape

    return write_tape(tmp_path / "tape", 10)


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["arbshard", "sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "name the tape"),
        (("{tape}",), "--grid: name at least one key"),
        (("{tape}", "--grid", "entry_pbs=1"), "there is no key 'entry_pbs'; is entry_bps meant?"),
        (
            ("{tape}", "--grid", "entry_bps=30", "--search", "all"),
            "--search all: must be one of grid, random",
        ),
        (("{tape}", "--grid", "entry_bps=30", "--trials", "5"), "--trials: a grid is tried as a whole"),
        (("{tape}", "--grid", "entry_bps=30", "--parts", "20"), "9.0 minutes are recorded, and each of 20"),
        (
            ("{tape}", "--grid", "entry_bps=30", "--on", "mars"),
            "--on mars: must be local, ray, or the address",
        ),
        (("{tape}/none", "--grid", "entry_bps=30"), "there is no tape in"),
        (("--resume", "--out", "{tape}"), "--resume: there is no sweep in"),
        (("--resume", "--out", "{tape}", "--trials", "9"), "--trials cannot be given without --grid"),
        (("{tape}", "--grid", "entry_bps=30", "--out", "{file}"), "cannot be used"),
        (("{tape}", "--grid", "entry_bps=30", "--config", "{tape}/no.toml"), "cannot be read"),
    ],
)
def test_bad_input_is_one_line(call, tape, arguments, why):
    (file,) = tape.iterdir()
    code, said, wrong = call(*(one.format(tape=tape, file=file) for one in arguments))
    assert (code, said) == (2, "")
    assert why in wrong
    assert len(wrong.splitlines()) == 1


@pytest.mark.parametrize(
    ("missing", "more", "why"),
    [
        ("plotly", (), "arbshard sweep needs plotly, which is not installed"),
        ("optuna", ("--search", "optuna"), "--search optuna needs optuna, which is not installed"),
        ("ray", ("--on", "ray"), "--on ray needs ray, which is not installed"),
    ],
)
def test_a_missing_library_is_named(call, tape, monkeypatch, missing, more, why):
    monkeypatch.setattr("arbshard.optional.find_spec", lambda name: None if name == missing else name)
    code, _, wrong = call(tape, "--grid", "entry_bps=30,40", *more)
    assert code == 2
    assert why in wrong
    assert len(wrong.splitlines()) == 1
