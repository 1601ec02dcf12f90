"""Every wait of a command has an end."""

import pytest

from arbshard.cli import main


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "86401"])
@pytest.mark.parametrize(
    "words",
    [
        ("stop",),
        ("halt",),
        ("close", "--all"),
        ("shards", "move", "KRW-BTC", "0"),
    ],
)
def test_a_wait_without_an_end_is_refused(words, seconds, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(tmp_path / "run"))
    monkeypatch.setattr("sys.argv", ["arbshard", *words, "--wait", seconds])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "Invalid value for '--wait'" in capsys.readouterr().err
