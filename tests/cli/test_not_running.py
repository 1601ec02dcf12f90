"""Commands that only a running instance can answer, where none runs: one line, exit code 2, nothing on stdout."""

import pytest

from arbshard.cli import main


@pytest.mark.parametrize(
    "words",
    [
        ("limits", "show", "--json"),
        ("limits", "show"),
        ("shards", "--json"),
        ("shards",),
        ("symbols", "--json"),
        ("symbols",),
    ],
)
def test_one_line_and_exit_code_2(words, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(tmp_path / "run"))
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setattr("sys.argv", ["arbshard", *words, "--name", "desk"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "arbshard: no instance named 'desk' is running\n")
