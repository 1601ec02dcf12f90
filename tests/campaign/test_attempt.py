"""What the processes of an attempt are started with."""

from arbshard.campaign.attempt import Attempt, read_summary

SHOW = "import os; print(sorted(name for name in os.environ if name.startswith('ARBSHARD_')))"


def test_no_setting_of_the_environment_changes_a_campaign(tmp_path, monkeypatch):
    """Its file says everything, and its verdict is about that."""
    monkeypatch.setenv("ARBSHARD__RUN__SHARDS", "1")
    monkeypatch.setenv("ARBSHARD_RUN_ROOT", str(tmp_path))
    output = tmp_path / "out.txt"
    with output.open("wb") as file:
        started = Attempt._start(None, ("-c", SHOW), file)
    assert started.wait(30) == 0
    found = output.read_text()
    assert "ARBSHARD_RUN_ROOT" in found
    assert "ARBSHARD__" not in found


def test_summary_that_is_missing_or_damaged_is_a_problem_and_no_error(tmp_path) -> None:
    path = tmp_path / "summary.json"
    assert read_summary(path) == (None, "the run wrote no summary")
    path.write_bytes(b'{"name": "S0"')
    found, why = read_summary(path)
    assert found is None
    assert "cannot be read" in why
