"""Renders a ``Document`` as Markdown: the same sentences and tables as the page, without plots. It is pure."""

from arbshard.report.document import Cell, Document, PageSection, PageTable
from arbshard.report.model import LogRecord

_MARKS = {"good": "✓", "warn": "!", "bad": "✗", "plain": "·"}


def render_markdown(document: Document) -> str:
    """Render the whole document."""
    lines = [f"# {_text(document.title)}", "", _text(document.subtitle), ""]
    if document.verdict is not None:
        _, outcome, reasons = document.verdict
        lines += [f"**Verdict: {outcome}.**", "", *(f"- {_text(reason)}" for reason in reasons), ""]
    lines += [*(f"- {_MARKS[one.kind]} {_text(one.text)}" for one in document.findings), ""]
    tiles = [f"| {_text(one.title)} | {_text(one.value)} | {_text(one.detail)} |" for one in document.tiles]
    lines += ["| figure | value | |", "|---|--:|---|", *tiles, ""]
    for section in document.sections:
        lines += _section(section)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: PageSection) -> list[str]:
    lines = [f"## {_text(section.title)}", ""]
    if section.intro:
        lines += [_text(section.intro), ""]
    for part in section.parts:
        if isinstance(part, PageTable):
            lines += [*_table(part), ""]
        elif isinstance(part, LogRecord):
            count = f" ({part.count:,} times)" if part.count > 1 else ""
            lines += [
                f"**{part.level}** {_text(part.process)}: {_text(part.event)}{count}",
                "",
                "```",
                *part.lines,
                "```",
                "",
            ]
    return lines


def _table(table: PageTable) -> list[str]:
    rule = "|".join("--:" if place in table.numbers else "---" for place in range(len(table.columns)))
    rows = ("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows)
    return ["| " + " | ".join(_text(one) for one in table.columns) + " |", f"|{rule}|", *rows]


def _cell(cell: Cell) -> str:
    return _text(cell.text)


def _text(text: str) -> str:
    """Escape ``text`` so that nothing in it is Markdown."""
    for mark in ("\\", "|", "*", "_", "`", "<", "[", "]"):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
