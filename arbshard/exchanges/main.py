"""Serves both simulated exchanges from one process: ``python -m arbshard.exchanges``.

The supervisor starts it, or a person does by hand; ``arbshard exchanges`` does the same with options in place of
``--settings``.

Once all ports are open, the addresses are written to the ready file: ``{"pid", "upbit": {"ws_url", "rest_url"},
"binance": {...}, "token", "tls": null}``. The token is needed to switch faults and to read the accounts' books
(``guard``). With ``sim.tls``, ``tls`` holds the addresses with TLS in the same form, and ``ca_file``: the
certificate that clients should trust. It is made at each start, beside the ready file (in a temporary folder when
there is none). ``--accounts-file`` keeps the accounts for the next start (``keeping``).

The exit code is 0 after SIGTERM, SIGINT, SIGHUP or the end of the parent, 1 when something broke, and 2 when
settings are wrong or a port is taken.
"""

import argparse
import asyncio
import os
import signal
import ssl
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import uvloop

from arbshard.clock import Clock, SystemClock
from arbshard.config import SimConfig
from arbshard.config.section import explain
from arbshard.errors import ConfigError, RunFailed, UsageError
from arbshard.exchanges.exchanges import Exchanges
from arbshard.exchanges.tls import server_context
from arbshard.exchanges.world import MarketWorld
from arbshard.last_words import end_with, write_stderr_line
from arbshard.process import Parent, add_parent_option
from arbshard.secret import Secret, encode_revealed

_TICK_S = 0.25
"""How often sessions are given the time and the parent is checked, in seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal or the end of the parent; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m arbshard.exchanges", description="Simulated Upbit and Binance on loopback."
    )
    parser.add_argument("--settings", default="{}", help="the [sim] table as JSON; -: from standard input")
    parser.add_argument("--ready-file", type=Path, help="where to write pid and addresses, as JSON")
    parser.add_argument("--accounts-file", type=Path, help="keep the accounts here, and go on with them")
    add_parent_option(parser)
    options = parser.parse_args(arguments)
    try:
        config = _settings(Secret(sys.stdin.read() if options.settings == "-" else options.settings))
        serve(config, options.ready_file, options.accounts_file, parent_pid=options.parent_pid)
    except UsageError as error:
        return end_with(2, str(error))
    except RunFailed as error:
        return end_with(1, str(error))
    return 0


def serve(
    config: SimConfig,
    ready_file: Path | None = None,
    accounts_file: Path | None = None,
    *,
    parent_pid: int | None = None,
    duration_s: float | None = None,
) -> None:
    """Run the exchanges until a signal, the end of the parent, or for ``duration_s``.

    Raises ``UsageError`` for settings that cannot be used and ``RunFailed`` when something broke.
    """
    about = f"{config.coins} coins, regime {config.regime}, seed {config.seed}"
    server = ExchangesServer(config, SystemClock(), about, ready_file=ready_file, accounts_file=accounts_file)
    uvloop.run(server.run(parent_pid, duration_s))


def _settings(text: Secret) -> SimConfig:
    try:
        return text.use(msgspec.json.Decoder(SimConfig).decode)
    except msgspec.ValidationError as error:
        raise UsageError(explain(error, SimConfig, under="sim")) from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ConfigError("--settings", f"is not valid JSON: {error}") from error


class ExchangesServer:
    """Runs both exchanges until they end, and writes the ready file."""

    def __init__(
        self,
        config: SimConfig,
        clock: Clock,
        about: str,
        *,
        ready_file: Path | None = None,
        accounts_file: Path | None = None,
        world: MarketWorld | None = None,
    ) -> None:
        """Prepare the exchanges; without a ``world`` it is the simulated one of ``config``.

        ``about`` is a short description of what the exchanges show; it is printed at the start.
        """
        self._config = config
        self._about = about
        self._ready_file = ready_file
        self._clock = clock
        self.exchanges = Exchanges(config, clock, accounts_file=accounts_file, world=world)
        self.on_started: Callable[[], None] = _do_nothing
        """Is called when all ports are open."""

    async def run(self, parent_pid: int | None = None, duration_s: float | None = None) -> None:
        """Serve until a signal, the end of the parent, for ``duration_s``, or to the end of the world."""
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        config = self._config
        with ExitStack() as folders:
            context: ssl.SSLContext | None = None
            ca_file: Path | None = None
            if config.tls:
                ca_file = _ca_file(self._ready_file, folders)
                context = _tls(config.host, self._clock.wall_ms() // 1000, ca_file)
            await self.exchanges.start(context)
            parent = Parent(parent_pid) if parent_pid is not None else None  # started by hand, it has none
            if duration_s is not None:
                asyncio.get_running_loop().call_later(duration_s, stop.set)
            await self._serve(stop, parent, ca_file)

    async def _serve(self, stop: asyncio.Event, parent: Parent | None, ca_file: Path | None) -> None:
        """Announce that the exchanges have started, wait for the end, and stop them."""
        exchanges = self.exchanges
        write_stderr_line(
            f"simulated exchanges (no real market): upbit {exchanges.upbit_at}, binance {exchanges.binance_at}; "
            f"{self._about}"
        )
        if ca_file is not None:
            write_stderr_line(
                f"with TLS: upbit {exchanges.upbit_tls_at}, binance {exchanges.binance_tls_at}, trust {ca_file}"
            )
        try:
            self.on_started()
            if self._ready_file is not None:
                _write_ready(self._ready_file, exchanges, ca_file)
            await self._tend(stop, parent)
        finally:
            try:
                await exchanges.stop()
            finally:
                write_stderr_line(f"simulated exchanges stopped: {exchanges.counters.line()}")

    async def _tend(self, stop: asyncio.Event, parent: Parent | None) -> None:
        """Run until a signal, the end of the parent, the end of the world, or a failure of the clockwork.

        ``Exchanges.stop`` raises what broke the clockwork.
        """
        exchanges = self.exchanges
        assert exchanges.clockwork is not None
        exchanges.clockwork.add_done_callback(lambda _: stop.set())
        while not stop.is_set() and not exchanges.is_over:
            exchanges.on_time()
            if parent is not None and parent.is_gone():
                return
            try:
                async with asyncio.timeout(_TICK_S):
                    await stop.wait()
            except TimeoutError:
                continue


def _do_nothing() -> None:
    """Do nothing: the default for ``on_started``."""


def _ca_file(ready_file: Path | None, folders: ExitStack) -> Path:
    """Return the path of the authority's certificate; a temporary folder for it is removed with ``folders``."""
    if ready_file is not None:
        return ready_file.absolute().with_name(f"{ready_file.stem}-ca.pem")
    return Path(folders.enter_context(tempfile.TemporaryDirectory(prefix="arbshard-sim-"))) / "ca.pem"


def _tls(host: str, now_s: int, ca_file: Path) -> ssl.SSLContext:
    """Return a server context with a new certificate. Raises ``ConfigError`` when its file cannot be written."""
    try:
        return server_context(host, now_s, ca_file)
    except OSError as error:
        raise ConfigError("sim.tls", f"{ca_file} cannot be written: {error.strerror}") from error


def _write_ready(path: Path, exchanges: Exchanges, ca_file: Path | None) -> None:
    """Write the addresses atomically, so that a reader never sees half of them."""
    ready: dict[str, object] = {
        "pid": os.getpid(),
        "token": exchanges.token,
        **_addresses(exchanges, tls=False),
    }
    ready["tls"] = None
    if ca_file is not None:
        ready["tls"] = {"ca_file": str(ca_file), **_addresses(exchanges, tls=True)}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.touch(mode=0o600)  # the token is for this user alone
        unfinished.write_bytes(encode_revealed(ready))
        unfinished.replace(path)
    except OSError as error:
        raise ConfigError("--ready-file", f"{path} cannot be written: {error.strerror}") from error


def _addresses(exchanges: Exchanges, *, tls: bool) -> dict[str, dict[str, str]]:
    """Return the WebSocket and REST addresses of each venue."""
    found = exchanges.addresses(tls=tls)
    return {venue: {"ws_url": ws_url, "rest_url": rest_url} for venue, (ws_url, rest_url) in found.items()}
