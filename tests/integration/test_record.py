"""`arbshard record` beside a real run: what it keeps, what a kill and a full disk cost; the run goes on."""

import json
import resource
import signal
import time

import msgspec
import pyarrow.parquet as pq
import pytest

from arbshard.ledger.reader import LedgerReader
from support.instance import SMALL, Instance, running

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(150),
    pytest.mark.needs("analysis", "tape"),
]


@pytest.fixture
def instance(tmp_path):
    yield from running(tmp_path, SMALL)


def record(instance, *arguments):
    bounds = ("--free-mb", "0", "--segment-minutes", "0.05")
    return instance.launch("record", "--config", str(instance.config), *bounds, *arguments)


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


def info_of(instance):
    done = instance.carry_out("tape", "verify", "--json")
    return done.code, json.loads(done.out)


def rows_of(instance, query):
    return [json.loads(line) for line in instance.do("tape", "sql", "--json", query).splitlines()]


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
    assert {("", "control"), ("", "venue"), ("", "decision")} <= kinds
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


def test_without_an_instance_it_is_refused_and_follow_waits_for_one(tmp_path):
    with Instance(tmp_path) as instance:
        ended = instance.call("record")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith(
            "arbshard: no instance named 't' is running, and recording with feeds of its own"
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
        instance.wait_for(
            lambda: len({path.name[:13] for path in (instance.state / "tape").glob("*.arrows")}) == 2
        )
        process.send_signal(signal.SIGTERM)
        assert instance.ended(process).code == 0
        assert instance.stop().code == 0
        assert info_of(instance)[1]["faults"] == []
