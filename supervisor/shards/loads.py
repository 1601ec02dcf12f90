"""Computes what pairs and workers cost: frames per second by pair, and each worker's share of a core. For
``manager``.

Frames are counted by the sequences of their slots, which the supervisor writes itself, so this costs the hot path
nothing.
"""

from collections.abc import Callable, Mapping

from arbshard.model.universe import Universe

_SMOOTHING = 0.3
"""Weight of the newest second in the smoothed rate."""


class LoadMeter:
    """Computes rates, smoothed over a few samples."""

    def __init__(self, sequence: Callable[[int], int], cpu_s: Callable[[int], float | None]) -> None:
        """Begin. ``sequence``: that of a slot; grows by two with every frame. ``cpu_s``: CPU time of a process, by
        its pid.
        """
        self._sequence = sequence
        self._cpu_s = cpu_s
        self._sampled_ns = 0
        self._counts: dict[str, tuple[int, int]] = {}
        self._used: dict[int, tuple[int, float]] = {}
        """(pid, CPU time) by shard, at the last sample."""
        self.frames_s: dict[str, float] = {}
        """Frames per second by base, of pairs that were sampled twice."""
        self.cpu: dict[int, float] = {}
        """Share of a core by shard."""

    def sample(self, universe: Universe, pids: Mapping[int, int], now_ns: int) -> None:
        """Take a sample; about once a second. ``pids``: those of the workers that run, by shard."""
        span_s = (now_ns - self._sampled_ns) / 1e9
        self._sampled_ns = now_ns
        counts: dict[str, tuple[int, int]] = {}
        rates: dict[str, float] = {}
        for pair in universe.pairs:
            slot = pair.home.slot
            count = (self._sequence(slot) + self._sequence(pair.away.slot)) // 2
            counts[pair.base] = (slot, count)
            before = self._counts.get(pair.base)
            if before is None or before[0] != slot:
                continue  # its first sample
            rate = max(count - before[1], 0) / span_s
            old = self.frames_s.get(pair.base, rate)
            rates[pair.base] = old + _SMOOTHING * (rate - old)
        self._counts, self.frames_s = counts, rates
        self._sample_processes(pids, span_s)

    def _sample_processes(self, pids: Mapping[int, int], span_s: float) -> None:
        used: dict[int, tuple[int, float]] = {}
        cpu: dict[int, float] = {}
        for shard, pid in pids.items():
            before = self._used.get(shard)
            seconds = self._cpu_s(pid)
            if seconds is None:
                continue
            used[shard] = (pid, seconds)
            if before is not None and before[0] == pid:
                share = (seconds - before[1]) / span_s
                old = self.cpu.get(shard, share)
                cpu[shard] = old + _SMOOTHING * (share - old)
        self._used, self.cpu = used, cpu
