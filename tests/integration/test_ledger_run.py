"""The ledger under the real ``arbshard run``: damaged, newer, held, full, and long."""

import hashlib
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from decimal import localcontext
from pathlib import Path

import pytest

from arbshard.ledger.lock import WriterLock
from arbshard.ledger.replay import recover
from arbshard.ledger.store import LedgerStore
from arbshard.ledger.verify import verify
from arbshard.model.money import MONEY_CONTEXT
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from support import history
from support import world as w
from support.instance import Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SMALL = """
[sim]
coins = 6
seed = 11
updates_per_s = 5.0
[run]
shards = 1
spare_workers = 0
stop_timeout_s = 3.0
[strategy]
max_hold_s = 5.0
"""


@pytest.fixture
def desk(tmp_path):
    with Instance(tmp_path, SMALL) as one:
        one.state.mkdir()
        yield one


def running(status: dict) -> bool:
    return status["state"] == "running"


def write_short(path: Path) -> None:
    with localcontext(MONEY_CONTEXT):
        world = w.World()
        world.round_trip()
        world.stop()
        world.write_ledger(path)


def write_long(path: Path) -> int:
    with localcontext(MONEY_CONTEXT):
        return history.History(5).write(path, 3_000)


def alter(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount
    connection.close()


def said_once(err: str, *parts: str) -> None:
    """One line for the person, which holds ``parts``; no trace."""
    (line,) = [one for one in err.splitlines() if one.startswith("arbshard:")]
    for part in parts:
        assert part in line, line
    assert "Traceback" not in err, err


def refuse_to_start(desk: Instance, *parts: str) -> None:
    before = hashlib.sha256(desk.ledger.read_bytes()).digest()
    code, _, err = desk.run("--duration", "5")
    assert code == 2, err
    said_once(err, "could not start", str(desk.ledger), *parts)
    assert hashlib.sha256(desk.ledger.read_bytes()).digest() == before


def test_a_contradicting_ledger_is_not_started_with(desk) -> None:
    write_short(desk.ledger)
    alter(desk.ledger, "UPDATE events SET body = replace(body, '4.00000000', '9') WHERE kind = 'Deposited'")
    refuse_to_start(desk, "damaged: event ", "put a backup in its place or start with another --state-dir")


@pytest.mark.nightly  # tests/ledger/test_damage.py finds it; one start that is refused is enough
def test_a_truncated_ledger_is_not_started_with(desk) -> None:
    write_short(desk.ledger)
    with desk.ledger.open("r+b") as file:
        file.truncate(9000)
    refuse_to_start(desk, "damaged: ", "malformed")


@pytest.mark.nightly  # tests/ledger/test_store.py refuses it; one start that is refused is enough
def test_a_newer_ledger_is_not_started_with(desk) -> None:
    write_short(desk.ledger)
    alter(desk.ledger, "UPDATE meta SET value = '99' WHERE key = 'schema'")
    refuse_to_start(desk, "schema 99 was written by a newer arbshard", "use the newer program")


def test_a_ledger_that_another_process_writes_is_not_started_with(desk) -> None:
    write_short(desk.ledger)
    lock = WriterLock(desk.ledger)
    try:
        code, _, err = desk.run("--duration", "5")
    finally:
        lock.release()
    assert code == 2, err
    said_once(err, f"process {os.getpid()} already writes this ledger; stop it first")


@pytest.mark.nightly  # in the gate ledger/test_disk_full.py fills a whole disk
def test_a_disk_that_fills_up_stops_the_trading_and_loses_nothing(desk) -> None:
    process = desk.start()
    status = desk.until(lambda s: running(s) and s["portfolio"]["entries"] > 0)
    log = desk.state / "ledger.sqlite-wal"
    largest = log.stat().st_size + 20_000
    resource.prlimit(status["risk"]["pid"], resource.RLIMIT_FSIZE, (largest, largest))
    code, _, err = desk.ended(process)
    assert code == 1, err
    assert f"{desk.ledger}: cannot be written: disk I/O error; check its disk and the free space there" in err
    assert "Traceback" not in err
    report = verify(desk.ledger)
    assert report.differences == ()
    code, _, err = desk.run("--duration", "1")
    assert code == 0, err
    again = verify(desk.ledger)
    assert again.differences == ()
    assert again.events > report.events
    assert again.kinds["Started"] == 2


@pytest.mark.nightly  # in the gate tests/ledger and tests/torture start from snapshots
def test_a_long_ledger_is_taken_over_from_a_snapshot_also_after_a_kill(desk) -> None:
    events = write_long(desk.ledger)
    code, _, err = desk.run("--duration", "1")
    assert code == 0, err
    process = desk.start()
    status = desk.until(lambda s: running(s) and s["portfolio"]["entries"] > 0)
    os.kill(status["risk"]["pid"], signal.SIGKILL)
    desk.until_replaced("risk", status["risk"]["pid"])
    process.send_signal(signal.SIGTERM)
    desk.ended(process)
    first, second, third = desk.log("risk", "risk started")
    assert (first["replayed"], first["snapshot"]) == (events, 0)
    assert second["snapshot"] >= events
    assert (second["replayed"], second["after_crash"]) == (0, False)
    assert third["snapshot"] == second["snapshot"]
    assert third["replayed"] == third["events"] - third["snapshot"] - 1  # one is its own start
    assert third["after_crash"]
    with localcontext(MONEY_CONTEXT):
        report = verify(desk.ledger)
    assert report.differences == ()
    assert report.snapshots >= 1


@pytest.mark.nightly  # tests/ledger/test_recover.py has the same without a run
def test_damage_before_the_snapshot_ends_a_run_that_has_begun(desk) -> None:
    write_long(desk.ledger)
    code, _, err = desk.run("--duration", "1")
    assert code == 0, err
    alter(desk.ledger, "DELETE FROM events WHERE seq = 1500")
    code, _, err = desk.run("--duration", "30")
    # Risk reads what is before the snapshot in the background; the workers may still be starting when it is through.
    assert code == (2 if "arbshard: could not start: risk: the ledger cannot be trusted" in err else 1), err
    assert f"{desk.ledger}: damaged: " in err
    assert "events are numbered 1 to" in err
    assert "Traceback" not in err


_APPEND = """
import resource, sys
from decimal import Decimal
from pathlib import Path
from arbshard.errors import LedgerError
from arbshard.ledger.events import Deposited
from arbshard.ledger.store import LedgerStore
store = LedgerStore.open(Path(sys.argv[1]), name="t", mode="sim-paper", now_ms=1)
one = Deposited(at_ms=1, venue="upbit", currency="KRW", amount=Decimal(1), why="opening")
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    while True:
        store.append([one] * 10)
except LedgerError as error:
    print(store.last_seq, store.balances["venue:upbit", "KRW"], error)
    store.abandon()
"""


def test_a_batch_that_did_not_fit_is_as_if_it_had_never_been(tmp_path) -> None:
    path = tmp_path / "ledger.sqlite"
    command = [sys.executable, "-c", _APPEND, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    last, balance, said = done.stdout.split(" ", 2)
    assert last == balance
    assert int(last) > 100
    assert said.startswith(f"{path}: cannot be written: ")
    assert said.count("\n") == 1
    with localcontext(MONEY_CONTEXT):
        assert verify(path).events == int(last)
        store = LedgerStore.open(path, name="t", mode="sim-paper", now_ms=1)
        try:
            assert recover(store, PortfolioCodec()).replayed == int(last)
        finally:
            store.abandon()


_OPEN = """
import os, sys
from pathlib import Path
from arbshard.errors import ArbshardError
from arbshard.ledger.store import LedgerStore
if os.getuid() == 0:  # root may write everywhere
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    LedgerStore.open(Path(sys.argv[1]), name="t", mode="sim-paper", now_ms=1)
except ArbshardError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def public():
    """A folder that everybody may look into."""
    folder = Path(tempfile.mkdtemp(prefix="arbl-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o777), (0o666, 0o555)])
def test_a_ledger_that_may_only_be_read(public, file_mode, folder_mode) -> None:
    path = public / "ledger.sqlite"
    write_short(path)
    before = path.read_bytes()
    path.chmod(file_mode)
    path.with_name("ledger.sqlite.lock").chmod(0o666)
    public.chmod(folder_mode)
    command = [sys.executable, "-c", _OPEN, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    at_fault = path if file_mode == 0o444 else public
    assert done.stdout == f"RunDirError {at_fault}: may not be written: check its owner and mode\n"
    assert path.read_bytes() == before


@pytest.mark.nightly  # tests/ledger carries the commands out beside a writer
def test_reading_commands_beside_a_run(desk) -> None:
    process = desk.start()
    desk.until(lambda s: running(s) and s["portfolio"]["exits"] > 0)
    for command in (
        ["verify"],
        ["info"],
        ["export"],
        ["export", "--what", "balances"],
        ["backup", str(desk.state / "b")],
    ):
        done = desk.carry_out("ledger", *command)
        assert (done.code, done.err) == (0, ""), command
    process.send_signal(signal.SIGTERM)
    code, _, err = desk.ended(process)
    assert code == 0, err
    assert verify(desk.ledger).is_clean
    assert verify(desk.state / "b").is_clean


def test_a_reader_that_has_enough(desk) -> None:
    write_long(desk.ledger)
    command = f"{sys.executable} -m arbshard ledger export --what postings --state-dir {desk.state} | head -2"
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2
