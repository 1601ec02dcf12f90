"""Renders a ``Document`` as one HTML file that needs nothing else: it contains style, plots and Plotly's own script.

``page.css`` and ``page.js`` beside this file become part of the page. Nothing is fetched: the page's own policy
(``Content-Security-Policy``) forbids it.
"""

from html import escape
from importlib.resources import files

import msgspec

from arbshard.optional import require_libraries
from arbshard.report.document import Cell, Document, PageSection, PageTable, Tile
from arbshard.report.model import LogRecord, Plot

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
_SHORT_MAX = 9
"""A figure with more characters is written smaller, so that it stays on one line of its tile."""
_MARKS = {"good": "✓", "warn": "!", "bad": "✗", "plain": "·"}


def plotly_script() -> str:
    """Return Plotly's own script from its Python package. Raises ``UsageError`` when it is not installed."""
    require_libraries("the page of an analysis", "plotly")
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def render_html(document: Document, plotly: str) -> str:
    """Return the page; ``plotly`` is the script that draws the plots."""
    plots = {
        part.name: part for section in document.sections for part in section.parts if isinstance(part, Plot)
    }
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="color-scheme" content="light dark">\n',
            f"<title>{escape(document.title)}</title>\n<style>\n{_resource('page.css')}</style>\n</head>\n<body>\n",
            _header(document),
            '<main id="main">\n',
            *(_section(section) for section in document.sections),
            "</main>\n",
            f'<script id="plots" type="application/json">{_json(plots)}</script>\n',
            f"<script>{_inside_script(plotly)}</script>\n",
            f"<script>\n{_resource('page.js')}</script>\n</body>\n</html>\n",
        )
    )


def _resource(name: str) -> str:
    return files("arbshard.report").joinpath(name).read_text(encoding="utf-8")


def _json(plots: dict[str, Plot]) -> str:
    """Encode ``plots`` so that no text in them can end the script element."""
    return msgspec.json.encode(plots).decode().replace("<", "\\u003c")


def _inside_script(script: str) -> str:
    """Escape end tags in ``script``, which would end the script element."""
    return script.replace("</script", "<\\/script")


def _header(document: Document) -> str:
    parts = [f"<header>\n<h1>{escape(document.title)}</h1>\n<p class=sub>{escape(document.subtitle)}</p>\n"]
    if document.verdict is not None:
        tone, outcome, reasons = document.verdict
        listed = "".join(f"<li>{escape(one)}</li>" for one in reasons)
        parts.append(
            f'<div class="verdict {tone}"><strong>{escape(outcome)}</strong><ul>{listed}</ul></div>\n'
        )
    said = "".join(
        f'<li class="{one.kind}"><span class=mark>{_MARKS[one.kind]}</span>{escape(one.text)}</li>'
        for one in document.findings
    )
    parts.append(f"<ul class=findings>{said}</ul>\n<div class=tiles>\n")
    parts += map(_tile, document.tiles)
    links = "".join(f'<a href="#{one.anchor}">{escape(one.title)}</a>' for one in document.sections)
    parts.append(f'</div>\n<nav aria-label="Sections">{links}</nav>\n</header>\n')
    return "".join(parts)


def _tile(one: Tile) -> str:
    size = " class=long" if len(one.value) > _SHORT_MAX else ""
    return (
        f'<div class="tile {one.tone}"><span>{escape(one.title)}</span><b{size}>{escape(one.value)}</b>'
        f"<small>{escape(one.detail)}</small></div>\n"
    )


def _section(section: PageSection) -> str:
    parts = [f'<section id="{section.anchor}">\n<h2>{escape(section.title)}</h2>\n']
    if section.intro:
        parts.append(f"<p>{escape(section.intro)}</p>\n")
    for part in section.parts:
        match part:
            case PageTable():
                parts.append(_table(part))
            case Plot():
                parts.append(
                    f"<figure><figcaption>{escape(part.title)}</figcaption>"
                    f'<div class=plot data-plot="{escape(part.name)}"></div></figure>\n'
                )
            case LogRecord():
                parts.append(_log(part))
    return "".join((*parts, "</section>\n"))


def _table(table: PageTable) -> str:
    kinds = [" class=n" if place in table.numbers else "" for place in range(len(table.columns))]
    head = "".join(
        f"<th{kind} scope=col>{escape(one)}</th>" for one, kind in zip(table.columns, kinds, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(_cell(cell, is_number=place in table.numbers) for place, cell in enumerate(row))}</tr>\n"
        for row in table.rows
    )
    rows = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>"
    return f"<div class=scroll tabindex=0><table>\n{rows}\n</table></div>\n"


def _cell(cell: Cell, *, is_number: bool) -> str:
    classes = " ".join(one for one in ("n" if is_number else "", cell.tone) if one)
    text = escape(cell.text)
    if cell.link:
        text = f'<a href="#{cell.link}">{text}</a>'
    return f'<td class="{classes}">{text}</td>' if classes else f"<td>{text}</td>"


def _log(record: LogRecord) -> str:
    count = f" · {record.count:,} times" if record.count > 1 else ""
    lines = escape("\n".join(record.lines))
    tone = "warn" if record.level == "warning" else "bad"
    return (
        f'<details id="{record.anchor}"><summary><span class="{tone}">{escape(record.level)}</span> '
        f"{escape(record.process)}: {escape(record.event)}{count}</summary>"
        f"<p class=sub>{escape(record.file)}</p><pre>{lines}</pre></details>\n"
    )
