"""The section ``[sim]``: the simulated exchanges."""

from typing import Annotated, Literal

from msgspec import Meta

from arbshard.config.section import Port, Section, Seed

Regime = Literal["calm", "mixed", "high-win", "low-win", "trending", "crash"]


class SimConfig(Section, frozen=True):
    """The simulated exchanges."""

    seed: Seed = 7
    regime: Regime = "mixed"
    coins: Annotated[int, Meta(ge=1, le=1000)] = 30
    updates_per_s: Annotated[float, Meta(gt=0, le=100)] = 10.0
    """Book updates of each market per second."""
    depth: Annotated[int, Meta(ge=5, le=30)] = 30
    """Levels kept on each side of a book."""
    host: str = "127.0.0.1"
    upbit_port: Port = 0
    """0 takes a free one."""
    binance_port: Port = 0
