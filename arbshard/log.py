"""Writes logs: JSON lines to a file for every process, and one readable line on the terminal for the supervisor.

Nothing is logged per tick. Every process counts what it logs at ``error`` or above (``error_count``): a run's
summary has the number, and a campaign fails on the first.

A thread that logs only puts the record into a queue; another thread renders and writes it, because rendering a
traceback takes longer than an event loop may be blocked. What does not fit into the queue, or cannot be written, is
lost. It is counted, and reported in the log as soon as something can be written again. A process that ends by itself
writes its queue first; one that is killed loses what was in it, a few milliseconds' worth.

Tracebacks never show local variables, because those may hold secrets, and they are shortened.
"""

import logging
import logging.handlers
import queue
import sys
import threading
import traceback
from collections.abc import MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any

from arbshard.optional import hidden
from arbshard.private_files import open_private, tighten

# structlog loads rich, and with it pygments and attrs, for tracebacks with local variables, which this log omits.
# Without them each process starts with a quarter less CPU time and is 5 MB smaller.
with hidden("rich"):
    import structlog
    from structlog.typing import EventDict, FilteringBoundLogger, Processor

_TALKATIVE = ("asyncio", "aiohttp", "picows", "websockets")
"""Libraries that log each connection at the level info."""
_FILE_BYTES = 10_000_000
_FILES_KEPT = 5
_QUEUE_MAX = 10_000
_FLUSH_S = 5.0
"""How long the end of a process waits for records to be written, in seconds."""

_Records = queue.Queue[logging.LogRecord | None]
"""Queue of records; None ends the listener."""
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class _ErrorCounter(logging.Handler):
    """Adds up every record at ERROR or above, of arbshard and of libraries."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - the record itself is not needed
        self.count += 1


_errors = _ErrorCounter()


def error_count() -> int:
    """Return how many errors this process has logged, and how many records of any kind its log has lost."""
    return _errors.count


class Losses:
    """Adds up lost records; the queue and the handlers behind it share one instance."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unreported = 0
        self.total = 0

    def add(self) -> bool:
        """Count one more; return whether it is the first of a series. Each counts as an error, so that status shows
        it.
        """
        with self._lock:
            self.total += 1
            self._unreported += 1
            _errors.count += 1
            return self._unreported == 1

    def drain(self) -> int:
        """Return how many there were since the last call, and end the series."""
        with self._lock:
            unreported, self._unreported = self._unreported, 0
        return unreported


class QueueHandler(logging.handlers.QueueHandler):
    """Accepts records on the thread that logs; its listener renders and writes them on a thread of its own."""

    def __init__(self, handlers: list[logging.Handler], losses: Losses, size: int = _QUEUE_MAX) -> None:
        records: _Records = queue.Queue(size)
        super().__init__(records)
        self._records = records
        self._losses = losses
        self._listener = _Listener(records, handlers, losses)
        self._listener.start()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Add what only the thread that logs knows: a library's arguments as they are now, and the bound context."""
        if not isinstance(record.msg, dict):
            record.msg = record.getMessage()
            record.args = None
            record.bound = dict(structlog.contextvars.get_contextvars())
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put the record into the queue without waiting; count it as lost when the queue is full."""
        try:
            self._records.put_nowait(record)
        except queue.Full:
            self._losses.add()

    def flush(self) -> None:
        """Wait until all that was logged until now is written, for a few seconds at most."""
        with self._records.all_tasks_done:
            self._records.all_tasks_done.wait_for(lambda: not self._records.unfinished_tasks, _FLUSH_S)

    def close(self) -> None:
        """Write waiting records and close the handlers. ``logging.shutdown`` calls it when the process ends."""
        self._listener.stop()
        super().close()


class _Listener(logging.handlers.QueueListener):
    def __init__(self, records: _Records, handlers: list[logging.Handler], losses: Losses) -> None:
        super().__init__(records, *handlers, respect_handler_level=True)
        self._records = records
        self._losses = losses

    def handle(self, record: logging.LogRecord) -> None:
        before = self._losses.total
        super().handle(record)
        if self._losses.total == before and (lost := self._losses.drain()):
            report = logging.LogRecord(
                "arbshard.log", logging.WARNING, __file__, 0, f"{lost} log records were lost", None, None
            )
            super().handle(report)  # when this fails too, it begins a new series

    def stop(self) -> None:
        """Write waiting records, for a few seconds at most, and close the handlers."""
        thread: threading.Thread | None = getattr(self, "_thread", None)
        if thread is not None:
            with suppress(queue.Full):  # the writer is blocked, and its records are lost
                self._records.put(None, timeout=_FLUSH_S)
            thread.join(_FLUSH_S)
            self._thread = None
        for handler in self.handlers:
            handler.close()


class PrivateFile(logging.handlers.RotatingFileHandler):
    """Writes a rotated log file that only its owner can read."""

    def __init__(self, path: Path, losses: Losses) -> None:
        self._losses = losses
        super().__init__(path, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        return open_private(Path(self.baseFilename), self.mode, self.encoding)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Count the record as lost; ``emit`` calls this inside its ``except``."""
        del record
        if self._losses.add():
            with suppress(
                OSError
            ):  # stderr may be on the same full disk; status shows the error all the same
                print(f"{self.baseFilename}: cannot be written: {sys.exc_info()[1]}", file=sys.stderr)


class _StderrInsteadOfFile(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr when there can be no log file."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        super().__init__(sys.stderr)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Count the record as lost; ``emit`` calls this inside its ``except``."""
        del record
        self._losses.add()


class _Terminal(logging.StreamHandler):  # type: ignore[type-arg]
    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Stop writing to a terminal that was closed. The log file has the record, and says why the terminal gets no
        more.

        It is a warning, because a closed terminal ends a run in order, without an error.
        """
        del record
        if self.level <= logging.CRITICAL:
            self.setLevel(logging.CRITICAL + 1)
            why = repr(sys.exc_info()[1])
            logging.getLogger("arbshard.log").warning("the terminal cannot be written to: %s", why)


def setup(
    process: str, log_dir: Path, level: str, *, console: bool = False, must_write: bool = False
) -> None:
    """Send this process's log to ``log_dir/<process>.jsonl`` (rotated), and to stderr when ``console``.

    Directory and files are made private, also if they existed with a wider mode. When the directory cannot be
    written, the process continues and its log goes to stderr, because running trades are worth more than their log.
    With ``must_write``, ``OSError`` is raised instead.
    """
    losses = Losses()
    tightened: list[str] = []
    to_file: logging.Handler
    problem: OSError | None = None
    try:
        log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        tightened = tighten(log_dir)
        to_file = PrivateFile(log_dir / f"{process}.jsonl", losses)
    except OSError as error:
        if must_write:
            raise
        problem, to_file = error, _StderrInsteadOfFile(losses)
    to_file.setFormatter(
        _formatter(process, structlog.processors.JSONRenderer(sort_keys=False), _Shortened(30, 16_000))
    )
    handlers: list[logging.Handler] = [to_file]
    if console:
        to_terminal = _Terminal()
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        to_terminal.setFormatter(_formatter(process, renderer, _Shortened(6, 3000)))
        handlers.append(to_terminal)
    logging.basicConfig(handlers=[QueueHandler(handlers, losses), _errors], level=level.upper(), force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _hold_exception,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _Unhandled(console=console)
    threading.excepthook = _on_thread_end
    if tightened:
        get_logger().warning("these could be read by others and are private now", paths=tightened)
    if problem is not None:
        get_logger().error("the log cannot be written", error=str(problem))


def flush() -> None:
    """Wait until all that this process has logged is written, for a few seconds at most."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def get_logger() -> FilteringBoundLogger:
    """Return the process's logger: ``log.info("fenced", shard=2)``."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def short_traceback(error: ExcInfo, frames_max: int, characters_max: int) -> str:
    """Return a traceback without local variables: the innermost frames of each exception, and both ends of a long
    text.
    """
    kind, value, trace = error
    found = traceback.TracebackException(kind, value, trace, limit=-frames_max, compact=True)
    text = "".join(found.format()).rstrip()
    if len(text) <= characters_max:
        return text
    half = characters_max // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"


class _Shortened:
    """Formats the exception of a record as text, as a processor."""

    def __init__(self, frames_max: int, characters_max: int) -> None:
        self._frames_max = frames_max
        self._characters_max = characters_max

    def __call__(self, _logger: object, _name: str, event_dict: EventDict) -> EventDict:
        error = event_dict.pop("exc_info", None)
        if isinstance(error, tuple) and isinstance(error[1], BaseException):
            event_dict["exception"] = short_traceback(error, self._frames_max, self._characters_max)
        return event_dict


class _Unhandled:
    """Implements ``sys.excepthook``: it logs what ends the process, and prints it shortened to stderr."""

    def __init__(self, *, console: bool) -> None:
        self._console = console

    def __call__(self, kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, value, trace)
            return
        get_logger().critical("ended by an unexpected error", exc_info=(kind, value, trace))
        if not self._console:
            print(short_traceback((kind, value, trace), 6, 3000), file=sys.stderr)


def _on_thread_end(ended: threading.ExceptHookArgs) -> None:
    """Log what ended a thread, as ``threading.excepthook``."""
    if ended.exc_value is not None:
        error = (ended.exc_type, ended.exc_value, ended.exc_traceback)
        name = ended.thread.name if ended.thread is not None else ""
        get_logger().error("a thread ended by an unexpected error", thread=name, exc_info=error)


def _formatter(process: str, renderer: Processor, shortened: _Shortened) -> logging.Formatter:
    def named(_logger: object, _name: str, event_dict: EventDict) -> EventDict:
        event_dict["process"] = process
        return event_dict

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_of_library],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, named, shortened, renderer],
    )


def _of_library(_logger: object, _name: str, event_dict: MutableMapping[str, Any]) -> EventDict:
    """Add to a library's record what our own records have from the start, as a processor."""
    record: logging.LogRecord = event_dict["_record"]
    event_dict.update(getattr(record, "bound", {}))
    event_dict["level"] = record.levelname.lower()
    at = datetime.fromtimestamp(record.created, UTC)
    event_dict["timestamp"] = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return event_dict


def _hold_exception(_logger: object, _name: str, event_dict: EventDict) -> EventDict:
    """Replace ``exc_info=True`` by the present exception of this thread, as a processor."""
    error = event_dict.get("exc_info")
    if isinstance(error, BaseException):
        event_dict["exc_info"] = (type(error), error, error.__traceback__)
    elif error and not isinstance(error, tuple):
        event_dict["exc_info"] = sys.exc_info()
    return event_dict
