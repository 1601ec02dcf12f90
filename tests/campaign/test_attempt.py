"""What the processes of an attempt are started with."""

from arbshard.campaign.attempt import Attempt

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
