"""Does what must be done before pairs are traded: finds the pairs, and live runs the checks of ``arbshard doctor``.

Venues take hundreds of milliseconds to send their lists, and the library of the private interfaces takes as long to
be imported. No beat and no frame may wait for that, so it is done in a thread with an event loop of its own.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from arbshard.config import Config
from arbshard.data.address_block import AddressBlock, CallRefused
from arbshard.data.listings import Listings, find_universe, read_listings
from arbshard.errors import UsageError, VenueUnavailable
from arbshard.log import get_logger
from arbshard.model.money import use_money_context
from arbshard.model.universe import Universe
from arbshard.venues.keys import Keys

if TYPE_CHECKING:
    from arbshard.doctor.checks import Check

Result = TypeVar("Result")


class FindUniverse(Protocol):
    """Finds what can be traded."""

    async def __call__(
        self, config: Config, names: Sequence[str], timeout_s: float, alert: Callable[[str], None], /
    ) -> Universe:
        """Return the pairs of these names; of the configuration when there are none. Raises ``ArbshardError``."""
        ...


class ReadListings(Protocol):
    """Finds what the venues list now."""

    async def __call__(
        self, config: Config, symbols: Mapping[str, Sequence[str]], timeout_s: float, /
    ) -> Listings:
        """Return the markets of both venues; ``symbols`` by venue are those that are traded. Raises
        ``ArbshardError``.
        """
        ...


class HeedingQuestions:
    """Asks venues what they list only while none of them refuses calls from this address, and lets the whole run
    know of an answer that refuses further ones.

    The venues are asked in a thread, and what a venue refuses is kept by objects of the loop.
    """

    def __init__(
        self, blocks: Mapping[str, AddressBlock], find_universe: FindUniverse, read_listings: ReadListings
    ) -> None:
        self._blocks = blocks
        self._find_universe = find_universe
        self._read_listings = read_listings

    async def find_universe(
        self, config: Config, names: Sequence[str], timeout_s: float, alert: Callable[[str], None]
    ) -> Universe:
        """Implements ``FindUniverse``."""
        with self._heeded():
            return await self._find_universe(config, names, timeout_s, alert)

    async def read_listings(
        self, config: Config, symbols: Mapping[str, Sequence[str]], timeout_s: float
    ) -> Listings:
        """Implements ``ReadListings``."""
        with self._heeded():
            return await self._read_listings(config, symbols, timeout_s)

    @contextmanager
    def _heeded(self) -> Iterator[None]:
        for block in self._blocks.values():
            block.check()
        try:
            yield
        except CallRefused as error:
            self._blocks[error.venue].learn(error.answer)
            raise


async def read_again(config: Config, symbols: Mapping[str, Sequence[str]], timeout_s: float) -> Listings:
    """Ask the venues in a thread, as ``ReadListings`` does."""
    try:
        return await run_in_thread(lambda: read_listings(config, symbols), timeout_s)
    except TimeoutError as error:
        raise VenueUnavailable(f"the venues did not answer within {timeout_s:g} s") from error


def finder(keys: Mapping[str, Keys]) -> FindUniverse:
    """Return a ``FindUniverse`` that asks the venues, and live checks first whether everything is fit for trading.

    ``keys``: those of all venues.
    """
    return partial(_find, keys)


async def _find(
    keys: Mapping[str, Keys],
    config: Config,
    names: Sequence[str],
    timeout_s: float,
    alert: Callable[[str], None],
) -> Universe:
    loop = asyncio.get_running_loop()

    async def find() -> Universe:
        universe = await find_universe(config, names, config.run.shards)
        if config.mode == "live":
            await run_preflight(config, universe, keys, lambda line: loop.call_soon_threadsafe(alert, line))
        return universe

    try:
        return await run_in_thread(find, timeout_s)
    except TimeoutError as error:
        raise VenueUnavailable(f"the venues did not answer within {timeout_s:g} s") from error


async def run_in_thread(work: Callable[[], Coroutine[Any, Any, Result]], timeout_s: float) -> Result:
    """Return the result of ``work``. Raises what it raises, and ``TimeoutError``."""

    def in_thread() -> Result:
        use_money_context()
        return asyncio.run(asyncio.wait_for(work(), timeout_s))

    return await asyncio.to_thread(in_thread)


async def run_preflight(
    config: Config, universe: Universe, keys: Mapping[str, Keys], alert: Callable[[str], object]
) -> None:
    """Raise ``UsageError`` when a check fails, or ``VenueUnavailable`` when all that fail may go because a venue only
    cannot answer now. In a dry run they are alerts instead. Warnings are logged.
    """
    from arbshard.doctor.checks import examine
    from arbshard.doctor.probing import gather_facts

    checks = examine(config, await gather_facts(config, universe, keys))
    for check in checks:
        if check.verdict == "warning":
            get_logger().warning("doctor", venue=check.venue, check=check.name, found=check.found)
    failed = [check for check in checks if check.verdict == "fail"]
    get_logger().info("doctor", checks=len(checks), failed=len(failed))
    if not failed:
        return
    if not config.live.dry_run:
        error = VenueUnavailable if all(check.may_pass for check in failed) else UsageError
        raise error(f"not fit to trade, see 'arbshard doctor': {'; '.join(map(_line, failed))}")
    for check in failed:
        alert(f"doctor: {_line(check)}")


def _line(check: "Check") -> str:
    advice = f" ({check.advice})" if check.advice else ""
    return f"{check.venue} {check.name}: {check.found}{advice}"
