"""The process that keeps and sends alerts: ``python -m arbshard.alerts --run-dir DIR --state-dir DIR``.

Started by the supervisor once the run trades, at a low priority. It only reads pages, so whatever happens to it costs
messages only, and what was not delivered is sent after its next start. When the supervisor dies it says so, and ends
once that is delivered or a successor starts. Exit codes: 0 ended by a signal, 1 a defect (logged), 4 the supervisor
died.
"""

import argparse
import asyncio
import os
import re
import secrets
import sqlite3
import threading
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from arbshard.alerts import COUNTERS
from arbshard.alerts.book import AlertBook, Change
from arbshard.alerts.conditions import RestartCounts, picture_of, sends_for_all
from arbshard.alerts.sending import (
    Heartbeat,
    Outlet,
    apprise_sender,
    keep_libraries_quiet,
    read_addresses,
    read_secret,
)
from arbshard.alerts.store import FILE, AlertsFileError, AlertStore, Message
from arbshard.alerts.telegram import ChatCommands, Shown, TelegramDesk
from arbshard.alerts.texts import (
    digest_of_day,
    digest_of_session,
    message_of,
    pnl_lines,
    position_lines,
    status_lines,
)
from arbshard.clock import Clock, SystemClock
from arbshard.companion import run_companion
from arbshard.config import Config, zone_of
from arbshard.errors import ArbshardError, SharedMemoryError
from arbshard.log import get_logger, setup
from arbshard.model.notes import SupervisorNote
from arbshard.model.risk_note import DayNote, RiskNote
from arbshard.model.rundir import RunFiles
from arbshard.process import Parent
from arbshard.shm.pages import PageReader, PageWriter
from arbshard.status.collect import Collector
from arbshard.status.model import Status
from arbshard.status.pair_view import read_reasons
from arbshard.status.risk_note import read_risk_note
from arbshard.status.why import lines_of
from arbshard.wire.messages import Done, Halt
from arbshard.wire.operator_client import send_command

_LOOK_S = 1.0
_STOP_CHECK_S = 0.1
_LOOKS_EACH = 5
"""After the death of the supervisor the run is looked at each so many checks of whether it has a successor."""
_LAST_NOTE_S = 0.4
"""Before the last look at a run that ends: its supervisor writes a note four times a second."""
_LAST_SENDING_S = 3.0
"""How long the end of a run waits for messages. The others are sent after the next start."""
_OUTLIVE_S = 3600.0
"""How long it is tried to deliver that the run vanished. A successor of the run ends this at once."""
_PRUNE_S = 600.0
_FILE_AGAIN_NS = 60_000_000_000
_ASIDE_MAX = 5000
"""Steps of alerts that are kept while the file cannot be written; the oldest are left out of it then."""
_FIGURES = re.compile(r"\d[\d,.]*")


class _FullFile:
    """The file while it cannot be written, and what is to be written to it."""

    def __init__(self, store: AlertStore, taken: Sequence[int]) -> None:
        """Keep what is to be written. ``taken``: messages in its outbox that are sent from memory now."""
        self.store = store
        self.taken = taken
        self.changes: deque[tuple[Change, Message]] = deque(maxlen=_ASIDE_MAX)
        self.facts: dict[str, str] = {}
        self.again_ns = 0


class AlertsProcess:
    """Looks at the run, keeps what a person must know, and sends it."""

    def __init__(self, config: Config, files: RunFiles, store: AlertStore, clock: Clock) -> None:
        settings = config.alerts
        self._config = config
        self._files = files
        self._store = store
        self._clock = clock
        self._zone = zone_of(config.limits.time_zone)
        self._levels: dict[str, str] = msgspec.structs.asdict(settings.levels)
        self._book = AlertBook(self._levels, settings.repeat_s, settings.repeat_max_s)
        self._book.restore(store.open_alerts(), clock.monotonic_ns(), clock.wall_ms())
        self._restarts = RestartCounts(settings.restarts, settings.restarts_window_s)
        self._collector = Collector(files.dir, clock)
        self._status: Status | None = None
        self._is_left_to_another = False
        """Whether another host of the cluster sends what concerns the money."""
        self._began_ms = clock.wall_ms()
        self._pruned_ns = clock.monotonic_ns()
        self._unstored = 0
        self._file: _FullFile | None = None
        self._outlets = [
            Outlet(
                name,
                apprise_sender(address),
                lambda: self._store,
                clock,
                per_min=settings.messages_per_min,
                fail_over_after=settings.fail_over_after,
            )
            for name, address in read_addresses(settings.targets).items()
        ]
        self._heartbeat: Heartbeat | None = None
        if settings.heartbeat:
            address = read_secret(settings.heartbeat, "alerts.heartbeat")
            self._heartbeat = Heartbeat(address, settings.heartbeat_s, self._is_well)
        self._desk: TelegramDesk | None = None
        if settings.telegram.token:
            token = read_secret(settings.telegram.token, "alerts.telegram.token")
            chosen = settings.telegram
            commands = ChatCommands(chosen.chats, chosen.confirm_s, lambda: f"{secrets.randbelow(10_000):04}")
            self._desk = TelegramDesk(token, chosen, commands, self, clock)

    async def run(self, page: PageWriter, parent: Parent, stop: threading.Event) -> int:
        """Work until the end is requested. Returns the exit code."""
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(work) for work in self._work()]
            try:
                return await self._watch(page, parent, stop)
            finally:
                for task in running:
                    task.cancel()

    def _work(self) -> Iterator[Coroutine[Any, Any, None]]:
        yield from (outlet.run() for outlet in self._outlets)
        if self._heartbeat is not None:
            yield self._heartbeat.run()
        if self._desk is not None:
            yield self._desk.run()

    async def _watch(self, page: PageWriter, parent: Parent, stop: threading.Event) -> int:
        while True:
            self.check()
            self._show(page)
            if await self._pause(_LOOK_S, parent, stop):
                break
        if stop.is_set():
            await asyncio.sleep(_LAST_NOTE_S)
            self.check(is_last=True)
            await self._send_last()
            self._show(page)
            return 0
        get_logger().error("the supervisor is dead")
        await self._outlive(page, stop)
        return 4

    async def _pause(self, seconds: float, parent: Parent, stop: threading.Event) -> bool:
        """Wait. Returns early, and true, when the end is requested or the parent is gone."""
        end_ns = self._clock.monotonic_ns() + int(seconds * 1e9)
        while self._clock.monotonic_ns() < end_ns:
            if stop.is_set() or parent.is_gone():
                return True
            await asyncio.sleep(_STOP_CHECK_S)
        return False

    async def _outlive(self, page: PageWriter, stop: threading.Event) -> None:
        """Deliver that the run vanished. Ends when that is done, or when the run has a new supervisor."""
        holder = self._holder()
        end_ns = self._clock.monotonic_ns() + int(_OUTLIVE_S * 1e9)
        is_known, looks = False, 0
        while self._clock.monotonic_ns() < end_ns and not stop.is_set() and self._holder() == holder:
            if looks % _LOOKS_EACH == 0:
                self.check()
                self._show(page)
            looks += 1
            is_known = is_known or (self._status is not None and self._status.state == "dead")
            if is_known and not self._store.outbox():
                return
            await asyncio.sleep(_STOP_CHECK_S)

    def _holder(self) -> bytes:
        """Return what the lock file of the run says: who holds it."""
        try:
            return self._files.lock.read_bytes()
        except OSError:
            return b""

    async def _send_last(self) -> None:
        async def send_all(outlet: Outlet) -> None:
            while await outlet.send_due(at_once=True):
                continue

        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SENDING_S):
                await asyncio.gather(*map(send_all, self._outlets))

    def check(self, *, is_last: bool = False) -> None:
        """Look at the run once, and keep what follows from it. ``is_last``: the run, or this process, ends."""
        try:
            status = self._status = self._collector.collect()
            note, own = read_risk_note(self._files), self._supervisor_note()
        except SharedMemoryError as error:
            self._status = None  # The heartbeat must not go on by what was true before.
            get_logger().warning("the run cannot be looked at", why=str(error))
            return
        if status is None or own is None:
            return
        now_ns, now_ms = self._clock.monotonic_ns(), self._clock.wall_ms()
        restarted = self._restarts.add(own.children, now_ns)
        picture = picture_of(status, note, restarted, self._config.alerts, self._config.limits)
        self._is_left_to_another = not sends_for_all(status.cluster)
        changes = self._book.update(picture, now_ns, now_ms)
        facts: dict[str, str] = {}
        changes += self._events(own, facts, now_ns, now_ms)
        changes += self._digests(status, note, facts, now_ms, is_last=is_last)
        self._keep(changes, facts)
        self._return_to_file(now_ns)
        if now_ns - self._pruned_ns > _PRUNE_S * 1e9:
            self._pruned_ns = now_ns
            self._prune(now_ms)

    def _keep(self, changes: Sequence[Change], facts: dict[str, str]) -> None:
        if not changes and not facts:
            return
        cluster = self._config.cluster
        host = cluster.host if cluster is not None else ""
        named = [(one, message_of(one, self._config.name, self._zone, host)) for one in changes]
        try:
            self._store.apply(named, facts)
        except sqlite3.Error as error:
            # Most likely the disk is full, which is when messages matter most: they go on from memory.
            self._unstored += 1
            get_logger().error(
                "alerts cannot be written to their file: they are kept in memory", why=str(error)
            )
            memory = AlertStore(None, [one.name for one in self._outlets])
            delivered = self._outlets[0].unmarked_in(self._store) if self._outlets else ()
            self._file = _FullFile(self._store, memory.take_over(self._store, delivered))
            self._store = memory
            self._store.apply(named, facts)
        if self._file is not None:
            self._file.changes.extend(named)
            self._file.facts.update(facts)

    def _return_to_file(self, now_ns: int) -> None:
        """Write what was kept in memory to the file, once it can be written and all messages are delivered."""
        file = self._file
        if file is None or now_ns < file.again_ns or self._store.outbox():
            return
        try:
            file.store.apply(file.changes, file.facts, posts=False)
            for outlet in self._outlets[:1]:
                file.store.mark_delivered(outlet.name, file.taken, self._clock.wall_ms())
        except sqlite3.Error:
            file.again_ns = now_ns + _FILE_AGAIN_NS
            return
        self._store.close()
        self._store, self._file = file.store, None
        get_logger().info("alerts are written to their file again")

    def _prune(self, now_ms: int) -> None:
        settings = self._config.alerts
        before = self._store.given_up
        try:
            self._store.prune(now_ms, settings.keep_days, settings.keep_rows)
        except sqlite3.Error as error:
            get_logger().error("old alerts cannot be removed", why=str(error))
        if given_up := self._store.given_up - before:
            get_logger().error("the oldest messages that a target has not got are given up", count=given_up)

    def _events(self, own: SupervisorNote, facts: dict[str, str], now_ns: int, now_ms: int) -> list[Change]:
        """Return the alerts of the supervisor that are new, by their number."""
        session = str(own.started_ms)
        known, _, count = self._store.fact("events").partition(" ")
        seen = int(count) if known == session else 0
        if own.alerts_total <= seen:
            return []
        facts["events"] = f"{session} {own.alerts_total}"
        changes: list[Change] = []
        if (missed := own.alerts_total - seen - len(own.alerts)) > 0:
            text = f"{missed} alerts of the supervisor came too fast to be kept: its log has them"
            changes += self._book.add_event("alerts came too fast", text, "logs", now_ns, now_ms)
        for line in own.alerts[-(own.alerts_total - seen) :]:
            clock, _, text = line.partition(" ")
            subject = _FIGURES.sub("#", text)[:200]
            changes += self._book.add_event(subject, text, "alerts", now_ns, _at_ms(clock, now_ms))
        return changes

    def _digests(
        self, status: Status, note: RiskNote, facts: dict[str, str], now_ms: int, *, is_last: bool
    ) -> Iterator[Change]:
        if note.day is not None and note.day.label != (known := self._store.fact("day")):
            facts["day"] = note.day.label
            facts["day_ms"] = str(now_ms)
            if known:
                day = next((one for one in note.days if one.label == known), DayNote(known))
                since_ms = int(self._store.fact("day_ms") or now_ms)
                yield from self._digest(
                    "digest_day", known, digest_of_day(day, self._store.kinds_since(since_ms)), now_ms
                )
        if is_last and status.state in ("draining", "ended"):
            text = digest_of_session(status, self._store.kinds_since(self._began_ms))
            yield from self._digest("digest_session", "", text, now_ms)

    def _digest(self, kind: str, subject: str, text: str, now_ms: int) -> Iterator[Change]:
        level = self._levels[kind]
        if level != "off":
            is_sent = level == "on" and not self._is_left_to_another
            yield Change("event", kind, subject, "info", text, "trades", now_ms, is_sent)

    def _supervisor_note(self) -> SupervisorNote | None:
        with PageReader.attach(self._files.supervisor_page) as page:
            raw = page.note()
        return msgspec.json.decode(raw, type=SupervisorNote) if raw else None

    def _is_well(self) -> bool:
        status = self._status
        if status is None or any(cause.kind == "silent" for cause in status.causes):
            return False
        return status.state in ("running", "degraded") and status.risk.state == "running"

    def _show(self, page: PageWriter) -> None:
        desk, beat = self._desk, self._heartbeat
        shown = {
            "pid": os.getpid(),
            "beat_ns": self._clock.monotonic_ns(),
            "holding": self._book.holding,
            "outbox": self._store.outbox(),
            "delivered": sum(outlet.delivered for outlet in self._outlets),
            "failures": sum(outlet.failures for outlet in self._outlets),
            "unstored": self._unstored,
            "heartbeats": beat.fetched if beat is not None else 0,
            "heartbeat_failures": beat.failures if beat is not None else 0,
            "commands": desk.answered if desk is not None else 0,
            "unknown_chats": desk.unknown_chats if desk is not None else 0,
            "reaches": int(any(not outlet.trouble for outlet in self._outlets)),
        }
        for name, value in shown.items():
            page.set(page.counter(name), value)
        kept = (
            "alerts cannot be written to their file: they are kept in memory"
            if self._file is not None
            else ""
        )
        troubles = [
            kept,
            *(f"{one.name}: {one.trouble}" for one in self._outlets if one.trouble),
        ]
        troubles.append(desk.trouble if desk is not None else "")
        page.write_note((" | ".join(filter(None, troubles)) or " ").encode()[:4000])

    # what Telegram's commands may see and do

    def show(self, what: Shown) -> str:
        """Return the state, the money or the positions of the run, as of now."""
        try:
            status = self._collector.collect()
        except ArbshardError as error:
            return f"The run cannot be looked at: {error}"
        match what:
            case "status":
                return status_lines(status)
            case "pnl":
                return pnl_lines(status)
            case "positions":
                return position_lines(status, self._clock.wall_ms())

    def explain(self, coin: str) -> str:
        """Return what stands between a coin and a trade."""
        try:
            status = self._collector.collect()
            return "\n".join(
                lines_of(read_reasons(self._files, coin, self._clock, status.halted if status else ""))
            )
        except ArbshardError as error:
            return str(error)

    async def halt(self, reason: str, by: str) -> str:
        """Halt entries, as ``arbshard halt`` does, and return what came of it."""
        try:
            answer = await asyncio.to_thread(send_command, self._files, Halt(reason, flatten=False), by)
        except ArbshardError as error:
            return f"NOT HALTED, as far as is known: {error}"
        assert isinstance(answer, Done), answer
        return answer.text


def _at_ms(clock: str, now_ms: int) -> int:
    """Return the wall time of an alert that says its time of day (UTC) only."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    try:
        at = datetime.combine(now.date(), datetime.strptime(clock, "%H:%M:%S").time(), UTC)  # noqa: DTZ007 - UTC
    except ValueError:
        return now_ms
    if at > now + timedelta(minutes=1):
        at -= timedelta(days=1)
    return int(at.timestamp() * 1000)


def _work(given: argparse.Namespace, stop: threading.Event) -> int:
    files = RunFiles(given.run_dir)
    config = msgspec.json.decode(files.config.read_bytes(), type=Config, strict=False)
    setup("alerts", given.state_dir / "logs", config.run.log_level)
    keep_libraries_quiet()
    with ExitStack() as closing:
        page = closing.enter_context(PageWriter.create(files.alerts_page, COUNTERS, (), 8192))
        names = list(config.alerts.targets)
        try:
            store = AlertStore(given.state_dir / FILE, names)
        except AlertsFileError as error:
            get_logger().error("alerts cannot be kept", why=str(error))
            store = AlertStore(None, names)
        closing.callback(store.close)
        process = AlertsProcess(config, files, store, SystemClock())
        return asyncio.run(process.run(page, Parent(given.parent_pid), stop))


def main() -> int:
    """Work until the end is requested. Returns the exit code."""
    return run_companion("alerts", _work)
