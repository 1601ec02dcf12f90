"""Writes a report's three forms into a folder: ``report.html``, ``report.md``, ``report.json``."""

from collections.abc import Sequence
from pathlib import Path
from time import time_ns
from typing import NamedTuple

import msgspec

from arbshard.errors import UsageError
from arbshard.ledger.reader import EVER
from arbshard.model.verdict import Anomaly, Verdict
from arbshard.private_files import open_private
from arbshard.report.build import build
from arbshard.report.document import Document, document_of
from arbshard.report.html import plotly_script, render_html
from arbshard.report.markdown import render_markdown
from arbshard.report.sources import read_sources


class ReportPaths(NamedTuple):
    """Says where a report was written."""

    html: Path
    markdown: Path
    json: Path


def write_report(
    state_dir: Path,
    out_dir: Path,
    *,
    verdict: Verdict | None = None,
    anomalies: Sequence[Anomaly] = (),
    title: str = "",
    since_ms: int = EVER,
) -> ReportPaths:
    """Analyse the run of ``state_dir`` and write the report. A run that is still active is analysed as it is now.

    Raises ``UsageError`` (no ledger, plotly is missing, the folder cannot be written), ``LedgerError``.
    """
    plotly = plotly_script()
    sources = read_sources(state_dir, since_ms)
    report = build(sources, time_ns() // 1_000_000, verdict=verdict, anomalies=anomalies, title=title)
    return write_forms(out_dir, document_of(report), report, plotly)


def write_forms(out_dir: Path, document: Document, figures: msgspec.Struct, plotly: str) -> ReportPaths:
    """Write the three forms of one report. Raises ``UsageError``."""
    paths = ReportPaths(*(out_dir / name for name in ("report.html", "report.md", "report.json")))
    texts = (
        render_html(document, plotly),
        render_markdown(document),
        to_json(figures),
    )
    try:
        out_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path, text in zip(paths, texts, strict=True):
            partial = path.with_name(f".{path.name}.partial")
            with open_private(partial, "w", "utf-8") as file:
                file.write(text)
            partial.replace(path)
    except OSError as error:
        raise UsageError(
            f"{error.filename or out_dir}: the report cannot be written: {error.strerror}"
        ) from error
    return paths


def to_json(figures: msgspec.Struct) -> str:
    """Return the figures as one line of JSON; amounts are text, so that no reader rounds them."""
    return msgspec.json.encode(figures).decode() + "\n"
