"""A running instance under ``attacks``: it trades on, counts what was bad, and has as many descriptors afterwards."""

import re
import time
from collections.abc import Callable
from random import Random

import psutil
import zmq

from arbshard.shm.pages import PageReader
from fuzzing import corpus
from fuzzing import messages as made
from fuzzing.attacks import Attacks, is_garbage, venue_addresses
from fuzzing.campaign import Finding, Report
from fuzzing.mutator import mutated
from fuzzing.target import require
from perf.running import System

_CONFIG = {
    "run": {"shards": 2, "log_level": "info", "transport": "zmq"},
    "sim": {"coins": 8, "seed": 11, "regime": "high-win"},
    "strategy": {"max_hold_s": 1.0, "cooldown_ms": 100.0},
}
SOCKETS = "sockets"
_TOGETHER = 12
"""Payloads of one connection."""
_CROWD = 200
_SETTLE_S = 20.0
_OURS = re.compile(r'File \\".*/(arbshard|supervisor)/')
"""A line of a traceback in the log, where a child's last words are.

What aiohttp alone says of a request that is no HTTP is its own business.
"""
_SPARE_DESCRIPTORS = 2
"""By which a process may differ: a connection of its own that is just being made anew."""


def siege(cases: int, seed: int, say: Callable[[str], None]) -> Report:
    """``cases`` payloads over real sockets, and thousands of connections."""
    report = Report(SOCKETS, seed)
    with System(("-m", "arbshard", "run"), _CONFIG) as system:
        try:
            _besiege(system, report, cases, Random(f"{seed}:sockets"))
            alerts = _alerts(system)
            code = system.end()
            require(code == 0, f"the run ended with code {code}: {system.last_words()}; {alerts}")
            log = (system.state / "logs" / "supervisor.jsonl").read_text(errors="replace")
            ours = [line for line in log.splitlines() if _OURS.search(line)]
            require(not ours, f"an exception in {ours}")
            verified = system.call("ledger", "verify")
            require(verified.code == 0, f"ledger verify: {verified.out}{verified.err}")
        except Exception as error:  # noqa: BLE001 - the very thing that is looked for
            report.findings.append(Finding(report.target, report.cases, b"", error))
    say(report.text())
    return report


def _besiege(system: System, report: Report, cases: int, rng: Random) -> None:
    system.until_running()
    time.sleep(1.0)
    processes = system.processes()
    _until(lambda: _value(system, "approvals") > 0, "no trade before the siege")
    _use_once(system)
    descriptors = {name: process.num_fds() for name, process in processes.items()}
    good = [*made.risk_payloads(rng), *made.control_payloads(rng), *corpus.upbit_frames()[:20]]
    attacks = Attacks(system.files, venue_addresses(system.files.sim_ready), rng)
    bad, approvals = _value(system, "bad"), _value(system, "approvals")
    while report.cases < cases:
        wanted = min(_TOGETHER, cases - report.cases)
        drawn = (mutated(rng.choice(good), good, rng)[:100_000] for _ in range(10 * wanted))
        payloads = [payload for payload in drawn if is_garbage(payload)][:wanted]
        way = rng.choice(attacks.ways)
        try:
            way(payloads)
        except Exception as error:  # noqa: BLE001 - likewise
            report.findings.append(
                Finding(f"sockets: {way.__name__}", report.cases, b"|".join(payloads), error)
            )
            return
        report.cases += len(payloads)
        report.outcomes[way.__name__] += len(payloads)
    for _ in range(max(1, min(cases // 1000, 5))):
        attacks.crowd(_CROWD)
        report.outcomes["connections only"] += 4 * _CROWD
    require(system.processes() == processes, "a process was replaced")
    for process in processes.values():
        require(process.is_running(), f"{process} has ended")
    _until(
        lambda: _value(system, "bad") - bad == attacks.expected,
        lambda: f"{_value(system, 'bad') - bad} of {attacks.expected} counted",
    )
    _until(lambda: _value(system, "approvals") > approvals, "it trades no more")
    _until(
        lambda: not _changed(processes, descriptors),
        lambda: f"descriptors: {_changed(processes, descriptors)}",
    )
    require(not _alerts(system), f"alerts: {_alerts(system)}")
    for page in (system.files.supervisor_page, system.files.risk_page):
        with PageReader.attach(page) as reader:
            require(reader.value("errors") == 0, f"{page.name}: {reader.value('errors')} errors logged")


def _use_once(system: System) -> None:
    """Subscribe to the whole bus and ask for the shards.

    The supervisor maps some pages and the books only when they are first needed, and keeps them. Whatever comes on
    top of these is not closed again.
    """
    with zmq.Context.instance().socket(zmq.SUB) as reader:
        reader.setsockopt(zmq.LINGER, 0)
        reader.connect(system.files.bus_endpoint)
        reader.subscribe(b"")
        require(bool(reader.poll(10_000)), "nothing is published on the bus")
    shown = system.call("shards")
    require(shown.code == 0, f"arbshard shards: {shown.out}{shown.err}")
    time.sleep(1.0)


def _alerts(system: System) -> tuple[str, ...]:
    note = system.note()
    return note.alerts if note is not None else ("the supervisor says nothing",)


def _value(system: System, counter: str) -> int:
    with PageReader.attach(system.files.risk_page) as page:
        return page.value(counter)


def _changed(processes: dict[str, psutil.Process], before: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Processes with more descriptors than before."""
    now = {name: process.num_fds() for name, process in processes.items()}
    return {
        name: (before[name], count)
        for name, count in now.items()
        if count > before[name] + _SPARE_DESCRIPTORS
    }


def _until(holds: Callable[[], bool], what: str | Callable[[], str]) -> None:
    deadline_s = time.monotonic() + _SETTLE_S
    while not holds():
        require(time.monotonic() < deadline_s, what if isinstance(what, str) else what())
        time.sleep(0.05)
