"""``pytest --cpu``: the CPU time of each test, with that of the processes it waited for, summed by file.

Wall time says little of a test that waits, and nothing of what it takes away from those beside it.
"""

import resource
from collections import defaultdict
from collections.abc import Generator

import pytest

_PROPERTY = "cpu_s"
_SHOWN = 30
_began: dict[str, float] = {}
_used: dict[str, float] = {}


def _cpu_s() -> float:
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in found)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """The test begins."""
    _began[item.nodeid] = _cpu_s()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """The test ends. What it used goes with its report, also to the process that started the workers."""
    try:
        return (yield)
    finally:
        item.user_properties.append((_PROPERTY, _cpu_s() - _began.pop(item.nodeid)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect what a test used."""
    for name, value in report.user_properties if report.when == "teardown" else ():
        if name == _PROPERTY:
            assert isinstance(value, float)
            _used[report.nodeid] = value


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The most expensive files, and the most expensive tests."""
    by_file: dict[str, float] = defaultdict(float)
    for name, used_s in _used.items():
        by_file[name.split("::")[0]] += used_s
    terminalreporter.section(f"CPU: {sum(_used.values()):.0f} s in {len(_used)} tests")
    for title, table in (("files", by_file), ("tests", _used)):
        terminalreporter.write_line(f"{title}:")
        for name, used_s in sorted(table.items(), key=lambda item: -item[1])[:_SHOWN]:
            terminalreporter.write_line(f"  {used_s:7.1f} s  {name}")
