"""Serves both embedded exchanges while they play a tape, for ``arbshard replay``. Needs pyarrow."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import uvloop

from arbshard.clock import Clock, SystemClock
from arbshard.config import SimConfig
from arbshard.errors import ConfigError
from arbshard.exchanges.exchanges import Exchanges
from arbshard.exchanges.main import ExchangesServer
from arbshard.exchanges.recorded import RecordedLoss, RecordedWorld, ReplayPace
from arbshard.exchanges.session import SECOND_NS
from arbshard.last_words import write_stderr_line
from arbshard.private_files import open_private
from arbshard.replay.events import TapeEvents
from arbshard.replay.stretch import Stretch
from arbshard.venues.registry import TRADED

TimeShown = Literal["now", "recorded"]
"""Which time the venues show and use."""


class ReplayPlaces(NamedTuple):
    """Holds the files that a replay writes; None for those that are not wanted."""

    ready_file: Path | None = None
    config_dir: Path | None = None
    """Folder for configurations that connect a run to these exchanges."""
    accounts_file: Path | None = None


def replay(
    stretch: Stretch,
    sim: SimConfig,
    pace: ReplayPace,
    places: ReplayPlaces,
    *,
    time_shown: TimeShown = "now",
    duration_s: float | None = None,
) -> None:
    """Play a part of a tape until its end, a signal, or for ``duration_s`` seconds. ``sim`` has ports, accounts and
    faults.

    Raises ``UsageError`` and ``TapeError`` for a tape that cannot be played, ``RunFailed`` when a part of the
    server broke.
    """
    events = TapeEvents(stretch)
    world = RecordedWorld(events.listings, events.first, events.read, pace)
    world.with_trades |= events.venues_with_trades
    # Steps are weighted by the seconds since the one before, and a recorded depth came at the venue's own intervals.
    sim = msgspec.structs.replace(sim, updates_per_s=1.0, depth_interval_ms=0)
    clock: Clock = SystemClock()
    if time_shown == "recorded":
        clock = _RecordedClock(world, clock)
    about = f"{len(events.listings)} markets of {stretch.tape.folder}, speed {pace.speed:g}"
    server = ExchangesServer(
        sim, clock, about, ready_file=places.ready_file, accounts_file=places.accounts_file, world=world
    )
    world.on_loss = _loss_in(server.exchanges)
    world.on_late = LateReports(pace.speed, write_stderr_line).add
    if events.without_book:
        write_stderr_line(f"left out because no book was recorded: {' '.join(events.without_book)}")
    if places.config_dir is not None:
        server.on_started = _writer(places.config_dir, server.exchanges, sim)
    try:
        uvloop.run(server.run(duration_s=duration_s))
    finally:
        left_out = "".join(
            f", {count} left out ({reason})" for reason, count in sorted(events.refused.items())
        )
        late = (
            f", {world.late_ns / SECOND_NS:.1f} s later than at speed {pace.speed:g}" if world.late_ns else ""
        )
        write_stderr_line(
            f"replay: {world.played} events played, {world.rounds} times to the end{late}{left_out}"
        )


class LateReports:
    """Reports that a replay does not keep its speed: at first, and each time when it is twice as late."""

    def __init__(self, speed: float, write: Callable[[str], None]) -> None:
        self._speed = speed
        self._write = write
        self._next_ns = 0

    def add(self, late_ns: int) -> None:
        """Report that the replay is ``late_ns`` late by now, if that is due."""
        if late_ns < self._next_ns:
            return
        self._next_ns = 2 * late_ns
        self._write(
            f"replay: {late_ns / SECOND_NS:.1f} s later than at speed {self._speed:g}: this computer does not keep "
            "up, or the replay was suspended; nothing is left out, and a lower --speed is kept"
        )


class _RecordedClock:
    """Is a clock whose wall time is that of the recording."""

    def __init__(self, world: RecordedWorld, clock: Clock) -> None:
        self._world = world
        self._clock = clock

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns()

    def wall_ms(self) -> int:
        return self._world.time_at(self._clock.monotonic_ns()) // 1_000_000


def _loss_in(exchanges: Exchanges) -> Callable[[RecordedLoss], None]:
    """Return what applies a recorded loss to the clients of ``exchanges``."""

    def lose(loss: RecordedLoss) -> None:
        if loss.is_connection:
            exchanges.cut(loss.venue, loss.symbols, clean=loss.why.startswith("closed with code"))
        else:
            exchanges.lose_changes(loss.venue, loss.symbols)

    return lose


def _writer(folder: Path, exchanges: Exchanges, sim: SimConfig) -> Callable[[], None]:
    """Return what writes the configurations once the ports are open."""

    def write() -> None:
        keys = folder.absolute() / "keys.toml"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for mode in ("paper", "live"):
                text = _run_config(mode, exchanges.addresses(), keys)
                (folder / f"{mode}.toml").write_text(text, encoding="utf-8")
            with open_private(keys, "w") as file:
                for venue in TRADED:
                    key, secret = sim.accounts.key_of(venue)
                    file.write(f"[{venue}]\nkey = {_text(key)}\nsecret = {_text(secret)}\n")
        except OSError as error:
            raise ConfigError("--config-dir", f"{folder} cannot be written: {error.strerror}") from error
        write_stderr_line(
            f"to trade on it: arbshard run --config {folder / 'paper.toml'}, or, by orders to its accounts, "
            f"arbshard run --config {folder / 'live.toml'} --live --new-ledger"
        )

    return write


def _run_config(mode: str, addresses: dict[str, tuple[str, str]], keys: Path) -> str:
    lines = [
        "# Written by `arbshard replay`: points a run to embedded exchanges that play a tape. No real market.",
        f'name = "replay-{mode}"',
        f'mode = "{mode}"',
        'data = "public"',
    ]
    for venue, (ws_url, rest_url) in addresses.items():
        lines += ["", f"[venues.{venue}]", f"ws_url = {_text(ws_url)}", f"rest_url = {_text(rest_url)}"]
    if mode == "live":
        lines += ["", "[live]", f"keys_file = {_text(str(keys))}"]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """Return a basic string of TOML, whose form JSON's strings have too."""
    return msgspec.json.encode(value).decode()
