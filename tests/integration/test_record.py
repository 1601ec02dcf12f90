"""`arbshard record` beside a real run: what it keeps, what a kill and a full disk cost; the run goes on."""

import json
import os
import resource
import signal
import time

import msgspec
import psutil
import pyarrow.parquet as pq
import pytest

from arbshard.ledger.reader import LedgerReader
from arbshard.tape.reading import Tape
from support.instance import SMALL, Instance, running

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(150),
    pytest.mark.needs("analysis", "tape"),
]


BOUNDS = ("--free-mb", "0", "--segment-minutes", "0.05")


@pytest.fixture
def instance(tmp_path):
    yield from running(tmp_path, SMALL)


def record(instance, *arguments):
    return instance.launch("record", "--config", str(instance.config), *BOUNDS, *arguments)


def approved_after(instance, seq):
    with LedgerReader(instance.ledger) as ledger:
        return list(ledger.rows(["IntentApproved"], after=seq))


def call_alone(instance, *arguments):
    """A command that has no ``--config``."""
    ended = instance.ended(instance.launch(*arguments))
    assert ended.code == 0, ended
    return ended.out


def size_of(instance):
    return sum(path.stat().st_size for path in (instance.state / "tape").glob("*.arrows"))


def recordings(instance):
    return {path.name[:13] for path in (instance.state / "tape").glob("*.arrows")}


def info_of(instance):
    done = instance.carry_out("tape", "verify", "--json")
    return done.code, json.loads(done.out)


def rows_of(instance, query):
    return [json.loads(line) for line in instance.do("tape", "sql", "--json", query).splitlines()]


def missing_in(instance):
    """Rows of venues that their numbers say are missing."""
    numbers = rows_of(
        instance,
        "SELECT venue, max(number) - min(number) + 1 - count(*) AS missing FROM tape "
        "WHERE kind != 'dropped' AND venue != '' GROUP BY venue",
    )
    return sum(one["missing"] for one in numbers)


def marked_in(instance):
    (marked,) = rows_of(instance, "SELECT coalesce(sum(number), 0) AS n FROM tape WHERE kind = 'dropped'")
    return marked["n"]


def test_a_recording_holds_frames_marks_and_decisions_and_ends_with_the_run(instance):
    with LedgerReader(instance.ledger) as ledger:
        before = ledger.last_seq
    process = record(instance)
    instance.wait_for(lambda: size_of(instance) > 20_000)
    instance.wait_for(lambda: approved_after(instance, before))
    time.sleep(3.0)
    assert instance.stop().code == 0
    ended = instance.ended(process)
    assert ended.code == 0, ended
    assert " 0 missed, 0 lost, 0 unreadable: the instance has ended" in ended.err
    code, info = info_of(instance)
    assert (code, info["faults"], info["open_segments"], info["marked_as_missing"]) == (0, [], 0, 0)
    assert info["segments"] >= 2
    kinds = {(one["venue"], one["kind"]) for one in info["content"]}
    for venue in ("upbit", "binance"):
        assert {(venue, "frame"), (venue, "known"), (venue, "connect"), (venue, "disconnect")} <= kinds
    assert {("", "control"), ("", "venue"), ("", "decision"), ("", "refused")} <= kinds
    with LedgerReader(instance.ledger) as ledger:
        kept = {seq: body for seq, _, _, _, _, body in ledger.rows(after=before)}
    recorded = rows_of(instance, "SELECT number, decode(data) AS body FROM tape WHERE kind = 'decision'")
    assert len(recorded) > 3
    assert {one["number"]: one["body"] for one in recorded}.items() <= kept.items()
    approved = rows_of(instance, "SELECT decode(data) AS body FROM tape WHERE detail = 'IntentApproved'")
    assert approved
    assert all(float(msgspec.json.decode(one["body"])["intent"]["fx"]["bid"]) > 0 for one in approved)
    listed = instance.do("tape", "ls").splitlines()
    assert len(listed) == info["segments"] + 1
    assert " frames left out" not in instance.do("tape", "compact", "--levels", "5")
    quotes = next((instance.state / "tape" / "parquet" / "upbit" / "quotes").rglob("KRW-BTC.parquet"))
    target = instance.folder / "quotes.csv"
    assert call_alone(instance, "tape", "export", str(quotes), str(target)).endswith(" rows\n")
    assert target.read_text().startswith("exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,")
    call_alone(instance, "tape", "import", str(target), "--out", str(instance.folder / "imported"))
    (imported,) = (instance.folder / "imported").rglob("*.parquet")
    assert pq.read_table(imported).equals(pq.read_table(quotes))


@pytest.mark.nightly  # in the gate a recorder of a run that only records is killed
def test_a_killed_recorder_costs_its_last_moments_and_the_run_nothing(instance):
    process = record(instance)
    instance.wait_for(lambda: size_of(instance) > 20_000)
    process.kill()
    instance.ended(process)
    code, info = info_of(instance)
    assert (code, info["faults"], info["open_segments"]) == (0, [], 1)
    rows = info["rows"]
    assert rows > 20
    again = record(instance)
    instance.wait_for(lambda: info_of(instance)[1]["rows"] > rows + 20)
    other = record(instance)
    ended = instance.ended(other)
    assert ended.code == 2
    assert f"process {again.pid} already records into" in ended.err
    again.send_signal(signal.SIGTERM)
    assert instance.ended(again).code == 0
    assert info_of(instance)[1]["faults"] == []
    status = instance.until(lambda status: status["state"] == "running")
    assert [shard["restarts"] for shard in status["shards"]] == [0, 0]
    assert instance.stop().code == 0


@pytest.mark.nightly  # tests/tape/test_segments.py fills a disk without a run
def test_a_full_disk_costs_marked_rows_alone(instance):
    process = record(instance)
    instance.wait_for(lambda: size_of(instance) > 20_000)
    soft = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(
        process.pid, resource.RLIMIT_FSIZE, (1000, soft[1])
    )  # no file may grow beyond this any more
    log = instance.logs / "record.jsonl"
    printed = instance.folder / "err-1.txt"
    instance.wait_for(lambda: "the tape cannot be written" in printed.read_text() or log.read_text())
    time.sleep(2.0)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, soft)
    instance.wait_for(lambda: info_of(instance)[1]["marked_as_missing"] > 0)
    process.send_signal(signal.SIGINT)
    ended = instance.ended(process)
    assert ended.code == 0, ended
    assert " 0 missed, 0 lost" not in ended.err
    code, info = info_of(instance)
    assert (code, info["faults"]) == (0, [])
    (found,) = rows_of(instance, "SELECT DISTINCT detail FROM tape WHERE kind = 'dropped'")
    assert found["detail"] == "disk: File too large"
    assert instance.stop().code == 0
    assert instance.do("ledger", "verify")


@pytest.mark.nightly  # in the gate a slow disk holds up a recorder
def test_a_recorder_that_stands_still_delays_nothing_and_loses_nothing_for_a_while(instance):
    process = record(instance)
    instance.wait_for(lambda: size_of(instance) > 20_000)
    supervisor = psutil.Process(instance.process.pid)
    with LedgerReader(instance.ledger) as ledger:
        before = ledger.last_seq
    messages, memory = instance.status()["messages"], supervisor.memory_info().rss
    os.kill(process.pid, signal.SIGSTOP)
    stopped_s = time.monotonic()
    try:
        instance.wait_for(lambda: approved_after(instance, before))
        while time.monotonic() - stopped_s < 20.0:
            time.sleep(1.0)
            assert instance.status()["state"] in ("running", "degraded")
        status = instance.status()
        assert status["messages"] - messages > 500
        assert status["loop_late_ms"] < 1000  # beyond that workers stop
        assert supervisor.memory_info().rss - memory < 60_000_000 + 10_000_000
    finally:
        os.kill(process.pid, signal.SIGCONT)
    before = size_of(instance)
    instance.wait_for(lambda: size_of(instance) > before + 20_000)
    process.send_signal(signal.SIGINT)
    assert instance.ended(process).code == 0
    code, info = info_of(instance)
    assert (code, info["faults"]) == (0, [])
    assert missing_in(instance) == marked_in(instance)
    assert instance.stop().code == 0


SLOW_WRITE_S = 1.5
ON_A_SLOW_DISK = f"""
import os, sys, time, types
from arbshard.cli import main
from arbshard.tape import writing

def write(descriptor, data):
    time.sleep({SLOW_WRITE_S})
    return os.write(descriptor, data)

writing.os = types.SimpleNamespace(**{{**vars(os), "write": write}})
sys.argv[0] = "arbshard"
main()
"""


def test_a_slow_disk_delays_nothing_and_every_loss_is_marked(instance):
    command = ("-c", ON_A_SLOW_DISK, "record", "--config", str(instance.config), *BOUNDS)
    process = instance._spawn(command, {})
    began_s = time.monotonic()
    instance.wait_for(lambda: size_of(instance) > 20_000)
    supervisor, recorder = psutil.Process(instance.process.pid), psutil.Process(process.pid)
    with LedgerReader(instance.ledger) as ledger:
        before = ledger.last_seq
    messages = instance.status()["messages"]
    memory = {one: one.memory_info().rss for one in (supervisor, recorder)}
    instance.wait_for(lambda: approved_after(instance, before))
    written = size_of(instance)
    instance.wait_for(lambda: size_of(instance) > written + 40_000)
    status = instance.status()
    assert status["state"] in ("running", "degraded")
    assert status["messages"] > messages
    assert status["loop_late_ms"] < 1000  # beyond that workers stop
    for one, rss in memory.items():
        assert one.memory_info().rss - rss < 60_000_000 + 10_000_000, one
    process.send_signal(signal.SIGINT)
    assert instance.ended(process).code == 0
    took_s = time.monotonic() - began_s
    code, info = info_of(instance)
    assert (code, info["faults"]) == (0, [])
    batches = sum(sum(1 for _ in segment.batches()) for segment in Tape(instance.state / "tape").segments())
    assert 2 < batches <= took_s / SLOW_WRITE_S  # it was slow
    assert missing_in(instance) == marked_in(instance)
    assert instance.stop().code == 0


@pytest.mark.nightly  # tests/tape has the recorder, and one run is recorded above
def test_without_an_instance_it_is_refused_and_follow_waits_for_one(tmp_path):
    with Instance(tmp_path) as instance:
        ended = instance.call("record")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith(
            "arbshard: no instance named 't' is running: start `arbshard run`, wait for it with --follow, or"
        )
        assert ended.err.count("\n") == 1
        assert instance.call("tape", "info").code == 2
        process = record(instance, "--follow")
        instance.start()
        instance.until_running()
        instance.wait_for(lambda: size_of(instance) > 5000)
        assert instance.stop().code == 0
        instance.start()
        instance.until_running()
        instance.wait_for(lambda: len(recordings(instance)) == 2)
        process.send_signal(signal.SIGTERM)
        assert instance.ended(process).code == 0
        assert instance.stop().code == 0
        assert info_of(instance)[1]["faults"] == []


@pytest.mark.needs("tls")
def test_alone_it_records_over_tls_without_risk_and_workers_and_ends_in_order(tmp_path):
    config = SMALL.replace("[sim]\n", "[sim]\ntls = true\n")
    with Instance(tmp_path, config, program=("-m", "arbshard", "record"), arguments=BOUNDS) as instance:
        process = instance.start("--symbols", "BTC,ETH")
        instance.wait_for(lambda: size_of(instance) > 20_000)
        status = instance.until(lambda status: status["state"] == "running")
        assert (status["order_mode"], status["shards"], status["problems"]) == ("recording", (), ())
        children = {one.name: one.pid for one in instance.note().children}
        assert children.keys() == {"sim", "recorder"}
        denied = instance.call("symbols", "add", "SOL")
        assert denied.code == 2, denied
        assert "not possible in this run" in denied.err
        # A recorder that dies costs what it had in memory: another one takes its place.
        os.kill(children["recorder"], signal.SIGKILL)
        instance.wait_for(lambda: len(recordings(instance)) == 2)
        before = size_of(instance)
        instance.wait_for(lambda: size_of(instance) > before + 20_000)
        process.send_signal(signal.SIGINT)
        ended = instance.ended(process)
        assert ended.code == 0, ended
        assert not instance.ledger.exists()
        code, info = info_of(instance)
        assert (code, info["faults"], info["open_segments"]) == (0, [], 1)
        kinds = {(one["venue"], one["kind"]): one["rows"] for one in info["content"]}
        for venue in ("upbit", "binance"):
            assert kinds[venue, "frame"] > 20
            # The first recording begins before the first connection, and the second one ends after the last.
            assert (kinds[venue, "subscribe"], kinds[venue, "connect"], kinds[venue, "disconnect"]) == (
                1,
                2,
                1,
            )
        symbols = rows_of(
            instance, "SELECT DISTINCT detail FROM tape WHERE kind = 'connect' AND venue = 'binance'"
        )
        assert symbols == [{"detail": "carries BTCUSDT ETHUSDT"}]
        assert not instance.files.dir.exists()


def test_alone_it_refuses_what_cannot_be(tmp_path):
    with Instance(tmp_path) as instance:
        for arguments, why in (
            (("--follow",), "--follow: records an instance that trades"),
            (("--symbols", " ,"), "--symbols: names no pair"),
            (("--data", "public"), 'data = "public" needs ws_url and rest_url'),
            (("--data", "live"), "data"),
            (("--dir", str(instance.config)), "cannot be recorded into"),
        ):
            ended = instance.carry_out("record", *BOUNDS, "--alone", *arguments)
            assert (ended.code, ended.out) == (2, ""), ended
            assert why in ended.err.splitlines()[-1]
            assert not list(instance.run_root.glob("*"))
