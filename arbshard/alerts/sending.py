"""Delivers messages to targets through apprise, and the heartbeat. Addresses are secrets, and never shown."""

import asyncio
import logging
import os
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from arbshard.alerts.conditions import AlertSeverity
from arbshard.alerts.store import AlertStore, Message
from arbshard.alerts.texts import combined, late_line
from arbshard.clock import Clock
from arbshard.config import AlertsConfig
from arbshard.errors import ConfigError
from arbshard.optional import require_libraries
from arbshard.private_files import read_private
from arbshard.secret import HIDDEN, Secret

_PAUSE_S = 5.0
_PAUSE_MAX_S = 600.0
_IDLE_S = 0.2
_ANSWER_S = 60.0
"""A delivery that takes longer has failed. Nothing else is sent to this target until it has ended; it counts as one
more failure after each pause, so that the next target gets what is due."""
_FETCH_S = 10.0
_LATE_S = 60.0
"""A message that waited for longer says so."""
_CHARS_MAX = 3000
"""Telegram takes 4,096 characters a message; other services take more."""
_DUE_MAX = 200
_PART_MIN = 4
"""Shorter parts of an address than this are no secrets."""

Lookup = Callable[[str, str], str]


class Sender(Protocol):
    """Sends one message."""

    def __call__(self, title: str, body: str, severity: AlertSeverity) -> str:
        """Return why it was not delivered; empty when it was."""
        ...


def read_secret(source: str, where: str, lookup: Lookup = os.getenv) -> Secret:
    """Return the secret that ``source`` names. Raises ``ConfigError``, which never shows what was found."""
    kind, _, name = source.partition(":")
    if kind == "file":
        secret = Secret(read_private(Path(name).expanduser(), where))
    else:
        secret = Secret(lookup(name, ""))
        if not secret:
            raise ConfigError(where, f"the environment variable {name} is not set")
    if not secret:
        raise ConfigError(where, f"{name} is empty")
    return secret


def read_addresses(targets: Mapping[str, str], lookup: Lookup = os.getenv) -> dict[str, Secret]:
    """Return the address of each target by its name. Raises ``ConfigError``."""
    return {name: read_secret(source, f"alerts.targets.{name}", lookup) for name, source in targets.items()}


def check_alerts(alerts: AlertsConfig, lookup: Lookup = os.getenv) -> None:
    """Check before a run that its alerts can be sent. Raises ``UsageError`` in one line for what is missing."""
    if alerts.targets:
        require_libraries("alerts.targets", "apprise")
    read_addresses(alerts.targets, lookup)
    if alerts.heartbeat:
        read_secret(alerts.heartbeat, "alerts.heartbeat", lookup)
    if alerts.telegram.token:
        require_libraries("alerts.telegram", "telegram")
        read_secret(alerts.telegram.token, "alerts.telegram.token", lookup)
        if not alerts.telegram.chats:
            raise ConfigError("alerts.telegram.chats", "names no chat, so no person could give a command")


def without_address(line: str, address: Secret) -> str:
    """Return ``line`` in which no part of ``address`` can be read."""
    parts = address.use(_parts_of)
    for part in sorted(parts, key=len, reverse=True):
        line = line.replace(part, HIDDEN)
    return line


def _parts_of(address: str) -> set[str]:
    _, _, rest = address.partition("://")
    raw = {part for part in re.split(r"[/:@?&=#,\s]+", rest or address) if len(part) >= _PART_MIN}
    return raw | {unquote(part) for part in raw}


_complaints: ContextVar[list[str] | None] = ContextVar("complaints", default=None)
"""What apprise logs during a delivery, which is the context it logs in."""


class _Complaints(logging.Handler):
    """Keeps what apprise logs, which may hold parts of addresses, instead of writing it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        lines = _complaints.get()
        if lines is not None:
            lines.append(record.getMessage())


def keep_libraries_quiet() -> None:
    """Let no library that sends log anything: their lines may hold addresses and tokens."""
    for name in ("apprise", "httpx", "httpcore", "telegram", "urllib3"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers = [_Complaints() if name == "apprise" else logging.NullHandler()]


def apprise_sender(address: Secret) -> Sender:
    """Return what sends to ``address`` by apprise. It blocks for some seconds at most."""
    from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType

    keep_libraries_quiet()
    # With a limit of its own apprise sends from a pool of threads: Ctrl-C would wait for them, and for ever when it
    # comes while one is being started. ``Outlet`` limits how long a delivery may take.
    service = Apprise(asset=AppriseAsset(service_timeout=0))
    is_known = address.use(service.add)
    types = {"critical": NotifyType.FAILURE, "warning": NotifyType.WARNING, "info": NotifyType.INFO}

    def send(title: str, body: str, severity: AlertSeverity) -> str:
        if not is_known:
            return "the address is of no service that apprise knows"
        complaints: list[str] = []
        token = _complaints.set(complaints)
        try:
            is_delivered = service.notify(
                body=body,
                title=title,
                notify_type=types[severity],
                body_format=NotifyFormat.TEXT,  # services that take HTML or Markdown get it escaped
            )
        except Exception as error:  # noqa: BLE001 - a service that fails in its own way is a failed delivery
            return without_address(f"{type(error).__name__}: {error}", address)
        finally:
            _complaints.reset(token)
        return (
            "" if is_delivered else without_address("; ".join(complaints) or "it was not accepted", address)
        )

    return send


class Allowance:
    """How many messages may be sent now: so many per minute, and as many at once after a pause. Pure."""

    def __init__(self, per_min: int, now_ns: int) -> None:
        self._per_min = per_min
        self._tokens = float(per_min)
        self._at_ns = now_ns

    def count(self, now_ns: int) -> int:
        """Return how many may be sent."""
        elapsed = max(0, now_ns - self._at_ns) / 60e9
        self._at_ns = now_ns
        self._tokens = min(float(self._per_min), self._tokens + elapsed * self._per_min)
        return int(self._tokens)

    def use(self) -> None:
        """Note that one is sent."""
        self._tokens -= 1


class Outlet:
    """Sends to one target what is due there, in order, until it is delivered."""

    def __init__(
        self,
        name: str,
        send: Sender,
        store: Callable[[], AlertStore],
        clock: Clock,
        *,
        per_min: int,
        fail_over_after: int,
    ) -> None:
        """Begin with no failures. ``store``: returns the store in use, which changes while its disk is full."""
        self.name = name
        self.delivered = 0
        self.failures = 0
        self.trouble = ""
        """Why the last try failed; empty when it did not."""
        self._send = send
        self._store = store
        self._clock = clock
        self._fail_over_after = fail_over_after
        self._allowance = Allowance(per_min, clock.monotonic_ns())
        self._in_a_row = 0
        self._next_ns = 0
        self._under_way: asyncio.Future[str] | None = None
        self._sent: list[tuple[AlertStore, int]] = []
        """The messages of the delivery that is under way."""
        self._turn = asyncio.Lock()
        """The end of the process sends beside the task: one message must not be taken by both."""
        self._unmarked: list[tuple[AlertStore, int]] = []
        """Messages that are delivered, which could not be written yet: they must not be sent again."""

    async def run(self) -> None:
        """Send again and again; for a task of its own, which is ended by cancelling it."""
        while True:
            if not await self.send_due():
                await asyncio.sleep(_IDLE_S)

    async def send_due(self, *, at_once: bool = False) -> bool:
        """Try to send the next message. Returns whether one was delivered. ``at_once``: without a pause."""
        async with self._turn:
            try:
                return await self._send_due(at_once=at_once)
            except sqlite3.Error as error:
                self._failed(f"the outbox cannot be used: {error}", None)
                return False

    async def _send_due(self, *, at_once: bool) -> bool:
        now_ns = self._clock.monotonic_ns()
        store = self._store()
        is_stuck = self._under_way is not None and not self._under_way.done()
        if is_stuck and now_ns >= self._next_ns:
            self._failed("a delivery was begun and has not ended", store)
            return False
        if self._under_way is not None and not is_stuck:
            late, self._under_way = self._under_way, None
            if not late.result():  # It was accepted after all, so it must not be sent again.
                self._accept(store)
                return True
        if is_stuck or (now_ns < self._next_ns and not at_once):
            self._hand_on(store)
            return False
        room = self._allowance.count(now_ns)
        self._mark(store)
        due = store.due(self.name, _DUE_MAX) if room else []
        if not due:
            return False
        used, message = combined(due if len(due) > room else due[:1], _CHARS_MAX)
        late_s = (self._clock.wall_ms() - message.at_ms) / 1000
        body = f"{message.body}\n{late_line(late_s)}" if late_s > _LATE_S else message.body
        self._allowance.use()
        self._sent = [(store, one.id) for one in due[:used]]
        trouble = await self._deliver(message._replace(body=body))
        if trouble:
            self._failed(trouble, store)
            return False
        self._accept(store)
        return True

    def unmarked_in(self, store: AlertStore) -> set[int]:
        """Return the messages of ``store`` that are delivered, and of which it does not know that yet."""
        return {number for place, number in self._unmarked if place is store}

    def _accept(self, store: AlertStore) -> None:
        """Note that the target has accepted what was sent last."""
        self._in_a_row, self.trouble, self._next_ns = 0, "", 0
        self.delivered += len(self._sent)
        self._unmarked += self._sent
        self._sent = []
        self._mark(store)

    def _mark(self, store: AlertStore) -> None:
        if numbers := self.unmarked_in(store):
            store.mark_delivered(self.name, numbers, self._clock.wall_ms())
            self._unmarked = [one for one in self._unmarked if one[0] is not store]

    async def _deliver(self, message: Message) -> str:
        under_way = asyncio.ensure_future(
            asyncio.to_thread(self._send, message.title, message.body, message.severity)
        )
        self._under_way = under_way
        done, _ = await asyncio.wait({under_way}, timeout=_ANSWER_S)
        if not done:
            return f"no answer came within {_ANSWER_S:g} s"
        self._under_way = None
        return under_way.result()

    def _failed(self, trouble: str, store: AlertStore | None) -> None:
        self.failures += 1
        self._in_a_row += 1
        self.trouble = trouble
        pause_s = min(_PAUSE_S * 2.0 ** min(self._in_a_row - 1, 16), _PAUSE_MAX_S)
        self._next_ns = self._clock.monotonic_ns() + int(pause_s * 1e9)
        if store is not None:
            self._hand_on(store)

    def _hand_on(self, store: AlertStore) -> None:
        """Let the next target send what is due, also what comes during a pause, once this one has failed often."""
        if self._in_a_row < self._fail_over_after:
            return
        try:
            store.hand_on(self.name)
        except sqlite3.Error as error:
            self.failures += 1
            self.trouble = f"the outbox cannot be used: {error}"


class Heartbeat:
    """Fetches an address while the run is well: a service that misses it alerts a person."""

    def __init__(self, address: Secret, every_s: float, is_well: Callable[[], bool]) -> None:
        self.fetched = 0
        self.failures = 0
        self._address = address
        self._every_s = every_s
        self._is_well = is_well

    async def run(self) -> None:
        """Fetch again and again; for a task of its own, which is ended by cancelling it."""
        while True:
            if self._is_well():
                is_fetched = await fetch(self._address)
                self.fetched += is_fetched
                self.failures += not is_fetched
            await asyncio.sleep(self._every_s)


async def fetch(address: Secret) -> bool:
    """Fetch ``address``. Returns whether it was answered without an error; an error might show the address."""
    import aiohttp  # few runs have a heartbeat, and the library takes longer to import than all the rest

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_FETCH_S)) as session,
            address.use(session.get) as answer,
        ):
            return answer.status < 400
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return False
