"""Defines ``arbshard web``, which serves the desk in the browser for instances that run already."""

from functools import partial
from typing import Annotated

import typer

from arbshard.cli.options import ConfigOption, StateOption, config_of, state_dir_of


def web(
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name", help="An instance to show; may be given several times. Default: all that run."
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option("--host", help="Listen here; default: web.host of the configuration, 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="0: any free port; default: web.port.")
    ] = None,
    state_dir: StateOption = None,
    config: ConfigOption = None,
) -> None:
    """Show instances in a browser, and let operators halt, resume, close and more, until it is stopped.

    Example: arbshard web --name desk --name band. Exit code: 0, or 2 for an address or a token that cannot be used.
    """
    import asyncio
    import signal
    import threading

    import msgspec

    from arbshard.clock import SystemClock
    from arbshard.model.money import use_money_context
    from arbshard.web.reading import DeskReader
    from arbshard.web.serving import DeskServer
    from arbshard.web.setup import open_desk
    from supervisor.places import find_run_dir

    use_money_context()
    names = list(dict.fromkeys(name or _running() or [config_of(None, config).name]))
    settings = config_of(names[0], config, state_dir).web
    changes = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    address = open_desk(
        msgspec.structs.replace(settings, **changes), state_dir_of(names[0], config, state_dir)
    )
    clock, stop = SystemClock(), threading.Event()
    readers = [DeskReader(one, partial(find_run_dir, one), clock) for one in names]
    typer.echo(f"{', '.join(names)}: {address.sentence()}")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    asyncio.run(DeskServer(readers, address, clock).serve(stop.is_set))


def _running() -> list[str]:
    """Return the names of all instances of this user that run."""
    from supervisor.places import running_pid, usable_roots

    found = [path.name for root in usable_roots() if root.path.is_dir() for path in root.path.iterdir()]
    return sorted(name for name in found if not name.startswith(".") and running_pid(name) is not None)
