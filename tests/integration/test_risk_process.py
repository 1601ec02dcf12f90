"""The real risk process behind its real socket: killed, restarted, stopped, orphaned."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from arbshard.ledger.verify import verify
from arbshard.model.money import MONEY_CONTEXT
from arbshard.model.phase import Phase
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import (
    Conclude,
    Refused,
    Report,
    Submit,
    Welcome,
    encode,
)
from arbshard.wire.request import RequestClient
from support import world as w
from support.risk_run import WAIT_S, RiskRun

pytestmark = pytest.mark.integration


@pytest.fixture
def directory() -> Iterator[Path]:
    # Short: the path of a socket may have 107 bytes.
    made = Path(tempfile.mkdtemp(prefix="arbr-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def run(directory):
    from decimal import localcontext

    with localcontext(MONEY_CONTEXT):
        one = RiskRun(directory)
    yield one
    one.close()


async def test_a_round_trip_and_an_orderly_end(run) -> None:
    process = run.spawn()
    await run.ready(process)
    await run.prepare()
    opened = (await run.carry_out(run.entry())).position
    assert opened.state == "OPEN"
    closed = (await run.carry_out(run.world.exit_of(opened), done=True)).position
    assert closed.state == "CLOSED"
    refused = await run.ask(Submit(0, 7, run.entry()))
    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.STALE_EPOCH

    process.send_signal(signal.SIGINT)  # the terminal's Ctrl-C: not for this process to act on
    await asyncio.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert await run.ended(process) == 0
    assert process.stderr.read() == b""

    note = run.note()
    assert (note.portfolio.entries, note.portfolio.exits) == (1, 1)
    assert note.portfolio.pnl == f"{closed.pnl:f}".rstrip("0")
    assert run.page("ready") == 0
    assert run.page("errors") == 0
    report = verify(run.ledger)
    assert report.differences == ()
    assert (report.fills, report.kinds["Stopped"]) == (4, 1)
    log = run.ledger.with_name("ledger.sqlite-wal")
    assert not log.exists() or log.stat().st_size == 0
    assert '"risk ended"' in (run.state_dir / "logs" / "risk.jsonl").read_text()


async def test_killed_at_every_step_and_nothing_is_lost_or_doubled(run) -> None:
    process = run.spawn()
    await run.ready(process)
    await run.prepare()
    intent = run.entry()
    home, away = w.filled(intent.home), w.filled(intent.away)
    steps = (
        Submit(0, 1, intent),
        Report(0, 1, intent.intent_id, home),
        Report(0, 1, intent.intent_id, away),
        Conclude(0, 1, intent.intent_id, w.HOME_PRICE, w.FX, False),
    )
    for number, request in enumerate(steps):
        first = await run.ask(request)
        process.kill()
        process.wait(timeout=60)
        process = run.spawn()
        await run.ready(process)
        assert run.page("session") == 2 + number
        assert await run.ask(request) == first  # as if its reply had been lost
        welcome = await run.hello()
        if number < 3:
            (taken,) = welcome.intents
            assert taken.intent == intent
            states = [("INTENT", "INTENT"), ("FILLED", "INTENT"), ("FILLED", "FILLED")]
            assert tuple(one.state for one in taken.orders) == states[number]
            assert [len(one.fills) for one in taken.orders] == [int(number > 0), int(number > 1)]
        else:
            assert welcome.intents == ()
            assert [one.position_id for one in welcome.positions] == [intent.intent_id]
    process.send_signal(signal.SIGTERM)
    assert await run.ended(process) == 0
    report = verify(run.ledger)
    assert report.differences == ()
    assert (report.fills, report.kinds["Started"], report.kinds["Stopped"]) == (2, 5, 1)


async def test_a_restart_keeps_the_fence_and_a_new_run_lifts_it(run) -> None:
    process = run.spawn()
    await run.ready(process)
    await run.hello(epoch=4)
    process.kill()
    process.wait(timeout=60)
    process = run.spawn()
    await run.ready(process)
    reply = await run.ask(w.Hello(0, 3, 1, run.world.bases))
    assert isinstance(reply, Refused)
    process.send_signal(signal.SIGTERM)
    assert await run.ended(process) == 0
    os.utime(run.files.config, ns=(1, 1))  # as the next run's supervisor writes it anew
    process = run.spawn()
    await run.ready(process)
    assert isinstance(await run.hello(epoch=1), Welcome)


async def test_no_entries_while_the_run_ends(run) -> None:
    process = run.spawn()
    await run.ready(process)
    await run.prepare()
    run.books.set_phase(Phase.DRAINING)
    reply = await run.ask(Submit(0, 1, run.entry()))
    assert isinstance(reply, Refused)
    assert reply.reason is Refusal.STOPPING
    await run.until(lambda: run.note().refusals == {"STOPPING": 1})


async def test_a_silent_supervisor_stops_entries_and_not_the_process(run) -> None:
    process = run.spawn()
    await run.ready(process)
    await run.prepare()
    run.beating = False

    async def refusal() -> Refusal | None:
        reply = await run.ask(Submit(0, 1, run.entry()))
        return reply.reason if isinstance(reply, Refused) else None

    deadline = time.monotonic() + WAIT_S
    while await refusal() is not Refusal.SUPERVISOR_SILENT:
        assert time.monotonic() < deadline, "entries are let through"
        await asyncio.sleep(0.05)
    assert process.poll() is None
    run.beating = True
    while await refusal() is Refusal.SUPERVISOR_SILENT:
        assert time.monotonic() < deadline, "entries are refused for ever"
        run.beat()
        await asyncio.sleep(0.02)
    process.terminate()
    assert await run.ended(process) == 0
    assert verify(run.ledger).is_clean


async def test_a_parent_that_died_before_it_was_looked_for_is_missed_too(run) -> None:
    """It is told whose child it is: whoever its parent is when it comes to ask may be somebody else."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    process = run.spawn("--parent-pid", str(gone.pid))
    assert await run.ended(process) == 4
    assert verify(run.ledger).kinds["Stopped"] == 1


async def test_it_ends_itself_when_its_parent_is_gone(run) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'arbshard.risk', *sys.argv[1:]])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", code, "--run-dir", str(run.files.dir), "--state-dir", str(run.state_dir)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    try:
        await run.until(lambda: run.page("ready") == 1)
        parent.kill()
        await run.until(lambda: run.page("ready") == 0)
        await run.until(lambda: not _lives(pid))
    finally:
        parent.kill()
        parent.wait(timeout=60)
        parent.stdout.close()
        if _lives(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert verify(run.ledger).kinds["Stopped"] == 1


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_two_of_them_on_one_ledger(run) -> None:
    first = run.spawn()
    await run.ready(first)
    second = run.spawn()
    assert await run.ended(second) == 2
    assert f"process {first.pid} already writes this ledger".encode() in second.stderr.read()
    assert first.poll() is None


async def test_a_ledger_of_another_mode(run) -> None:
    config = msgspec.structs.replace(run.world.config, data="public")
    process = run.spawn()
    await run.ready(process)
    process.send_signal(signal.SIGTERM)
    assert await run.ended(process) == 0
    run.files.config.write_bytes(msgspec.json.encode(config))
    process = run.spawn()
    assert await run.ended(process) == 2
    said = process.stderr.read().decode()
    assert "mode sim-paper, not public-paper" in said
    assert said.count("\n") == 1


async def test_a_damaged_ledger_is_not_traded_on(run) -> None:
    process = run.spawn()
    await run.ready(process)
    await run.prepare()
    process.send_signal(signal.SIGTERM)
    assert await run.ended(process) == 0
    connection = sqlite3.connect(run.ledger)
    with connection:
        connection.execute("DROP TRIGGER events_update")
        connection.execute(
            "UPDATE events SET body = replace(body, '4.00000000', '9') WHERE kind = 'Deposited'"
        )
    connection.close()
    process = run.spawn()
    assert await run.ended(process) == 3
    assert b"balances at the stop are not what the fills add up to" in process.stderr.read()


async def test_a_ledger_that_cannot_be_written_ends_it_without_an_answer(run) -> None:
    process = run.spawn()
    await run.ready(process)
    await run.prepare()
    # Another hand holds the write lock for longer than risk waits.
    connection = sqlite3.connect(run.ledger, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        client = RequestClient(run.files.risk_endpoint, timeout_ms=300, tries=100)
        answer = asyncio.ensure_future(client.request(encode(Submit(0, 1, run.entry()))))
        assert await run.ended(process) == 3
        assert not answer.done()
        client.close()
        with pytest.raises(Exception, match="closed"):
            await answer
    finally:
        connection.execute("ROLLBACK")
        connection.close()
    assert verify(run.ledger).kinds.get("IntentApproved", 0) == 0
    lines = (run.state_dir / "logs" / "risk.jsonl").read_text().splitlines()
    assert sum("the ledger cannot be trusted or written" in line for line in lines) == 1


async def test_a_run_directory_without_its_files(run) -> None:
    for file, code in ((run.files.books, 1), (run.files.universe, 2), (run.files.config, 2)):
        file.unlink()
        process = run.spawn()
        assert await run.ended(process) == code
        said = process.stderr.read().decode()
        assert str(file) in said
        assert said.count("\n") == 1
    assert not run.ledger.exists()
