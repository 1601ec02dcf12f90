"""Defines the limits of losses and of naked exposure: the figure of each, and the level it has reached. Pure.

Each has a limit (entries are refused while it holds), a halt (no entries until a person resumes) and a stop (no
exits either). ``guard`` asks for the first, ``watch`` for the others; ``operators`` states what still holds after a
resume.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import NamedTuple

from arbshard.config import LimitsConfig
from arbshard.ledger.events import HaltCause
from arbshard.model.intent import HaltLevel
from arbshard.model.money import ZERO, plain
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio.equity import week_of
from arbshard.risk.valuation import Valuation


class LossLimit(NamedTuple):
    """Is one figure with its limits."""

    cause: HaltCause
    refusal: Refusal
    name: str
    """The key of the halt is ``halt_<name>``, of the stop ``stop_<name>``, of the limit ``<name>_max``."""
    what: str
    """What the figure means, as a text after its amount."""
    value: Callable[[Valuation, int], Decimal]
    """The figure, given the number of the trading day."""
    is_daily: bool
    """Whether a person who resumes accepts it for the trading day; else for the week, or for what was lost until
    then.
    """


LOSS_LIMITS = (
    LossLimit(
        "daily_loss",
        Refusal.DAILY_LOSS,
        "daily_loss",
        "lost today",
        lambda valuation, day: valuation.day_loss(day),
        is_daily=True,
    ),
    LossLimit(
        "drawdown",
        Refusal.DRAWDOWN,
        "drawdown",
        "below the high-water mark",
        lambda valuation, _: valuation.drawdown,
        is_daily=False,
    ),
    LossLimit(
        "weekly_loss",
        Refusal.WEEKLY_LOSS,
        "weekly_loss",
        "lost this week",
        lambda valuation, day: valuation.week_loss(day),
        is_daily=False,
    ),
    LossLimit(
        "lifetime_loss",
        Refusal.LIFETIME_LOSS,
        "lifetime_loss",
        "lost since the ledger began",
        lambda valuation, _: valuation.lifetime_loss,
        is_daily=False,
    ),
    LossLimit(
        "naked_exposure",
        Refusal.NAKED_EXPOSURE,
        "naked_notional",
        "bought or sold on one venue alone",
        lambda valuation, _: valuation.naked_notional,
        is_daily=True,
    ),
)
"""The limits in the order of their refusals."""

LossFigures = tuple[Decimal, ...]
"""The figures of ``LOSS_LIMITS``, in their order."""


class HaltReason(NamedTuple):
    """Is the reason of a halt."""

    cause: HaltCause
    reason: str
    key: str
    """What a person acknowledges by resuming; empty where resuming begins to count anew."""
    level: HaltLevel = "reduce_only"


def figures_of(valuation: Valuation, day: int) -> LossFigures:
    """Return the figures of all loss limits on the trading day ``day``."""
    return tuple([one.value(valuation, day) for one in LOSS_LIMITS])


def refusing_losses(figures: LossFigures, limits: LimitsConfig) -> Iterator[tuple[Refusal, str]]:
    """Return the refusals that losses cause now, and why."""
    for one, value in zip(LOSS_LIMITS, figures, strict=True):
        limit = _limit(limits, f"{one.name}_max")
        if value >= limit:
            yield one.refusal, _text(one, value, limit)


def used_by_losses(valuation: Valuation, day: int) -> Iterator[tuple[str, Decimal]]:
    """Return (key, figure) of all loss limits, halts and stops."""
    for one in LOSS_LIMITS:
        value = max(ZERO, one.value(valuation, day))
        for key in (f"{one.name}_max", f"halt_{one.name}", f"stop_{one.name}"):
            yield key, value


def halts_of(figures: LossFigures, limits: LimitsConfig, day: int) -> Iterator[HaltReason]:
    """Return the losses that cause a stop or a halt, acknowledged or not; those that stop come first."""
    levels: tuple[tuple[str, HaltLevel], ...] = (("stop", "stopped"), ("halt", "reduce_only"))
    for word, level in levels:
        for one, value in zip(LOSS_LIMITS, figures, strict=True):
            limit = _limit(limits, f"{word}_{one.name}")
            if value >= limit:
                key = _key(one, word, value, limit, day)
                yield HaltReason(one.cause, _text(one, value, limit), key, level)


def is_drawdown_reached(valuation: Valuation, limits: LimitsConfig) -> bool:
    """Return whether the drawdown is at any of its three limits, so that a person who resumes accepts it."""
    return valuation.drawdown >= min(limits.drawdown_max, limits.halt_drawdown, limits.stop_drawdown)


def _limit(limits: LimitsConfig, key: str) -> Decimal:
    value = getattr(limits, key)
    assert isinstance(value, Decimal), key
    return value


def _key(one: LossLimit, word: str, value: Decimal, limit: Decimal, day: int) -> str:
    """Return the key of what resuming accepts.

    A loss of a day or a week is accepted until its end. A lifetime has none, so what is accepted is the loss until
    the next multiple of the limit. Resuming after a drawdown sets the high-water mark anew.
    """
    if one.is_daily:
        period = str(day)
    elif one.cause == "weekly_loss":
        period = f"week {week_of(day)}"
    else:
        period = f"times {value // limit}"
    name = one.cause if word == "halt" else f"{word} {one.cause}"
    return f"{name} {period} {plain(limit)}"


def _text(one: LossLimit, value: Decimal, limit: Decimal) -> str:
    return f"{plain(value)} {one.what}, the limit is {plain(limit)}"
