"""Defines the settings of a simulation, and the configuration of the system in it."""

from base64 import b64encode
from decimal import Decimal
from importlib.util import find_spec
from random import Random
from typing import Literal, NamedTuple

from msgspec.structs import replace

from arbshard.config import Config
from arbshard.config.sim import Fault, PartialFillFault, Regime, RejectFault
from arbshard.exchanges.embedded import listing_of
from arbshard.exchanges.world import SimWorld
from arbshard.model.market import FeeSchedule
from arbshard.model.universe import Universe
from arbshard.sharding import split
from arbshard.venues.base.market import ListedMarket
from arbshard.venues.listing import fx_leg, pairs_of
from arbshard.venues.registry import AWAY, HOME, TRADED, get_venue
from arbshard.virtual.clock import WALL_START_MS
from arbshard.virtual.rates import FaultLevel

SEED_MAX = 2**31 - 1
SAMPLE_S = 5.0
TAG = "virtu"
"""Tag of the ledger: the names of our orders at the venues begin with it."""
_WEBSOCKETS = {"upbit": "wss://upbit.virtual/websocket/v1", "binance": "wss://binance.virtual"}


Mode = Literal["paper", "live", "mixed"]
"""Destination of orders. ``mixed``: the seed determines whether they are live."""
_LIVE_SHARE = 0.5
"""Share of the seeds with live orders in the mode ``mixed``."""
ROUNDED = Decimal("0.00001")
"""Largest difference, in any currency, that the digits of printed amounts cause."""
_POOR_SHARE = 0.3
"""Share of the seeds in which money is short."""
_POOR_KRW = Decimal(250_000)
"""Money for each pair on either venue in KRW where money is short."""
_REST_SHARE = 0.25
"""Share of the seeds in which orders go to Binance by REST instead of over its WebSocket API."""
_LOGON_SHARE = 0.5
"""Share of the seeds in which Binance's key is an Ed25519 key, which logs connections on; in all others calls are
signed.
"""
_ED25519_PRIVATE = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
_ED25519_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
"""The first key pair of the test vectors in RFC 8032; it opens nothing."""
_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")
"""What precedes the 32 bytes of a private Ed25519 key in a PEM file."""
_ROUNDED_SHARE = 0.7
"""Share of the seeds in which Upbit prints balances and private figures in the digits that it shows."""


class Settings(NamedTuple):
    """Describes one simulation."""

    seed: int
    hours: float = 12.0
    """Virtual hours with faults; a time without faults and the closing of positions follow."""
    pairs: int = 4
    shards: int = 2
    updates: float = 0.8
    """Frames per market and second."""
    faults: FaultLevel = "usual"
    only: tuple[str, ...] = ()
    """Kinds of faults; empty for all."""
    regime: Regime = "mixed"
    mode: Mode = "paper"

    @property
    def is_live(self) -> bool:
        """Return whether this very run has live orders."""
        if self.mode == "mixed":
            return Random(f"{self.seed}:mode").random() < _LIVE_SHARE
        return self.mode == "live"

    @property
    def is_poor(self) -> bool:
        """Return whether there is money for little more than one position of each pair."""
        return Random(f"{self.seed}:money").random() < _POOR_SHARE

    @property
    def is_rounded(self) -> bool:
        """Return whether Upbit cuts its balances to 8 decimals and prints private figures as doubles."""
        return self.is_live and Random(f"{self.seed}:digits").random() < _ROUNDED_SHARE

    @property
    def order_api(self) -> Literal["rest", "ws"]:
        """Return how live orders go to Binance."""
        return "rest" if Random(f"{self.seed}:order api").random() < _REST_SHARE else "ws"

    @property
    def logs_on(self) -> bool:
        """Return whether Binance's key is an Ed25519 key. Without the package cryptography it never is."""
        drawn = Random(f"{self.seed}:logon").random() < _LOGON_SHARE
        return self.is_live and drawn and find_spec("cryptography") is not None

    def command(self) -> str:
        """Return the command that repeats this run."""
        parts = [
            f"arbshard simulate --seed {self.seed} --hours {self.hours:g} --pairs {self.pairs}",
            f"--shards {self.shards} --updates {self.updates:g} --faults {self.faults} --regime {self.regime}",
            f"--mode {'live' if self.is_live else 'paper'}",
        ]
        if self.only:
            parts.append(f"--only {','.join(self.only)}")
        return " ".join(parts)


def config_of(settings: Settings) -> Config:
    """Return the usual configuration, but with limits so narrow that they are reached.

    How the venues treat orders is drawn from the seed: shallow books make partial fills on both legs, refusals make
    hedges, and two positions a pair make exits that are not the only ones.
    """
    base = Config()
    draw = Random(f"{settings.seed}:venues")
    paper = replace(
        base.paper,
        seed=settings.seed,
        depth_share=round(draw.uniform(0.25, 0.8), 3),
        reject_share=round(draw.choice((0.002, 0.01, 0.03)), 3),
        latency_ms=round(draw.uniform(15.0, 90.0), 1),
        unknown_share=Random(f"{settings.seed}:unknown").choice((0.0, 0.001, 0.02)),
        refusals_per_day=0.0,  # faults of kind market_refuses replace these
        late_fill_share=0.0,  # and faults of kind late_fills replace these
    )
    faults = replace(
        base.sim.faults,
        seed=settings.seed,
        partial_fill=PartialFillFault(
            share=round(Random(f"{settings.seed}:live").uniform(0.1, 0.5), 3), fill_share=paper.depth_share
        ),
        reject=RejectFault(share=paper.reject_share),
        rounded_statement=Fault(share=float(settings.is_rounded)),
        figures_as_doubles=Fault(share=float(settings.is_rounded)),
    )
    key = {}
    if settings.logs_on:
        pem = b64encode(_PKCS8 + _ED25519_PRIVATE).decode()
        key = {
            "binance_secret": f"-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----",
            "binance_ed25519_public": b64encode(_ED25519_PUBLIC).decode(),
        }
    money = {}
    if settings.is_poor:
        quote = _POOR_KRW * settings.pairs
        money = {"quote_home": quote, "quote_away": quote // 1_450}
    return replace(
        base,
        name="virtual",
        mode="live" if settings.is_live else "paper",
        data="public",  # for the system they are venues like any others: they outlive a run
        # Idle calls are less frequent, as idle timers are.
        live=replace(
            base.live,
            dry_run=not settings.is_live,
            reconcile_every_s=10.0,
            warm_every_s=60.0,
        ),
        run=replace(base.run, shards=settings.shards, stop_timeout_s=60.0),
        venues=replace(
            base.venues,
            **{
                name: replace(
                    base.venues.get(name),
                    ws_url=_WEBSOCKETS[name],
                    rest_url=f"https://{name}.virtual",
                    depth=5,
                    order_api=settings.order_api if name == AWAY else "rest",
                )
                for name in TRADED
            },
        ),
        # Correlations cost more than all else that risk does by itself, so they are reported once in five seconds.
        series=replace(base.series, sample_ms=SAMPLE_S * 1000, window=60),
        # Pauses are short, and failed exits set no pair apart; otherwise too little would be traded to test the
        # system.
        strategy=replace(
            base.strategy, rearm_pause_s=5.0, rearm_pause_max_s=20.0, rearm_bps=30.0, no_reversion_exits=0
        ),
        # In the regime "crash" all coins of one venue move together, which is no reason here to stop trading.
        fx=replace(base.fx, departure_bps_max=150.0, quiet_s=5.0),
        baseline=replace(
            base.baseline, is_required=False
        ),  # its samples are too far apart to see gaps return
        limits=replace(
            base.limits,
            portfolio_notional_max=Decimal(650_000) * settings.pairs,
            symbol_positions_max=draw.choice((1, 1, 2)),
        ),
        paper=replace(paper, **money),
        ledger=replace(base.ledger, archive_events=0),  # the virtual ledger is never archived
        sim=replace(
            base.sim,
            seed=settings.seed,
            regime=settings.regime,
            coins=settings.pairs,
            updates_per_s=settings.updates,
            depth=5,
            accounts=replace(base.sim.accounts, **money, **key),
            faults=faults,
        ),
    )


def universe_of(world: SimWorld, config: Config) -> Universe:
    """Return all coins of ``world`` as both venues list them, in shards."""
    at_home, at_away = _listing(world, HOME), _listing(world, AWAY)
    home_fees = _fees(config, HOME)
    pairs = pairs_of(at_home, at_away, home_fees, _fees(config, AWAY))
    if config.run.symbols:
        pairs = [pair for pair in pairs if any(pair.answers_to(name) for name in config.run.symbols)]
    shards = split([pair.base for pair in pairs], config.run.shards)
    return Universe(fx_leg(at_home, home_fees), tuple(pairs), shards)


def _fees(config: Config, name: str) -> FeeSchedule:
    venue = config.venues.get(name)
    return get_venue(name).fee_schedule(venue.buy_fee_bps, venue.sell_fee_bps)


def _listing(world: SimWorld, name: str) -> dict[str, ListedMarket]:
    venue = get_venue(name)
    bodies = [
        listing_of(name, world, path, number, WALL_START_MS).body
        for number, path in enumerate(venue.listing_paths())
    ]
    return venue.listing(bodies)
