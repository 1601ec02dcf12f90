"""Defines how orders are executed: ``[execution]``, and ``[paper]``, the simulated venue."""

from decimal import Decimal
from typing import Annotated

from msgspec import Meta

from arbshard.config.section import NotNegative, Positive, Section, Seed, Share


class ExecutionConfig(Section, frozen=True):
    """Sets how the two legs of an intent are completed."""

    approval_expiry_ms: Positive = 150.0
    """An entry approved later than this after it was decided is not sent any more, in milliseconds."""
    exit_slippage_bps: NotNegative = 15.0
    """How far behind the book's walk an exit's limit prices may be."""
    max_hedge_slippage_bps: NotNegative = 40.0
    """How far behind the best price a hedge or unwind may be; doubled on each further try."""
    hedge_tries: Annotated[int, Meta(ge=1, le=20)] = 3
    """Orders on the lagging leg that fill nothing, and then as many taking the leading leg back, before a person is
    asked."""
    retry_ms: Positive = 200.0
    """Pause after a hedge or unwind that filled nothing; doubled with each further one."""
    naked_krw_s_max: Positive = 60_000_000.0
    """How much an intent may have naked: reporting currency times seconds. Half of it on each venue."""
    intent_loss_bps_max: Positive = 300.0
    """How far behind its leg's limit price any order of an intent may be."""
    pause_s: Positive = 2.0
    """First pause in seconds after a trade that achieved nothing, and of an intent that is stuck; doubled each time.
    """
    pause_max_s: Positive = 300.0
    """The longest such pause."""
    exit_cost_bps_max: Positive = 50.0
    """How much exits that achieved nothing may cost a position, of its entry notional. Before another one as
    expensive as the last would exceed it, exits are by hand only.
    """


class PaperConfig(Section, frozen=True):
    """Sets how the paper venue behaves, so that its results are not too good to be true."""

    seed: Seed = 1
    record_times: bool = False
    """Whether intents and orders record to the nanosecond when they were decided on and met a book, and which books
    these were: ``arbshard backtest --latency recorded`` needs it. It makes archives larger by a quarter.
    """
    latency_ms: Positive = 40.0
    """Median time from sending an order to its arrival in the book; log-normally distributed."""
    latency_sigma: Annotated[float, Meta(ge=0, le=5)] = 0.5
    """Sigma of the logarithm of the latency."""
    reject_share: Share = 0.002
    """Share of orders that the venue refuses, each by itself."""
    refusals_per_day: Annotated[float, Meta(ge=0, le=10_000)] = 0.5
    """How often per day a market begins to refuse every order for a while."""
    refusal_s: Positive = 180.0
    """How long it does so in seconds, on average (exponentially distributed)."""
    depth_share: Annotated[float, Meta(gt=0, le=1)] = 0.7
    """Share of each level's displayed size that is still there when our order arrives."""
    partial_share: Share = 0.05
    """Share of orders that find less: an evenly drawn part of what others would have left."""
    refill_s: Positive = 10.0
    """Time constant, in seconds, with which the quantity that we took from a level comes back (exponentially)."""
    unknown_share: Share = 0.001
    """Share of orders of which nothing is known at first, although they were sent."""
    unknown_s: Positive = 3.0
    """How long nothing is known of such an order in seconds, on average: exponentially distributed, ten times that
    at most.
    """
    late_fill_share: Share = 0.002
    """Share of the orders with several executions whose last one is reported after the order's end."""
    quote_home: Decimal = Decimal(100_000_000)
    """Opening balance of the home quote (KRW)."""
    quote_away: Decimal = Decimal(70_000)
    """Opening balance of the away quote (USDT)."""
    inventory_notional: Decimal = Decimal(4_000_000)
    """Value in reporting currency of the coins of each pair held on each venue at the start."""
