"""What each client's script shares: where the exchanges are, and how a step is carried out and reported.

Runs in the environment of a client, so it imports nothing but the standard library.
"""

import asyncio
import inspect
import json
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

TIMEOUT_S = 45.0
"""Of one step: made trades come only so often."""


class Account(NamedTuple):
    """A venue's addresses, and the key of an account there."""

    ws_url: str
    rest_url: str
    key: str
    secret: str
    ed25519_key: str
    """PEM; the account's only key where it is not empty."""


def accounts() -> dict[str, Account]:
    """The venues, as the runner hands them over on standard input."""
    return {venue: Account(**given) for venue, given in json.loads(sys.stdin.read()).items()}


def report(step: str, error: str = "") -> None:
    """Tell the runner how a step went; without ``error`` it was well."""
    sys.stdout.write(json.dumps({"step": step, "error": error}) + "\n")
    sys.stdout.flush()


def check(condition: object, what: object = "") -> None:
    if not condition:
        raise AssertionError(f"not as expected: {str(what)[:300]}")


async def step(name: str, action: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> Any:
    """Carry out a step: a coroutine function, or a function that blocks, which gets a thread. None if it failed."""
    try:
        if inspect.iscoroutinefunction(action):
            found = await asyncio.wait_for(action(), timeout_s)
        else:
            found = await in_daemon(action, timeout_s)
            if inspect.isawaitable(found):
                found = await asyncio.wait_for(found, timeout_s)
    except Exception as error:  # noqa: BLE001 - whatever a client raises is the finding
        last = traceback.extract_tb(error.__traceback__)[-1]
        report(
            name, f"{type(error).__name__}: {error} ({last.filename.rsplit('/', 1)[-1]}:{last.lineno})"[:600]
        )
        return None
    report(name)
    return found if found is not None else True


async def in_daemon(action: Callable[[], Any], timeout_s: float) -> Any:
    """Call a function in a thread that does not keep the process alive when it hangs."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()

    def deliver(setter: Callable[[Any], None], value: Any) -> None:
        if not outcome.done():
            setter(value)

    def work() -> None:
        try:
            value = action()
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            loop.call_soon_threadsafe(deliver, outcome.set_exception, error)
        else:
            loop.call_soon_threadsafe(deliver, outcome.set_result, value)

    threading.Thread(target=work, daemon=True).start()
    return await asyncio.wait_for(outcome, timeout_s)


async def until(condition: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> Any:
    """Wait for a true value."""
    end_s = time.monotonic() + timeout_s
    while not (found := condition()):
        check(time.monotonic() < end_s, "nothing came in time")
        await asyncio.sleep(0.05)
    return found


def run(main: Callable[[dict[str, Account]], Awaitable[None]]) -> None:
    """Run a client's script."""
    given = accounts()
    asyncio.run(main(given))  # type: ignore[arg-type]
