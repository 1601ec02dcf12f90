"""The run: the real system, the load generator of ``perf`` in the place of the exchanges."""

import time
from collections.abc import Callable
from typing import NamedTuple

import psutil

from arbshard.shm.pages import PageReader
from perf.breaking import spare_pid
from perf.load import SHARDS, coins_at, config_of
from perf.running import System
from soaking.judge import Bounds, Row, judge
from soaking.sampler import Sampler

_GENERATOR = "sim"
"""Under this name it runs; it is a tool, and not judged."""
_SPARE_S = 60.0
"""Time-out of the start of the spare worker, in seconds."""
_SETTLE_S = 1.0
_WARM_UP_SHARE = 0.1
_WARM_UP_MAX_S = 60.0


class Outcome(NamedTuple):
    """Of one run."""

    rows: tuple[Row, ...]
    messages_s: float
    """That arrived."""
    faults: tuple[str, ...]
    """All of them; empty when everything is flat."""


def soak(
    seconds: float,
    rate: float,
    *,
    bounds: Bounds | None = None,
    every_s: float = 1.0,
    least_share: float = 0.95,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Run for ``seconds`` at ``rate`` messages per second, of which at least ``least_share`` must arrive.

    Raises ``perf.running.MeasurementFailed``.
    """
    coins = coins_at(rate)
    with System(("-m", "perf.system"), config_of(rate, coins, SHARDS, None)) as system:
        system.until_running()
        system.until_deciding()
        system.wait_for(lambda: _has_spare(system), _SPARE_S, system.note)
        time.sleep(max(_SETTLE_S, min(seconds * _WARM_UP_SHARE, _WARM_UP_MAX_S)))
        processes = system.processes()
        processes["spare"] = psutil.Process(spare_pid(system))
        sampler = Sampler(system.files.dir)
        before, began_s = _messages(system), time.monotonic()
        faults = []
        told_s = began_s
        while (now_s := time.monotonic()) - began_s < seconds:
            system.require_alive()
            try:
                sampler.look(processes)
            except RuntimeError as error:
                faults.append(str(error))
                break
            if now_s - told_s >= 60:
                told_s = now_s
                say(f"{now_s - began_s:.0f} s: " + _told(sampler))
            time.sleep(max(every_s - (time.monotonic() - now_s), 0))
        messages_s = (_messages(system) - before) / (time.monotonic() - began_s)
        code = system.end()
    rows = tuple(
        judge(name, samples, bounds or Bounds())
        for name, samples in sampler.samples.items()
        if name != _GENERATOR
    )
    faults += [f"{row.name}: {fault}" for row in rows for fault in row.faults]
    if len(set(sampler.shared)) != 1:
        faults.append(f"shared memory (bytes, files): {sorted(set(sampler.shared))}")
    if messages_s < least_share * rate:
        faults.append(f"only {messages_s:,.0f} msg/s of {rate:,.0f} arrived")
    if code:
        faults.append(f"the run ended with code {code}")
    return Outcome(rows, messages_s, tuple(faults))


def table(outcome: Outcome) -> str:
    """For a person."""
    head = f"{'process':<12}{'samples':>8}{'RSS MB, first → last':>24}{'MB in 10 min':>14}"
    head += f"{'descriptors':>14}{'threads':>10}"
    lines = [head]
    for row in outcome.rows:
        rss = f"{row.rss_mb[0]:.1f} → {row.rss_mb[1]:.1f}"
        descriptors = f"{row.descriptors[0]} → {row.descriptors[1]}"
        threads = f"{row.threads[0]} → {row.threads[1]}"
        lines.append(
            f"{row.name:<12}{row.samples:>8}{rss:>24}{row.growth_mb:>14.2f}{descriptors:>14}{threads:>10}"
        )
    lines.append(f"{outcome.messages_s:,.0f} msg/s arrived")
    lines += [f"NOT FLAT: {fault}" for fault in outcome.faults] or ["flat"]
    return "\n".join(lines)


def _has_spare(system: System) -> bool:
    note = system.note()
    return note is not None and "ready" in note.spares and spare_pid(system) > 0


def _messages(system: System) -> int:
    with PageReader.attach(system.files.supervisor_page) as page:
        return page.value("messages")


def _told(sampler: Sampler) -> str:
    return ", ".join(f"{name} {samples[-1].rss / 1e6:.1f} MB" for name, samples in sampler.samples.items())
