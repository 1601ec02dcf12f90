"""Write docs/untested-branches.md: the branches of risk and execution that no test enters.

``make coverage`` calls it. A branch is named by its function and by the text of its line, not by a line number, so
that the page changes only when the code or the tests change. What lies behind such a branch is not listed again.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import coverage
import msgspec

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "untested-branches.md"
ROOMS = ("arbshard/risk", "arbshard/execution")
HEADER = """# Branches that no test enters

`make coverage` writes this page from a run of all tests with branch coverage, sub-processes included. It lists what
no test enters in `arbshard/risk` and `arbshard/execution`, where a wrong branch costs money. A process that is killed
leaves no record of what it did, so a branch that only such a process enters is listed too.

Measured with: {tests}. {summary}
"""


class Branch(NamedTuple):
    """A branch that was not entered."""

    function: str
    line: str
    leads_to: str


def branches_of(path: Path, report: dict[str, Any]) -> Iterator[Branch]:
    """Yield the branches that were not entered though the line before them ran, then functions never called."""
    source = path.read_text().splitlines()
    executed = set(report["executed_lines"])
    for name, region in sorted(report["functions"].items(), key=lambda item: item[1]["start_line"]):
        statements = {*region["executed_lines"], *region["missing_lines"]}
        if statements and not region["executed_lines"]:
            yield Branch(name or "(module)", "the whole function", "never called")
            continue
        for start, end in region["missing_branches"]:
            if start in executed:
                leads_to = source[end - 1].strip() if end > 0 else "the end of the function"
                yield Branch(name or "(module)", source[start - 1].strip(), leads_to)


def main() -> int:
    """Write the page; returns the exit code. The argument says which tests were run, when not all."""
    tests = sys.argv[1] if len(sys.argv) > 1 else "all tests"
    recorded = coverage.Coverage(data_file=str(ROOT / ".coverage"), config_file=str(ROOT / "pyproject.toml"))
    recorded.load()
    report_file = ROOT / ".coverage.json"
    recorded.json_report(outfile=str(report_file), include=[f"{ROOT / room}/*" for room in ROOMS])
    report = msgspec.json.decode(report_file.read_bytes())
    report_file.unlink()
    totals, parts, number = report["totals"], [], 0
    for name, file in sorted(report["files"].items()):
        path = Path(name) if Path(name).is_absolute() else ROOT / name
        found = list(branches_of(path, file))
        if found:
            number += len(found)
            parts += [f"## {path.relative_to(ROOT)}", ""]
            parts += [f"- `{one.function}`: `{one.line}` → `{one.leads_to}`" for one in found]
            parts.append("")
    summary = (
        f"{totals['covered_branches']:,} of {totals['num_branches']:,} branches are entered; "
        f"{number} places are listed."
    )
    PAGE.write_text(HEADER.format(tests=tests, summary=summary) + "\n" + "\n".join(parts).rstrip() + "\n")
    print(f"{summary} {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
