"""The configuration is a TOML file, checked once and frozen. Each family of sections has a file; ``file`` reads and
checks.

An empty file is a valid one: the embedded exchanges, on paper.
"""

from arbshard.config.alerts import AlertLevel, AlertLevels, AlertsConfig, TelegramConfig
from arbshard.config.contradictions import find_remarks
from arbshard.config.execution import ExecutionConfig, PaperConfig
from arbshard.config.file import change_limits, decode_recorded, find_config, load_config, packaged_configs
from arbshard.config.inventory import InventoryConfig
from arbshard.config.limits import LimitsConfig, zone_of
from arbshard.config.live import LiveConfig
from arbshard.config.root import Config, without_secrets
from arbshard.config.run import RunConfig
from arbshard.config.sampling import SamplingConfig
from arbshard.config.sim import REGIMES, FaultsConfig, Regime, SimAccountsConfig, SimConfig, SimPermissions
from arbshard.config.strategy import (
    BaselineConfig,
    DataConfig,
    FxConfig,
    SeriesConfig,
    SizingConfig,
    StrategyConfig,
)
from arbshard.config.symbols import SymbolsConfig
from arbshard.config.venues import VenueConfig, VenuesConfig
from arbshard.config.warnings import WarningRule, WarningsConfig

__all__ = [
    "REGIMES",
    "AlertLevel",
    "AlertLevels",
    "AlertsConfig",
    "BaselineConfig",
    "Config",
    "DataConfig",
    "ExecutionConfig",
    "FaultsConfig",
    "FxConfig",
    "InventoryConfig",
    "LimitsConfig",
    "LiveConfig",
    "PaperConfig",
    "Regime",
    "RunConfig",
    "SamplingConfig",
    "SeriesConfig",
    "SimAccountsConfig",
    "SimConfig",
    "SimPermissions",
    "SizingConfig",
    "StrategyConfig",
    "SymbolsConfig",
    "TelegramConfig",
    "VenueConfig",
    "VenuesConfig",
    "WarningRule",
    "WarningsConfig",
    "change_limits",
    "decode_recorded",
    "find_config",
    "find_remarks",
    "load_config",
    "packaged_configs",
    "without_secrets",
    "zone_of",
]
