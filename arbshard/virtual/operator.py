"""Simulates a person at the desk: it halts, resumes, closes and sets limits on virtual time, as the command line
does.
"""

import asyncio
from collections.abc import Callable, Iterable
from decimal import Decimal
from random import Random

from arbshard.errors import TransportError
from arbshard.model.intent import HaltLevel
from arbshard.model.universe import Universe
from arbshard.virtual.loop import VirtualLoop
from arbshard.virtual.network import Port, VirtualClient
from arbshard.virtual.trace import Trace
from arbshard.wire.messages import (
    Close,
    Command,
    Halt,
    Limits,
    Resume,
    SetLimits,
    ShowLimits,
    ShowPositions,
    decode_command_reply,
    encode,
)
from arbshard.wire.reconciliation import AcceptDifference

_TIMEOUT_MS = 2000
_TRIES = 3
_AGAIN_S = 1.0
_NEAR = 8
"""Distance of a limit from an entry's cost in hundredths of a percent: the two sides of the FX rate are
seven apart.
"""
_STOP_SHARE = 0.3
"""Share of the halts that stop exits too."""
_LIMITS = {
    "symbol_notional_max": ("0", "600000", "1500000", ""),
    "order_notional_max": ("300000", "900000", ""),
    "portfolio_notional_max": ("900000", "2000000", ""),
}


class Operator:
    """Sends random commands, and restores the configured state when asked to."""

    def __init__(
        self,
        loop: VirtualLoop,
        port: Port,
        universe: Universe,
        trace: Trace,
        last_cost: Callable[[str], Decimal | None],
    ) -> None:
        """Make an operator.

        ``last_cost`` returns the largest possible cost of a pair's last entry: a limit close to it is reached by the
        next entry.
        """
        self._last_cost = last_cost
        self._client = VirtualClient(port, "operator", _TIMEOUT_MS, _TRIES)
        self._loop = loop
        self._bases = tuple(pair.base for pair in universe.pairs)
        self._trace = trace
        self._tasks: dict[asyncio.Task[str], None] = {}

    def send_random(self, random: Random) -> str:
        """Send a random command to risk. Returns it as text."""
        command = self._draw(random)
        task = asyncio.ensure_future(self.send(command))
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return repr(command)

    async def send(self, command: Command) -> str:
        """Send ``command`` to risk. Returns the type of the reply, or an empty text when there was none."""
        try:
            answer = decode_command_reply(await self._client.request(encode(command)))
        except TransportError as error:
            self._trace.note("operator", f"no answer: {error}")
            return ""
        self._trace.note("operator", repr(answer)[:200])
        return type(answer).__name__

    async def set_right(self) -> None:
        """Allow entries again, under the configured limits. Repeats each command until risk has accepted it."""
        commands: list[Command] = [Resume("all is well"), *self._resets()]
        for command in commands:
            while not await self.send(command):  # noqa: ASYNC110 - it is asked again, not waited for
                await asyncio.sleep(_AGAIN_S)

    async def reset_limits(self) -> None:
        """Restore the configured limits, unless risk cannot be reached."""
        for command in self._resets():
            await self.send(command)

    def _resets(self) -> list[SetLimits]:
        own = (("symbol_notional_max", ""), ("order_notional_max", ""))
        return [
            SetLimits(tuple((key, "") for key in _LIMITS)),
            *(SetLimits(own, base) for base in self._bases),
        ]

    async def resume_if_halted(self) -> None:
        """Resume trading if risk reports that it is halted, as a person does who checks it now and then."""
        try:
            answer = decode_command_reply(await self._client.request(encode(ShowLimits())))
        except TransportError:
            return
        if isinstance(answer, Limits) and answer.halted:
            await self.send(Resume(f"looked at: {answer.halted}"))

    async def release(self, pairs: Iterable[str]) -> None:
        """Close these pairs, which were set apart, and then let them trade again."""
        for pair in tuple(pairs):
            await self.send(Close((pair,)))
            await self.send(Resume("looked at", (pair,)))

    async def accept(self, accounts: Iterable[tuple[str, str]]) -> None:
        """Accept these differences of venue and ledger."""
        for venue, currency in tuple(accounts):
            await self.send(AcceptDifference(venue, currency, "looked at"))

    def _draw(self, random: Random) -> Command:
        match random.randrange(8):
            case 0:
                level: HaltLevel = "stopped" if random.random() < _STOP_SHARE else "reduce_only"
                return Halt("a whim", flatten=random.random() < 0.5, level=level)
            case 1:
                return Resume("a change of mind")
            case 2:
                return Close(tuple(base for base in self._bases if random.random() < 0.4))
            case 3 | 4:
                key = random.choice(tuple(_LIMITS))
                symbol = random.choice(("", *self._bases)) if key != "portfolio_notional_max" else ""
                return SetLimits(((key, random.choice(_LIMITS[key])),), symbol)
            case 5 | 6:
                return self._just_there(random)
            case _:
                return ShowPositions()

    def _just_there(self, random: Random) -> Command:
        """Return a limit so close to the cost of entries that a few hundredths of a percent decide."""
        base = random.choice(self._bases)
        cost = self._last_cost(base)
        if cost is None:
            return ShowPositions()
        limit = cost * (1 + Decimal(random.randint(-_NEAR, _NEAR)) / 10_000)
        return SetLimits((("order_notional_max", f"{limit:.0f}"),), base)
