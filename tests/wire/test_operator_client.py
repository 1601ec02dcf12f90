"""What a person reads when nothing answers: who, and for how long, and no path of a socket."""

import pytest

from arbshard.errors import RequestTimeout
from arbshard.model.rundir import RunFiles
from arbshard.wire import control, operator_client
from arbshard.wire.messages import ShowPositions


def test_a_time_out_names_who_has_not_answered(tmp_path, monkeypatch):
    monkeypatch.setattr(operator_client, "_RISK_TIMEOUT_MS", 100)
    monkeypatch.setattr(operator_client, "_SUPERVISOR_TIMEOUT_MS", 50)
    files = RunFiles(tmp_path)
    with pytest.raises(RequestTimeout, match=r"^risk has not answered within 0\.1 s$"):
        operator_client.send_command(files, ShowPositions(), "a test")
    with pytest.raises(RequestTimeout, match=r"^the supervisor has not answered within 0\.05 s$"):
        operator_client.send_order(files, control.ShowShards(), "a test")
