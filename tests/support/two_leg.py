"""Drives a two-leg machine through its pauses."""

from arbshard.execution.two_leg import Pause, Step, TwoLeg
from arbshard.model.book import OrderBookSnapshot

NOW = 5_000_000_000


class PauseClock:
    """Monotonic time that passes only in the pauses of a machine."""

    def __init__(self) -> None:
        self.now_ns = NOW

    def step(
        self,
        machine: TwoLeg,
        home: OrderBookSnapshot | None,
        away: OrderBookSnapshot | None,
        limit_s: float = 100_000,
    ) -> Step:
        """The next step that is no pause; the pause that would pass the limit, if there is none before."""
        end_ns = self.now_ns + int(limit_s * 1e9)
        while isinstance(step := machine.next_step(home, away, self.now_ns), Pause):
            assert step.wait_ns > 0
            if self.now_ns + step.wait_ns > end_ns:
                return step
            self.now_ns += step.wait_ns
        return step
