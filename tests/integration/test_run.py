"""The whole system as a person runs it: real processes, real sockets, real files."""

import json
import os
import signal
import socket

import psutil
import pytest

from support.instance import Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


@pytest.fixture
def instance(tmp_path):
    with Instance(tmp_path) as one:
        yield one


def healthy(status: dict) -> bool:
    return status["state"] == "running"


def test_a_run_enters_exits_and_leaves_nothing_behind(instance):
    summary = instance.folder / "out.json"
    code, out, err = instance.run("--duration", "20", "--summary", str(summary))
    assert code == 0, err
    found = json.loads(summary.read_text())
    portfolio = found["portfolio"]
    assert portfolio["entries"] > 0
    assert portfolio["exits"] == portfolio["entries"]
    assert portfolio["open"] == 0
    assert portfolio["win_rate"] is not None
    assert float(portfolio["pnl"]) != 0
    assert float(portfolio["fees"]) > 0
    assert portfolio["currency"] == "KRW"
    assert found["errors"] == 0
    assert found["messages"] > 1000
    assert found["ticks"] > 300
    # Without its doorbell a worker would look on its timer alone, every 20 ms.
    assert 0 < found["latency_us"]["p50"] < 5000
    assert sum(found["reasons"].values()) == portfolio["exits"]
    assert sum(symbol["entries"] for symbol in found["symbols"].values()) == portfolio["entries"]
    assert (
        abs(sum(float(symbol["pnl"]) for symbol in found["symbols"].values()) - float(portfolio["pnl"]))
        < 1e-6
    )
    assert "SIMULATED" in out
    instance.verify()
    assert instance.leftovers() == []


def test_status_shows_a_healthy_run_a_second_one_is_refused_and_stop_ends_it(instance):
    process = instance.start()
    status = instance.until(lambda s: healthy(s) and s["portfolio"]["entries"] > 0)

    def answer():
        shown = instance.call("status", "--json")
        assert shown.code in (0, 1), shown
        return shown.out if shown.code == 0 else ""  # a busy machine may degrade a run for a moment

    status = json.loads(instance.wait_for(answer))
    assert {"state", "mode", "uptime_s", "shards", "venues", "risk", "portfolio"} <= status.keys()
    assert [shard["state"] for shard in status["shards"]] == ["running", "running"]
    for shard in status["shards"]:
        assert {"id", "pid", "epoch", "restarts", "pairs", "msg_s", "latency_us"} <= shard.keys()
        assert shard["msg_s"] > 0
        assert shard["latency_us"]["p50"] > 0
    for venue in status["venues"]:
        assert {"name", "state", "connections", "msg_s", "reconnects", "bad_frames"} <= venue.keys()
        assert venue["state"] == "connected"
        assert venue["bad_frames"] == 0
        assert venue["oldest_ms"] < 1000
    assert {"state", "pid", "refusals"} <= status["risk"].keys()
    table = instance.do("status")
    assert "Portfolio" in table
    assert "simulated" in table
    second = instance.ended(instance.launch("run", "--config", str(instance.config)))
    assert second.code == 2
    assert "already running" in second.err
    assert str(process.pid) in second.err
    stopped = instance.call("stop")
    assert stopped.code == 0, stopped.err
    code, _, err = instance.ended(process)
    assert code == 0, err
    assert instance.carry_out("status").code == 2
    assert instance.leftovers() == []


@pytest.mark.nightly  # in the gate test_desk_commands.py starts again with positions
def test_positions_kept_are_taken_over_by_the_next_start(instance):
    process = instance.start()
    kept = instance.until(lambda s: healthy(s) and s["portfolio"]["open"] > 0)["name"]
    assert kept == "t"
    instance.do("stop", "--keep-positions")
    code, _, err = instance.ended(process)
    assert code == 0, err
    instance.verify()
    summary = instance.folder / "out.json"
    instance.start("--summary", str(summary))
    instance.until_running()
    code, _, err = instance.stop(signal.SIGINT)
    assert code == 0, err
    found = json.loads(summary.read_text())["portfolio"]
    assert found["open"] == 0
    assert found["exits"] >= found["entries"]
    instance.verify()


@pytest.mark.nightly  # in the gate supervision/test_every_process.py kills each kind of process
def test_a_killed_worker_is_replaced_and_its_positions_are_closed(instance):
    process = instance.start()
    before = instance.until(lambda s: healthy(s) and s["portfolio"]["open"] > 0)["shards"][0]
    os.kill(before["pid"], signal.SIGKILL)
    after = instance.until(lambda s: healthy(s) and s["shards"][0]["epoch"] > before["epoch"])["shards"][0]
    assert after["restarts"] >= 1
    assert after["pid"] != before["pid"]
    instance.until(lambda s: s["shards"][0]["msg_s"] > 0)
    process.send_signal(signal.SIGTERM)
    code, out, _ = instance.ended(process)
    assert code == 1  # a restart is not a clean run
    assert "worker-0 ended with code -9" in out
    assert " 0 open" in out
    instance.verify()
    assert instance.leftovers() == []


def test_bad_input_is_one_line_and_exit_code_2(instance):
    def carry_out(*arguments):
        return instance.carry_out("run", *arguments)

    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    cases = {
        "an unknown symbol": (instance.run, ["--symbols", "BTC,NOPE"], "NOPE"),
        "a bad value": (carry_out, ["--shards", "0"], "run.shards"),
        "a bad regime": (carry_out, ["--regime", "sunny"], "one of calm"),
    }
    try:
        for what, (run, arguments, said) in cases.items():
            code, out, err = run(*arguments)
            assert code == 2, (what, err)
            assert said in err, (what, err)
            assert len((out + err).splitlines()) == 1, (what, out, err)
            assert instance.leftovers() == [], what
        instance.config.write_text(
            instance.config.read_text().replace("[sim]", f"[sim]\nupbit_port = {port}")
        )
        code, _, err = instance.run()
        assert code == 2, err
        assert "sim.upbit_port" in err
        assert str(port) in err
        assert instance.leftovers() == []
    finally:
        taken.close()


def test_a_run_directory_that_cannot_be_written_is_said(instance, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    instance.env["ARBSHARD_RUN_ROOT"] = str(blocked)
    code, _, err = instance.run()
    assert code == 2
    assert "cannot be written" in err
    assert str(blocked) in err


@pytest.mark.nightly  # in the gate supervision/test_supervisor.py kills the supervisor
def test_what_a_killed_supervisor_left_is_cleaned_by_the_next_start(instance):
    process = instance.start()
    instance.until(healthy)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait(10)
    gone, alive = psutil.wait_procs(children, timeout=5)
    assert not alive, alive
    assert len(gone) >= 4
    summary = instance.folder / "out.json"
    code, _, err = instance.run("--duration", "3", "--summary", str(summary))
    assert code == 0, err
    assert instance.leftovers() == []
    instance.verify()
