"""``Config`` is the whole file, frozen. Every setting has its default, so an empty file is a valid one."""

from typing import Annotated, Literal

import msgspec

from arbshard.config.alerts import AlertsConfig
from arbshard.config.cluster import ClusterConfig
from arbshard.config.execution import ExecutionConfig, PaperConfig
from arbshard.config.inventory import InventoryConfig
from arbshard.config.ledger import LedgerConfig
from arbshard.config.limits import LimitsConfig
from arbshard.config.live import LiveConfig
from arbshard.config.metrics import MetricsConfig
from arbshard.config.run import RunConfig
from arbshard.config.sampling import SamplingConfig
from arbshard.config.section import Section, matching
from arbshard.config.sim import SimConfig
from arbshard.config.strategy import (
    BaselineConfig,
    DataConfig,
    FxConfig,
    SeriesConfig,
    SizingConfig,
    StrategyConfig,
)
from arbshard.config.symbols import SymbolsConfig
from arbshard.config.venues import VenuesConfig
from arbshard.config.warnings import WarningsConfig
from arbshard.config.web import WebConfig

Name = Annotated[
    str,
    matching(
        r"^[a-z0-9][a-z0-9_-]{0,31}\Z",
        "must be 1 to 32 characters of a-z, 0-9, '_' and '-', the first one a letter or a digit",
    ),
]


class Config(Section, frozen=True):
    """Is the whole file."""

    name: Name = "sim"
    """The name separates instances: each has its own run directory, state directory and ledger."""
    mode: Literal["paper", "live"] = "paper"
    """``paper``: orders reach no venue. ``live``: orders reach the venues' accounts, if ``live.dry_run`` is off."""
    data: Literal["sim", "public"] = "sim"
    """``sim``: the embedded simulated exchanges and their accounts. ``public``: the real ones."""
    data_source: Literal["ws", "rest"] = "ws"
    """Source of books: ``ws``, streams, with REST while one is down; ``rest``, by asking only."""
    reporting: Literal["KRW"] = "KRW"
    state_dir: str = ""
    """Directory of ledger and logs; empty for ``$XDG_STATE_HOME/arbshard``."""
    run: RunConfig = msgspec.field(default_factory=RunConfig)
    venues: VenuesConfig = msgspec.field(default_factory=VenuesConfig)
    data_quality: DataConfig = msgspec.field(default_factory=DataConfig)
    strategy: StrategyConfig = msgspec.field(default_factory=StrategyConfig)
    series: SeriesConfig = msgspec.field(default_factory=SeriesConfig)
    baseline: BaselineConfig = msgspec.field(default_factory=BaselineConfig)
    fx: FxConfig = msgspec.field(default_factory=FxConfig)
    sizing: SizingConfig = msgspec.field(default_factory=SizingConfig)
    limits: LimitsConfig = msgspec.field(default_factory=LimitsConfig)
    symbols: SymbolsConfig = msgspec.field(default_factory=SymbolsConfig)
    warnings: WarningsConfig = msgspec.field(default_factory=WarningsConfig)
    execution: ExecutionConfig = msgspec.field(default_factory=ExecutionConfig)
    paper: PaperConfig = msgspec.field(default_factory=PaperConfig)
    ledger: LedgerConfig = msgspec.field(default_factory=LedgerConfig)
    inventory: InventoryConfig = msgspec.field(default_factory=InventoryConfig)
    sampling: SamplingConfig = msgspec.field(default_factory=SamplingConfig)
    metrics: MetricsConfig = msgspec.field(default_factory=MetricsConfig)
    alerts: AlertsConfig = msgspec.field(default_factory=AlertsConfig)
    web: WebConfig = msgspec.field(default_factory=WebConfig)
    live: LiveConfig = msgspec.field(default_factory=LiveConfig)
    sim: SimConfig = msgspec.field(default_factory=SimConfig)

    cluster: ClusterConfig | None = None
    """The other hosts of this run; None for a run on one host. ``arbshard run --cluster`` reads it from its file."""

    @property
    def regime(self) -> str:
        """Return the regime of the simulated exchanges; empty for real ones."""
        return self.sim.regime if self.data == "sim" else ""


def without_secrets(config: Config) -> Config:
    """Return ``config`` without the keys of the simulated accounts, as it may be written to the run directory."""
    sim = msgspec.structs.replace(config.sim, accounts=config.sim.accounts.without_secrets())
    return msgspec.structs.replace(config, sim=sim)
