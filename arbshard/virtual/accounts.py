"""Implements the accounts process as a virtual process: the real ``accounts.assembly`` with virtual ports."""

from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

from arbshard.accounts.assembly import RISK_TIMEOUT_MS, RISK_TRIES, AccountsPorts, AccountsProcess
from arbshard.accounts.counters import HISTOGRAMS, counters
from arbshard.accounts.markets import MarketTables
from arbshard.config import Config
from arbshard.data.clients import HttpVenueClient, over_socket
from arbshard.data.stream import Opener
from arbshard.execution.live.connecting import ORDERS_SHARE, in_turn
from arbshard.model.rundir import RunFiles
from arbshard.shm.books import BooksReader
from arbshard.shm.budget import Budget
from arbshard.shm.pages import PageWriter
from arbshard.shm.universe import UniverseFile
from arbshard.venues.base.client import VenueClient
from arbshard.venues.keys import Keys
from arbshard.venues.registry import get_adapter, rate_windows
from arbshard.virtual.clock import VirtualClock
from arbshard.virtual.loop import VirtualProcess
from arbshard.virtual.network import Port, VirtualClient
from arbshard.virtual.order_events import EventBus
from arbshard.virtual.settings import TAG
from arbshard.virtual.trading import TradingVenue, VirtualHttp
from arbshard.wire import order_events
from arbshard.worker.live import LivePorts

_BEAT_S = 0.33


class LiveWorld(NamedTuple):
    """Holds what processes need for live orders: the venues with our accounts, and the bus of order events."""

    config: Config
    clock: VirtualClock
    venues: Mapping[str, TradingVenue]
    bus: EventBus
    opener: Opener
    order_opener: Opener
    """Opens connections for orders."""

    def keys(self) -> dict[str, Keys]:
        """Return the API keys of the simulated accounts, by venue."""
        return {name: Keys(name, *self.config.sim.accounts.key_of(name)) for name in self.venues}

    def clients(self, process: VirtualProcess) -> dict[str, HttpVenueClient]:
        """Return a client for each venue, by name, that calls it from ``process``."""
        live, keys = self.config.live, self.keys()
        return {
            name: HttpVenueClient(
                name,
                self.config.venues.get(name).rest_url,
                signing,
                keys[name],
                VirtualHttp(venue, process, live.order_timeout_s),
                self.clock,
                live.recv_window_ms,
            )
            for name, venue in self.venues.items()
            if (signing := get_adapter(name).signing) is not None
        }

    def worker_ports(self, process: VirtualProcess, files: RunFiles, shard: int) -> LivePorts:
        """Return what the worker of ``shard`` needs for live orders."""
        budget = Budget.open(files.dir, f"worker-{shard}", rate_windows())
        keys = self.keys()
        clients: dict[str, VenueClient] = {
            name: over_socket(
                client,
                self.config,
                keys[name],
                self.clock,
                in_turn(self.order_opener, name, budget, self.clock, ORDERS_SHARE),
                f"worker-{shard}",
            )
            for name, client in self.clients(process).items()
        }
        return LivePorts(clients, self.bus.subscriber(process, order_events.topic(shard)), budget)


class VirtualAccounts:
    """Executes one incarnation of the accounts process."""

    def __init__(
        self,
        live: LiveWorld,
        files: RunFiles,
        port: Port,
        process: VirtualProcess,
        supervisor: VirtualProcess,
    ) -> None:
        self._live = live
        self._files = files
        self._port = port
        self.process = process
        self._supervisor = supervisor

    async def run(self) -> int:
        """Run until the process ends by itself or is asked to stop. Returns the exit code."""
        files, live, process = self._files, self._live, self.process
        with (
            BooksReader.attach(files.books) as books,
            PageWriter.create(files.accounts_page, counters(), HISTOGRAMS, 0) as page,
            closing(Budget.open(files.dir, "accounts", rate_windows())) as budget,
            closing(VirtualClient(self._port, process.name, RISK_TIMEOUT_MS, RISK_TRIES)) as risk,
        ):
            running = AccountsProcess(
                AccountsPorts(
                    config=live.config,
                    keys=live.keys(),
                    tag=TAG,
                    pid=process.pid,
                    page=page,
                    markets=MarketTables(UniverseFile(books, files.universe)),
                    publisher=live.bus.publisher(),
                    risk=risk,
                    budget=budget,
                    clients=live.clients(process),
                    opener=live.opener,
                    clock=live.clock,
                    is_orphan=lambda: not self._supervisor.alive,
                    beat_s=_BEAT_S,
                )
            )
            return await running.run()
