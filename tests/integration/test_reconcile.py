"""A live ledger behind the real risk process: statements made by hand, kills in between, ``arbshard reconcile``."""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal, localcontext
from pathlib import Path

import msgspec
import pytest

from arbshard.ledger.events import SCHEMA_VERSION
from arbshard.ledger.verify import verify
from arbshard.model.money import MONEY_CONTEXT
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import (
    Approved,
    Command,
    CommandReply,
    Conclude,
    Denied,
    Done,
    Fund,
    Funded,
    Refused,
    Report,
    Submit,
    decode_command_reply,
    encode,
)
from arbshard.wire.reconciliation import AcceptDifference, Reconciliation, ShowReconciliation
from arbshard.wire.request import RequestClient
from support import world as w
from support.risk_run import RiskRun

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


class LiveRun(RiskRun):
    """A run with ``mode = "live"``, and the venues' side of it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.root = directory
        self.files.config.write_bytes(msgspec.json.encode(w.with_live(dry_run=False)))
        self.venues = w.Venues()
        # As a supervisor holds it, so that commands find the instance.
        self.lock = os.open(self.files.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.pwrite(self.lock, f"{os.getpid()}\n".encode(), 0)
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    async def tell(self, command: Command) -> CommandReply:
        if self.client is None:
            self.client = RequestClient(self.files.risk_endpoint, timeout_ms=300, tries=20)
        answer = asyncio.ensure_future(self.client.request(encode(command)))
        await self.until(answer.done)
        return decode_command_reply(answer.result())

    async def state(self, *venues: str) -> None:
        """The venues' word, read just now."""
        for venue in venues or (w.HOME, w.AWAY):
            await asyncio.sleep(0.003)  # statements of one millisecond are one statement
            answer = await self.tell(self.venues.statement(venue, time.time_ns() // 1_000_000))
            assert isinstance(answer, Done), answer

    async def show(self) -> Reconciliation:
        answer = await self.tell(ShowReconciliation())
        assert isinstance(answer, Reconciliation)
        return answer

    async def refusal(self, intent) -> Refusal | None:
        reply = await self.ask(Submit(0, self.world.epoch, intent))
        return reply.reason if isinstance(reply, Refused) else None

    async def restart(self, process):
        process.kill()
        process.wait(timeout=60)
        again = self.spawn()
        await self.ready(again)
        return again

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) of ``arbshard reconcile …``."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "arbshard", "reconcile", *arguments),
            *("--name", "run", "--state-dir", str(self.state_dir)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "ARBSHARD_RUN_ROOT": str(self.root), "COLUMNS": "100"},
        )
        said = asyncio.ensure_future(process.communicate())
        await self.until(said.done)
        out, err = said.result()
        return process.returncode, out.decode(), err.decode()

    def free_lock(self) -> None:
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    def close(self) -> None:
        self.free_lock()
        super().close()


@pytest.fixture
def directory() -> Iterator[Path]:
    # Short: the path of a socket may have 107 bytes.
    made = Path(tempfile.mkdtemp(prefix="arbr-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def run(directory):
    with localcontext(MONEY_CONTEXT):
        one = LiveRun(directory)
    yield one
    one.close()


async def test_a_live_ledger_from_its_first_statement_to_its_stop(run) -> None:
    process = run.spawn()
    await run.ready(process)
    welcome = await run.hello()
    assert welcome.funded == ()
    assert len(welcome.tag) == 5
    reply = await run.ask(Fund(0, 1, "BTC", w.HOME_PRICE))
    assert isinstance(reply, Refused)
    assert reply.reason is Refusal.NO_STATEMENT
    assert await run.refusal(run.entry()) is Refusal.NO_STATEMENT
    await run.state()
    assert isinstance(await run.ask(Fund(0, 1, "BTC", w.HOME_PRICE)), Funded)
    await run.until(lambda: run.note().orders == "live" and run.note().accounts["upbit"].read_ns > 0)
    assert run.note().balances["upbit"]["KRW"].total == "100000000"
    assert run.note().tag == welcome.tag

    intent = run.entry()
    settled = await run.carry_out(intent)
    for order in (intent.home, intent.away):
        run.venues.fill(w.make_fill(order))
    await run.state()
    shown = await run.show()
    assert (shown.differences, shown.strays, shown.unknown) == ((), (), ())
    assert all(one.compared_ms == one.at_ms for one in shown.statements)
    assert settled.position.state == "OPEN"
    process.send_signal(signal.SIGTERM)
    assert await run.ended(process) == 0
    assert verify(run.ledger).differences == ()
    connection = sqlite3.connect(run.ledger)
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    connection.close()
    assert meta["mode"] == "public-live"
    assert meta["tag"] == welcome.tag
    assert meta["schema"] == str(SCHEMA_VERSION)


async def test_what_is_blocked_survives_a_kill_and_a_person_resolves_it(run) -> None:
    process = run.spawn()
    await run.ready(process)
    tag = (await run.hello()).tag
    await run.state()
    run.venues.held[w.HOME, "BTC"] -= 1
    run.venues.open_orders.append((w.AWAY, f"{tag}-s1-0-1-99-a0", "ETHUSDT", Decimal(2)))
    await run.state()
    assert await run.refusal(run.entry("BTC")) is Refusal.NOT_RECONCILED
    assert await run.refusal(run.entry("ETH")) is Refusal.NOT_RECONCILED
    process = await run.restart(process)
    assert (await run.hello()).tag == tag
    assert await run.refusal(run.entry("ETH")) is Refusal.NO_STATEMENT
    await run.state()
    assert await run.refusal(run.entry("BTC")) is Refusal.NOT_RECONCILED

    code, out, err = await run.command()
    assert (code, err) == (1, "")
    for part in ("upbit", "BTC", "3", "4", "-1", "s1-0-1-99-a0", "ETHUSDT", "--accept upbit BTC"):
        assert part in out
    code, out, err = await run.command("--json")
    assert code == 1
    shown = json.loads(out)
    assert [(one["currency"], one["stated"], one["booked"]) for one in shown["differences"]] == [
        ("BTC", "3", "4")
    ]
    assert shown["tag"] == tag

    code, out, err = await run.command("--accept", "upbit", "krw")
    assert (code, out, err) == (2, "", "arbshard: upbit KRW: venue and ledger do not differ\n")
    code, out, err = await run.command("--accept", "nowhere", "BTC")
    assert (code, out) == (2, "")
    assert err == (
        "arbshard: reconcile: --accept nowhere: 'run' does not trade on such a venue; its venues are upbit and "
        "binance\n"
    )
    code, out, err = await run.command("--accept", "Upbit", "btc")
    assert (code, out, err) == (2, "", "arbshard: nothing is known of the price of BTC: give --price\n")
    code, out, err = await run.command(
        "--accept", "Upbit", "btc", "--as", "withdrawal", "--reason", "cold wallet"
    )
    assert (code, err) == (0, "")
    assert "run: upbit BTC: -1 booked" in out
    assert await run.refusal(run.entry("BTC")) is None
    assert await run.refusal(run.entry("ETH")) is Refusal.NOT_RECONCILED
    run.venues.open_orders.clear()
    await run.state()
    assert await run.refusal(run.entry("ETH")) is None
    code, out, _ = await run.command()
    assert code == 0
    assert "venues and ledger agree" in out
    process.send_signal(signal.SIGTERM)
    assert await run.ended(process) == 0
    assert verify(run.ledger).differences == ()


async def test_when_nothing_runs_the_ledger_tells(run) -> None:
    process = run.spawn()
    await run.ready(process)
    await run.hello()
    await run.state()
    run.venues.held[w.AWAY, "USDT"] += Decimal("0.5")
    await run.state()
    process.send_signal(signal.SIGTERM)
    assert await run.ended(process) == 0
    run.free_lock()
    code, out, err = await run.command()
    assert (code, err) == (1, "")
    assert "not running" in out
    assert "70000.5" in out
    code, out, err = await run.command("--accept", "binance", "USDT")
    assert (code, out) == (2, "")
    assert err.startswith("arbshard: reconcile: --accept needs the instance running")
    assert err.count("\n") == 1


async def test_killed_in_the_middle_of_an_intent_nothing_is_compared_before_it_has_an_outcome(run) -> None:
    process = run.spawn()
    await run.ready(process)
    await run.hello()
    await run.state()
    intent = run.entry()
    assert isinstance(await run.ask(Submit(0, 1, intent)), Approved)
    for order in (intent.home, intent.away):
        run.venues.fill(w.make_fill(order))  # and then everything dies
    process = await run.restart(process)
    welcome = await run.hello(epoch=2)
    assert [one.intent for one in welcome.intents] == [intent]
    await run.state()
    assert (await run.show()).differences == ()
    assert await run.refusal(run.entry("ETH")) is None
    for order in (intent.home, intent.away):
        await run.ask(Report(0, 2, intent.intent_id, w.filled(order)))
    await run.ask(Conclude(0, 2, intent.intent_id, w.HOME_PRICE, w.FX, False))
    await run.state(w.HOME)
    assert (await run.show()).differences == ()
    process.send_signal(signal.SIGTERM)
    assert await run.ended(process) == 0
    assert verify(run.ledger).differences == ()


async def test_on_paper_risk_takes_no_statements(run) -> None:
    run.files.config.write_bytes(msgspec.json.encode(run.world.config))
    process = run.spawn()
    await run.ready(process)
    said = run.venues.statement(w.HOME, time.time_ns() // 1_000_000)
    assert isinstance(await run.tell(said), Denied)
    assert isinstance(await run.tell(AcceptDifference(w.HOME, "KRW", "")), Denied)
    code, out, _ = await run.command()
    assert code == 0
    assert "nothing is blocked" in out
