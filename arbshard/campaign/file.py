"""Loads the file of a campaign: TOML, checked once, immutable. Every error names the file and the key.

The table ``[config]`` contains what a configuration file contains. The rest says how long and how often to run, what
the monitor watches for, and what passes.
"""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

import arbshard
from arbshard.config import Config, load_config
from arbshard.config.run import SHARDS_MAX
from arbshard.config.section import NotNegative, Positive, Section, Share, explain, matching
from arbshard.errors import ConfigError, UsageError
from arbshard.model.verdict import Severity

RuleSeverity = Severity | Literal["off"]
CAMPAIGNS = Path("configs/campaigns")
"""Where the campaigns of the project are, below the project's folder or the current one."""
_INSTALLED = Path(sys.prefix, "share", "arbshard", "campaigns")
"""Where they are after the installation of a wheel."""


class NoEntryRule(Section, frozen=True):
    """Applies when nothing was entered although there were edges."""

    severity: RuleSeverity = "warn"
    after_s: Positive = 300.0


class NoEdgeRule(Section, frozen=True):
    """Applies when nothing was entered and no edge was seen."""

    severity: RuleSeverity = "note"
    after_s: Positive = 300.0


class BlockedRule(Section, frozen=True):
    """Applies when one limit or guard refuses all the time (its count grew in each tenth of it), or entries are
    halted.
    """

    severity: RuleSeverity = "warn"
    after_s: Positive = 180.0
    ordinary: tuple[str, ...] = (
        "SYMBOL_POSITIONS",
        "SYMBOL_TRADES",
        "PAIR_BUSY",
        "ROUND_TRIP_COST",
        "SPREAD_USUAL",
        "BASELINE_UNKNOWN",
        "REVERTS_TOO_SLOWLY",
        "NOT_REARMED",
        "MARKET_WARNED",
        "WALLET_CLOSED",
    )
    """Refusals that are usual. The last five are about the gap or the market of one pair, and can last for hours.
    When they keep everything from trading, ``no_entry`` and the verdict report it.
    """


class ErrorsRule(Section, frozen=True):
    """Applies when a log has a line of level ERROR or above, or a traceback."""

    severity: RuleSeverity = "stop"


class StaleMarketRule(Section, frozen=True):
    """Applies when the oldest live book of a venue has been too old for this time."""

    severity: RuleSeverity = "warn"
    age_ms: Positive = 10_000.0
    after_s: NotNegative = 10.0


class SilentMarketRule(Section, frozen=True):
    """Applies when a venue is not connected as it should be, or sends nothing, for this time."""

    severity: RuleSeverity = "warn"
    after_s: NotNegative = 10.0


class RestartRule(Section, frozen=True):
    """Applies when a process of the run was restarted."""

    severity: RuleSeverity = "stop"


class OldPositionRule(Section, frozen=True):
    """Applies when a position is open for longer than ``strategy.max_hold_s`` and the margin."""

    severity: RuleSeverity = "warn"
    margin_s: NotNegative = 60.0


class NakedRule(Section, frozen=True):
    """Applies when more than this is bought on one venue and not sold on the other, for this time."""

    severity: RuleSeverity = "stop"
    notional: NotNegative = 0.0
    after_s: NotNegative = 15.0


class UnknownOrderRule(Section, frozen=True):
    """Applies when the outcome of an order is unknown for this time, or an open order belongs to no intent."""

    severity: RuleSeverity = "warn"
    after_s: NotNegative = 30.0


class DifferenceRule(Section, frozen=True):
    """Applies when venue and ledger state different amounts."""

    severity: RuleSeverity = "stop"


class GrowthRule(Section, frozen=True):
    """Applies when memory in MB, or descriptors, grow by more than this per hour, and by so much in all."""

    severity: RuleSeverity = "warn"
    per_hour: Positive = 60.0
    rise: NotNegative = 30.0
    after_s: Positive = 900.0
    """Seconds that the samples of the fit must cover."""
    warm_up_s: NotNegative = 120.0
    """Samples of these first seconds are left out, because caches and windows fill then."""


class LatencyRule(Section, frozen=True):
    """Compares receive to decision, p99: the median of the last tenth of the time with that of the first tenth."""

    severity: RuleSeverity = "warn"
    factor: Annotated[float, Meta(ge=1, lt=1e6)] = 3.0
    rise_us: NotNegative = 500.0
    after_s: Positive = 600.0


class DiskRule(Section, frozen=True):
    """Applies when the state directory's disk has less than this free, or will have before the end at the fitted
    rate.
    """

    severity: RuleSeverity = "stop"
    free_mb: Positive = 300.0
    after_s: Positive = 300.0


class IdentityRule(Section, frozen=True):
    """Applies when the accounting contradicts itself. Nothing is run again after that, so its severity is fixed."""

    severity: Literal["stop"] = "stop"


class RulesConfig(Section, frozen=True):
    """Holds every rule of the monitor. The name of a rule is the name of its field."""

    no_entry: NoEntryRule = NoEntryRule()
    no_edge: NoEdgeRule = NoEdgeRule()
    blocked: BlockedRule = BlockedRule()
    errors: ErrorsRule = ErrorsRule()
    stale_market: StaleMarketRule = StaleMarketRule()
    silent_market: SilentMarketRule = SilentMarketRule()
    restart: RestartRule = RestartRule()
    old_position: OldPositionRule = OldPositionRule()
    naked: NakedRule = NakedRule()
    unknown_order: UnknownOrderRule = UnknownOrderRule()
    difference: DifferenceRule = DifferenceRule()
    memory: GrowthRule = GrowthRule()
    descriptors: GrowthRule = GrowthRule()
    latency: LatencyRule = LatencyRule()
    disk: DiskRule = DiskRule()
    identity: IdentityRule = IdentityRule()


class VerdictConfig(Section, frozen=True):
    """Says what a campaign must show in order to pass."""

    entries_min: Annotated[int, Meta(ge=1)] = 1
    """A campaign without trades shows nothing, so this cannot be 0."""
    all_won_max: Annotated[int, Meta(ge=1, le=1000)] = 30
    """More closed positions than this cannot all be wins."""
    same_edge_min: Annotated[int, Meta(ge=1)] = 10
    """With fewer entries the edges at arrival are not judged."""
    same_edge_share_max: Share = 0.8
    """Largest share of paper entries whose edge at arrival may be exactly the edge at the decision."""
    beyond_edge_bps_max: NotNegative = 2.0
    """How much fills may be better than the books of the decision on average, in basis points of the notional; with
    few entries more is allowed, because single trades may be lucky.
    """
    ran_share_min: Share = 0.9
    """The system must have run for this share of the time."""
    watched_share_min: Share = 0.8
    """The monitor must have watched this share of the time that the system ran."""
    stopped_max: Annotated[int, Meta(ge=0, le=100)] = 0
    """Number of attempts that the monitor may have stopped."""
    warnings_max: Annotated[int, Meta(ge=0)] = 1_000_000
    """Number of anomalies of severity ``warn`` that are allowed."""


class VirtualConfig(Section, frozen=True):
    """Configures the same campaign in the simulation (``--virtual``)."""

    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    """Without a seed it is ``config.sim.seed``, so each pair's level, band and half-life are those of a real run."""
    updates_per_s: Annotated[float, Meta(ge=0.1, le=20)] = 2.0
    """Frames per market and second."""
    faults: Literal["none", "usual", "heavy"] = "none"
    only: tuple[str, ...] = ()
    """Kinds of faults; empty for all."""


class KeepConfig(Section, frozen=True):
    """Says how many folders of earlier campaigns of this name are kept, and for how long."""

    count: Annotated[int, Meta(ge=1, le=100_000)] = 20
    """Number of newest folders, including that of the campaign that begins now."""
    days: Positive = 90.0


class CampaignFile(Section, frozen=True):
    """Holds the whole file."""

    name: Annotated[
        str,
        matching(
            r"^[A-Za-z0-9][A-Za-z0-9_-]{0,21}\Z",
            "must be 1 to 22 letters, digits, '_' and '-', the first one a letter or a digit",
        ),
    ]
    """The instance of its runs is ``campaign-<name>`` in small letters."""
    about: str
    """One sentence for ``arbshard campaign list``."""
    duration_s: Annotated[float, Meta(gt=0, lt=1e7)]
    symbols: Annotated[tuple[str, ...], Meta(min_length=1)]
    shards: Annotated[int, Meta(ge=1, le=SHARDS_MAX)] = 2
    attempts_max: Annotated[int, Meta(ge=1, le=20)] = 3
    """Largest number of runs, including the first one."""
    rerun_min_s: Positive = 30.0
    """With less time left, in seconds, nothing is run again."""
    disk_free_min_mb: NotNegative = 500.0
    """With less free space, in MB, the campaign does not begin."""
    sample_s: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    """How often the monitor takes a sample, in seconds."""
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    """The configuration of the runs, as in a configuration file."""
    rules: RulesConfig = RulesConfig()
    verdict: VerdictConfig = VerdictConfig()
    virtual: VirtualConfig = VirtualConfig()
    keep: KeepConfig = KeepConfig()

    @property
    def instance(self) -> str:
        """Return the name of the instance of its runs."""
        return f"campaign-{self.name.lower()}"


_OWN_KEYS = {"name": "name", "state_dir": "", "run.shards": "shards", "run.symbols": "symbols"}
"""Keys of ``[config]`` that the campaign sets itself, and the campaign's own key to use in their place."""


def campaign_files() -> dict[str, Path]:
    """Return the campaigns of the project by name."""
    project = Path(arbshard.__file__).parent.parent
    found: dict[str, Path] = {}
    for folder in (project / CAMPAIGNS, _INSTALLED, Path.cwd() / CAMPAIGNS):
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def find_campaign(name: str) -> Path:
    """Return the file for ``name``: a campaign of the project, or a path. Raises ``UsageError``."""
    known = campaign_files()
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return path
    raise UsageError(f"campaign {name}: neither a file nor one of {', '.join(known) or 'none'}")


def load_campaign(path: Path) -> CampaignFile:
    """Read and check the file. Raises ``ConfigError`` with one line that says what is wrong and where."""
    where = str(path)
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(where, f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(where, f"is not valid TOML: {error}") from error
    try:
        campaign = msgspec.convert(tree, CampaignFile)
    except msgspec.ValidationError as error:
        raise ConfigError(where, explain(error, CampaignFile)) from error
    for key, own in _OWN_KEYS.items():
        if key in dict(_leaves(campaign.config)):
            instead = f"write the campaign's own key '{own}'" if own else "the campaign chooses it itself"
            raise ConfigError(where, f"config.{key}: {instead}")
    config_of(campaign, where)
    return campaign


def config_of(campaign: CampaignFile, where: str) -> Config:
    """Return the checked configuration of its runs. Raises ``ConfigError``, which names ``where``."""
    try:
        return load_config(None, tree_of(campaign))
    except ConfigError as error:
        raise ConfigError(where, f"in [config]: {error.problem}") from error


def tree_of(campaign: CampaignFile) -> dict[str, Any]:
    """Return the content of the configuration file of its runs."""
    tree = {**campaign.config, "name": campaign.instance}
    tree["run"] = {**tree.get("run", {}), "shards": campaign.shards, "symbols": list(campaign.symbols)}
    return tree


def as_toml(tree: dict[str, Any]) -> str:
    """Return a configuration tree as TOML, one key a line. JSON's texts, numbers and lists are valid TOML."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in _leaves(tree))


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _value(value: object) -> str:
    return msgspec.json.encode(value).decode()
