"""Logs: JSON lines to a file for every process, one human line on the terminal for the supervisor.

Never per tick. Every process counts what it logs at ``error`` or above (``error_count``): a run's summary says
how many there were, and a campaign fails on the first.
"""

import logging
import logging.handlers
import sys
from contextlib import suppress
from pathlib import Path

import structlog
from structlog.typing import FilteringBoundLogger, Processor

_FILE_BYTES = 10_000_000
_FILES_KEPT = 5


class _ErrorCounter(logging.Handler):
    """Counts every record at ERROR or above, ours and the libraries'."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - the record itself is not needed
        self.count += 1


class _LogFile(logging.handlers.RotatingFileHandler):
    """A log file that may stand on a full disk: what cannot be written is counted, and said once.

    The standard handler writes a traceback to stderr for every line that it loses, and stderr is where the supervisor
    reads a child's last words.
    """

    lost = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - the standard library's name
        """Called by ``emit`` with the exception at hand."""
        type(self).lost += 1
        if self.lost > 1:
            return
        error = sys.exc_info()[1]
        with suppress(OSError, ValueError):  # nowhere is left to say it, and it is counted
            print(f"{self.baseFilename}: cannot be written: {error}", file=sys.stderr)


_errors = _ErrorCounter()


def error_count() -> int:
    """How many errors this process has logged, and how many lines of any kind its log file did not take."""
    return _errors.count + _LogFile.lost


def setup(
    process: str, log_dir: Path, level: str, *, console: bool = False, must_write: bool = False
) -> None:
    """Send this process's log to ``log_dir/<process>.jsonl`` (rotated), and to stderr when ``console``.

    Where the directory cannot be written, raises ``OSError`` if it ``must_write``. Otherwise the process goes on and
    its log goes to stderr: a trade that is under way is worth more than a line about it.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    to_file: logging.Handler
    problem: OSError | None = None
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        to_file = _LogFile(
            log_dir / f"{process}.jsonl", maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8"
        )
    except OSError as error:
        if must_write:
            raise
        problem, to_file = error, logging.StreamHandler(sys.stderr)
    to_file.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(sort_keys=False),
            ],
        )
    )
    handlers: list[logging.Handler] = [to_file, _errors]
    if console:
        to_terminal = logging.StreamHandler(sys.stderr)
        to_terminal.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=shared,
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
                ],
            )
        )
        handlers.append(to_terminal)
    logging.basicConfig(handlers=handlers, level=level.upper(), force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    if problem is not None:
        get_logger().error("the log cannot be written", error=str(problem))


def get_logger() -> FilteringBoundLogger:
    """The process's logger: ``log.info("fenced", shard=2)``."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger
