"""Defines ``arbshard replay``: the embedded exchanges play a tape over the venues' own protocols."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from arbshard.cli.exchanges import (
    AccountsFileOption,
    DurationOption,
    PortsOption,
    ReadyFileOption,
    TlsOption,
    ports_of,
)
from arbshard.cli.options import config_of, wall_ms_of
from arbshard.errors import UsageError
from arbshard.optional import require_libraries


def replay(
    tape: Annotated[Path, typer.Argument(help="The tape's folder.")],
    speed: Annotated[float, typer.Option("--speed", help="How many times as fast as it was recorded.")] = 1.0,
    start: Annotated[
        str | None, typer.Option("--from", help="Where to begin: 2026-11-28T10:30:00, UTC.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Where to end, in the same form.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin anew at the end.")] = False,
    hole_max: Annotated[
        float,
        typer.Option(
            "--hole-max", min=1.0, help="Shorten times in which nothing was recorded to this, seconds."
        ),
    ] = 60.0,
    clock: Annotated[
        Literal["now", "recorded"],
        typer.Option("--clock", help="The time that the venues show and go by."),
    ] = "now",
    ports: PortsOption = None,
    tls: TlsOption = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Its section sim sets accounts, keys and faults.")
    ] = None,
    config_dir: Annotated[
        Path | None,
        typer.Option(
            "--config-dir", help="Write configurations here that point `arbshard run` to the replay."
        ),
    ] = None,
    ready_file: ReadyFileOption = None,
    accounts_file: AccountsFileOption = None,
    duration: DurationOption = None,
) -> None:
    """Play a tape as both venues, with accounts, until its end or Ctrl-C. Nothing of it is a real market."""
    require_libraries("arbshard replay", "pyarrow")
    from arbshard.exchanges.recorded import ReplayPace
    from arbshard.replay.main import ReplayPlaces
    from arbshard.replay.main import replay as play
    from arbshard.replay.stretch import Stretch
    from arbshard.tape import TapeError
    from arbshard.tape.reading import Tape

    if not 0.001 <= speed <= 10_000:
        raise UsageError(f"--speed {speed:g}: must be from 0.001 to 10000")
    asked: dict[str, Any] = {**ports_of(ports or ()), "tls": tls}
    given = {name: value for name, value in asked.items() if value is not None}
    start_ns, end_ns = _instant("from", start), _instant("to", end)
    if start_ns is not None and end_ns is not None and start_ns >= end_ns:
        raise UsageError("--to: must be later than --from")
    try:
        stretch = Stretch(Tape(tape), start_ns, end_ns)
    except TapeError as error:
        raise UsageError(str(error)) from error
    play(
        stretch,
        config_of(None, config, others={"sim": given}).sim,
        ReplayPace(speed, loop, int(hole_max * 1e9)),
        ReplayPlaces(ready_file, config_dir, accounts_file),
        time_shown=clock,
        duration_s=duration,
    )


def _instant(option: str, text: str | None) -> int | None:
    """Return an instant as wall time in ns; None where the option was not given. Raises ``UsageError``."""
    return None if text is None else wall_ms_of(option, text) * 1_000_000
