from importlib import import_module

import pytest

from perf.__main__ import main


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--rates", "fast"],
        ["--rates", "5"],
        ["--rates", "999999999"],
        ["--seconds", "0"],
        ["--seconds", "soon"],
        ["load", "--other-work", "1.5"],
        ["load", "--unknown"],
        ["load", "--receiver", "telegraph"],
    ],
)
def test_bad_arguments_end_with_two_and_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("python -m perf: ")


@pytest.mark.parametrize("program", ["backtest", "hosts", "instructions", "ledger_open", "orders", "wire"])
def test_each_part_with_a_program_of_its_own_has_help_and_measures_nothing_for_it(program, capsys):
    with pytest.raises(SystemExit) as ended:
        import_module(f"perf.{program}").main(["--help"])
    assert ended.value.code == 0
    assert "usage: python -m perf." in capsys.readouterr().out
