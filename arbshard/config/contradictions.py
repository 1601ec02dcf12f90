"""Finds settings that contradict each other, so that nothing could ever be traded. The code is pure; ``file`` calls
it.

Only what the configuration alone proves is refused here. A run may still find nothing to trade because of its
market.
"""

from collections.abc import Iterator
from decimal import Decimal

from arbshard.config.root import Config

SIZED_DOWN = Decimal("0.99")
"""Entries are sized to this share of a limit, because risk counts limit prices, which are above the average."""
_RETURN_SAMPLES = 2
"""The fewest sample intervals in which an excursion of a gap can be seen to begin and to return."""
ENTRY_LIMITS = (
    "order_notional_max", "symbol_notional_max", "portfolio_notional_max", "venue_notional_max",
    "correlated_notional_max", "fx_exposure_max",
)  # fmt: skip
"""Limits that the notional of a single entry counts against."""


def find_contradiction(config: Config) -> str:
    """Return the first contradiction as a sentence that begins with a key; empty when there is none."""
    checks = (_of_sizes, _of_edges, _of_baseline)
    return next((problem for check in checks for problem in check(config)), "")


def find_remarks(config: Config) -> list[str]:
    """Return what is probably not meant, though something may be traded, each as a sentence."""
    remarks = []
    paper, least = config.paper, config.sizing.entry_notional_min
    if config.mode == "paper":
        if paper.inventory_notional < least:
            remarks.append(
                f"paper.inventory_notional ({paper.inventory_notional:,f}) is below the smallest entry, "
                f"sizing.entry_notional_min ({least:,f}): a new ledger has too few coins to sell any"
            )
        remarks += [
            f"paper.{key} is 0: a new ledger has no money on that venue; without any, nothing is bought there, and "
            "nothing is sold that would have to be bought back"
            for key in ("quote_home", "quote_away")
            if getattr(paper, key) == 0
        ]
    entry, limit = config.sizing.entry_notional_max, config.limits.order_notional_max
    if entry > limit:
        remarks.append(
            f"sizing.entry_notional_max ({entry:,f}) is above limits.order_notional_max ({limit:,f}): "
            "entries are sized down to the limit"
        )
    if config.data == "sim":
        remarks += [
            f'venues.{name}: ws_url and rest_url are not used, because data = "sim" uses the embedded exchanges'
            for name in config.venues.traded
            if config.venues.get(name).ws_url or config.venues.get(name).rest_url
        ]
    return remarks


def _of_sizes(config: Config) -> Iterator[str]:
    sizing, limits = config.sizing, config.limits
    least = sizing.entry_notional_min
    if least > sizing.entry_notional_max:
        yield "sizing: entry_notional_min is above entry_notional_max"
    for key in ENTRY_LIMITS:
        limit: Decimal = getattr(limits, key)
        if least > limit * SIZED_DOWN:
            yield (
                f"limits.{key}: {limit:,f} has no room for the smallest entry, sizing.entry_notional_min = "
                f"{least:,f}, so nothing could be traded; the limit must be at least {least / SIZED_DOWN:,.0f}"
            )
    if least > limits.concentration_floor and limits.concentration_max < 1:
        yield (
            f"limits.concentration_floor: {limits.concentration_floor:,f} is below the smallest entry, "
            f"sizing.entry_notional_min = {least:,f}. The first entry is always all of the exposure, so nothing "
            "could be traded; raise the floor, or set concentration_max = 1"
        )


def _of_edges(config: Config) -> Iterator[str]:
    strategy, limits = config.strategy, config.limits
    if strategy.min_edge_bps > strategy.entry_bps:
        yield "strategy: min_edge_bps is above entry_bps"
    if strategy.no_reversion_exits > strategy.no_reversion_window:
        yield "strategy: no_reversion_exits is above no_reversion_window"
    if limits.edge_bps_min > strategy.min_edge_bps:
        yield "limits: edge_bps_min is above strategy.min_edge_bps, so risk would refuse what the strategy enters"
    for key in ("entry_bps", "round_trip_bps"):
        wanted: float = getattr(strategy, key)
        for most, name in (
            (strategy.max_edge_bps, "strategy.max_edge_bps"),
            (limits.edge_bps_max, "limits.edge_bps_max"),
        ):
            if wanted > most:
                yield (
                    f"strategy.{key}: {wanted:g} is above {name} = {most:g}, so every entry would be refused as too "
                    "good to be true"
                )
    if config.mode == "paper" and config.paper.reject_share == 1:
        yield "paper.reject_share: 1 refuses every order, so nothing could be traded"
    # Entering and leaving at once costs four fees, less what the product of both edges makes up for.
    fees = sum(
        float(venue.buy_fee_bps + venue.sell_fee_bps)
        for venue in (config.venues.get(name) for name in config.venues.traded)
    )
    least_cost = fees - strategy.max_edge_bps * (strategy.max_edge_bps + fees) / 1e4
    if strategy.stop_loss_bps - least_cost < strategy.stop_room_bps:
        yield (
            f"strategy.stop_room_bps: {strategy.stop_room_bps:g} is never left of stop_loss_bps = "
            f"{strategy.stop_loss_bps:g} once an entry has paid what leaving costs (fees of {fees:g} bps), so "
            f"nothing could be traded; stop_loss_bps must be at least {strategy.stop_room_bps + fees:g}"
        )


def _of_baseline(config: Config) -> Iterator[str]:
    baseline, series = config.baseline, config.series
    if not baseline.is_required:
        return
    if baseline.samples_min > series.window:
        yield (
            f"baseline.samples_min: {baseline.samples_min} is above series.window = {series.window}, so the level "
            "of no gap would ever be known and nothing could be traded"
        )
    if baseline.returns_min * _RETURN_SAMPLES > series.window:
        yield (
            f"baseline.returns_min: {baseline.returns_min} returns do not fit into series.window = {series.window} "
            "samples, so nothing could be traded"
        )
    half_life_max_s = baseline.half_life_share_max * config.strategy.max_hold_s
    least_s = _RETURN_SAMPLES * series.sample_ms / 1000
    if half_life_max_s < least_s:
        yield (
            f"baseline.half_life_share_max: with strategy.max_hold_s = {config.strategy.max_hold_s:g} a gap must be "
            f"half back within {half_life_max_s:g} s, but two samples of series.sample_ms = {series.sample_ms:g} "
            f"take {least_s:g} s, so nothing could be traded"
        )
