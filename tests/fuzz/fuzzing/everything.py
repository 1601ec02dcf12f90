"""All targets without processes, and how many cases each gets of a campaign's total."""

from collections.abc import Callable, Iterable

from fuzzing import accounts, codecs, wires
from fuzzing.campaign import Report, run
from fuzzing.desk import RiskTarget
from fuzzing.target import Target

_WEIGHTS = {
    "risk, paper": 5,
    "risk, live": 4,
    "message decoders": 3,
    "upbit stream": 3,
    "binance stream": 3,
    "bus": 2,
}
"""Of the others: 1."""


MAKERS: dict[str, Callable[[], Target]] = {
    **{target.name: lambda target=target: target for target in (*codecs.targets(), *accounts.targets())},
    **wires.MAKERS,
    "risk, paper": lambda: RiskTarget(live=False),
    "risk, live": lambda: RiskTarget(live=True),
}
"""All targets, by name, made when they are wanted."""


def shares(names: Iterable[str], cases: int) -> dict[str, int]:
    """So many of ``cases`` for each, by weight; together exactly so many."""
    weights = {name: _WEIGHTS.get(name, 1) for name in names}
    total = sum(weights.values())
    found = {name: cases * weight // total for name, weight in weights.items()}
    last = next(reversed(found))
    found[last] += cases - sum(found.values())
    return found


def campaign(cases: int, seed: int, say: Callable[[str], None]) -> list[Report]:
    """Feed ``cases`` in all."""
    reports = []
    for name, part in shares(MAKERS, cases).items():
        report = run(MAKERS[name](), range(part), seed)
        say(report.text())
        reports.append(report)
    return reports
