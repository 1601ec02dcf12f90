"""Manages both embedded exchanges of one world: their ports, servers and clockwork start and stop together.

``main`` runs one instance per process; tests may run one in theirs.
"""

import asyncio
import secrets
import ssl
from contextlib import ExitStack
from pathlib import Path

from arbshard.clock import Clock
from arbshard.config import SimAccountsConfig, SimConfig
from arbshard.exchanges.accounts.account import seeded_accounts
from arbshard.exchanges.connection import WRITE_BUFFER_MAX
from arbshard.exchanges.counters import Counters
from arbshard.exchanges.faults.spells import Sequenced
from arbshard.exchanges.guard import Guard
from arbshard.exchanges.keeping import AccountsFile
from arbshard.exchanges.listening import authority, listen
from arbshard.exchanges.loop import run_world
from arbshard.exchanges.venues import Common, make_binance, make_upbit
from arbshard.exchanges.world import MarketWorld, SimWorld
from arbshard.secret import Secret

_NUMBERS_PER_MS = 1000
"""Orders and trades are numbered from the wall time of the start on, so that no later run repeats an id."""


class Exchanges:
    """Holds the two venues of one world, with a trading account on each."""

    def __init__(
        self,
        config: SimConfig,
        clock: Clock,
        write_buffer_max: int = WRITE_BUFFER_MAX,
        accounts: SimAccountsConfig | None = None,
        accounts_file: Path | None = None,
        world: MarketWorld | None = None,
    ) -> None:
        """Build the venues; without a ``world`` it is the simulated one of ``config``.

        ``accounts`` replaces those of ``config``. ``accounts_file`` keeps the accounts; those that are in it already
        are restored. Raises ``ConfigError`` for a key or a file that cannot be used.
        """
        self._config = config
        self._clock = clock
        self.counters = Counters()
        self.upbit_at = self.binance_at = ""
        """``host:port`` of each venue, once started."""
        self.upbit_tls_at = self.binance_tls_at = ""
        """``host:port`` of each venue with TLS; empty without it."""
        self._world = world = world or SimWorld(config)
        world.open(clock.wall_ms())
        first_number = clock.wall_ms() * _NUMBERS_PER_MS
        self.token = Secret(secrets.token_urlsafe(24))
        """Needed to switch faults and to read the accounts' books; a new one is made at each start."""
        guard = Guard(self.token, exposed=config.expose)
        common = Common(world, config, clock, self.counters, first_number)
        at_upbit, at_binance = seeded_accounts(accounts or config.accounts, world.upbit, world.binance)
        self._venues = {
            "upbit": make_upbit(common, at_upbit, guard, write_buffer_max),
            "binance": make_binance(common, at_binance, guard, write_buffer_max),
        }
        self._kept = AccountsFile(accounts_file) if accounts_file is not None else None
        if self._kept is not None:
            for (name, venue), accounts_there in zip(
                self._venues.items(), (at_upbit, at_binance), strict=True
            ):
                for account in accounts_there:
                    self._kept.keep(name, account, venue.matcher)
        self.clockwork: asyncio.Task[None] | None = None
        """Runs until ``stop``; when it ends earlier, something broke."""

    def addresses(self, *, tls: bool = False) -> dict[str, tuple[str, str]]:
        """Return (WebSocket address, REST address) of each venue, once started; with ``tls`` those of the
        TLS ports.
        """
        s = "s" if tls else ""
        upbit, binance = (self.upbit_tls_at, self.binance_tls_at) if tls else (self.upbit_at, self.binance_at)
        return {
            "upbit": (f"ws{s}://{upbit}/websocket/v1", f"http{s}://{upbit}"),
            "binance": (f"ws{s}://{binance}", f"http{s}://{binance}"),
        }

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Open the ports, with ``tls`` two more, and start the world.

        Raises ``ConfigError`` for a port or host that cannot be used.
        """
        config = self._config
        wanted = [("upbit_port", config.upbit_port), ("binance_port", config.binance_port)]
        if tls is not None:
            wanted += [
                ("upbit_tls_port", config.upbit_tls_port),
                ("binance_tls_port", config.binance_tls_port),
            ]
        with ExitStack() as opened:
            listeners = [
                opened.enter_context(listen(f"sim.{name}", config.host, port)) for name, port in wanted
            ]
            opened.pop_all()  # all ports are open: from here on the servers close them
        upbit, binance = listeners[:2]
        self.upbit_at, self.binance_at = authority(upbit), authority(binance)
        upbit_server, binance_server = (venue.server for venue in self._venues.values())
        if tls is None:
            await upbit_server.start(upbit)
            await binance_server.start(binance)
        else:
            self.upbit_tls_at, self.binance_tls_at = map(authority, listeners[2:])
            await upbit_server.start(upbit, (listeners[2], tls))
            await binance_server.start(binance, (listeners[3], tls))
        feeds = {name: venue.feeds for name, venue in self._venues.items()}
        hubs = {name: venue.hub for name, venue in self._venues.items()}
        desks = {name: venue.on_step for name, venue in self._venues.items()}
        self.clockwork = asyncio.create_task(
            run_world(self._world, feeds, hubs, self._clock, self.counters, desks)
        )

    @property
    def is_over(self) -> bool:
        """Return whether no market of the world will move any more."""
        return self._world.is_over

    def cut(self, venue: str, symbols: frozenset[str], *, clean: bool) -> None:
        """End the clients' connections that carry one of these markets of ``venue``."""
        self._venues[venue].server.cut(symbols, "connection lost", clean=clean)

    def lose_changes(self, venue: str, symbols: frozenset[str]) -> None:
        """Lose the next change of these markets of ``venue``, where changes are numbered."""
        for symbol in symbols:
            feed: object = self._venues[venue].feeds.get(symbol)
            if isinstance(feed, Sequenced):
                feed.lose_event()

    def on_time(self) -> None:
        """Pass the time to every session, and begin and end faults; call it a few times a second.

        Raises ``RunFailed`` when an account could not be saved.
        """
        if self._kept is not None and self._kept.failure is not None:
            raise self._kept.failure
        now_ns = self._clock.monotonic_ns()
        for venue in self._venues.values():
            venue.server.on_time(now_ns)

    async def stop(self) -> None:
        """Disconnect all clients, close the ports and stop the world. Raises what broke the clockwork, if anything
        did.
        """
        await asyncio.gather(*(venue.server.stop() for venue in self._venues.values()))
        if self.clockwork is not None:
            self.clockwork.cancel()
            try:
                await self.clockwork
            except asyncio.CancelledError:
                return
            finally:
                self._close_file()
        else:
            self._close_file()

    def _close_file(self) -> None:
        if self._kept is not None:
            self._kept.close()
