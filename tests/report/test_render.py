"""The three forms of a report: the same figures, nothing from outside, and no text that becomes a program."""

import json
import re
from html import unescape
from html.parser import HTMLParser

import pytest

from arbshard.model.verdict import Verdict, VerdictCheck
from arbshard.report.build import build
from arbshard.report.compare import compare, comparison_document
from arbshard.report.document import document_of
from arbshard.report.findings import amount
from arbshard.report.html import render_html
from arbshard.report.markdown import render_markdown
from arbshard.report.sources import read_sources
from arbshard.report.write import write_report
from support import world as w

HOSTILE = "</script><script>alert(1)</script><img src=http://x.example/y onerror=alert(2)> | *bold* `code`"
VERDICT = Verdict("failed", ("It lost money.",), (VerdictCheck("profit", False, "It lost 5 KRW."),))


@pytest.fixture
def report(run_dir):
    line = json.dumps(
        {"event": HOSTILE, "level": "error", "timestamp": "2026-11-28T07:00:01Z", "process": "supervisor"}
    )
    (run_dir / "logs").mkdir()
    (run_dir / "logs" / "supervisor.jsonl").write_text(line + "\n")
    return build(read_sources(run_dir), w.NOW_MS, verdict=VERDICT)


class Page(HTMLParser):
    """The elements of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.addresses = [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.add(value)
            if name == "href" and value.startswith("#"):
                self.links.append(value[1:])
            elif name in ("src", "href", "srcset", "action", "data"):
                self.addresses.append(value)
            assert not name.startswith("on"), (tag, name)


@pytest.fixture
def page(report):
    return render_html(document_of(report), "/* plotly */")


def test_a_page_names_no_address_and_its_links_lead_somewhere(page):
    parsed = Page(page)
    assert parsed.addresses == []
    assert len(parsed.links) > 8
    assert set(parsed.links) <= parsed.ids
    assert "default-src 'none'" in unescape(page)


def test_text_of_a_log_is_only_text(page):
    parsed = Page(page)
    assert parsed.tags.count("script") == 3
    assert "img" not in parsed.tags
    assert "alert(1)" in page


def test_plots_are_in_the_page_once(page, report):
    found = re.search(r'<script id="plots" type="application/json">(.*?)</script>', page, re.DOTALL)
    plots = json.loads(found.group(1))
    drawn = re.findall(r'data-plot="(\w+)"', page)
    assert sorted(drawn) == sorted(plots) == sorted(one.name for one in report.plots if one.lines)
    assert plots["pnl"]["lines"][0]["x"] == [one.symbol for one in report.symbols]


def test_plotly_cannot_end_its_own_element(report):
    page = render_html(document_of(report), 'let x = "</script><b>";')
    assert "b" not in Page(page.partition("</header>")[2].partition("</main>")[2]).tags


def test_page_and_markdown_say_the_same(page, report):
    document = document_of(report)
    text = render_markdown(document).replace("\\", "")
    for words in (
        "failed",
        "It lost money.",
        *(one.text for one in report.findings),
        *(tile.value for tile in document.tiles),
        *(amount(one.pnl, signed=True) for one in report.symbols),
        *(section.title for section in document.sections),
    ):
        assert words in unescape(page), words
        assert words in text, words


def test_markdown_tables_have_a_cell_for_every_column(report):
    lines = render_markdown(document_of(report)).splitlines()
    tables, width = 0, 0
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not line.startswith("|"):
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        if following.startswith("|-"):
            tables, width = tables + 1, cells
        assert cells == width, line
    assert tables > 8


def test_written_forms_agree(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("arbshard.report.write.plotly_script", lambda: "")
    paths = write_report(run_dir, tmp_path / "out", verdict=VERDICT, title="Campaign S0")
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"report.html", "report.md", "report.json"}
    assert all(one.stat().st_mode & 0o077 == 0 for one in paths)
    figures = json.loads(paths.json.read_text())
    assert figures["verdict"]["outcome"] == "failed"
    assert paths.markdown.read_text().startswith("# Campaign S0\n")
    assert amount(float(figures["pnl"]["total"]), signed=True) in paths.html.read_text()


def test_two_runs_side_by_side(report, run_dir):
    other = build(read_sources(run_dir, w.NOW_MS + 30_000), w.NOW_MS)
    found = compare(report, other)
    assert found.difference["result"] == other.pnl.total - report.pnl.total
    assert found.difference["exits"] == -1
    document = comparison_document(report, other)
    text = render_markdown(document)
    assert amount(other.pnl.total - report.pnl.total, signed=True) in text
    assert Page(render_html(document, "")).addresses == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (12.345, "12.35"),
        (-999.999, "−1,000.00"),
        (1234.5, "1,234"),
        (-1e9, "−1,000,000,000"),
    ],
)
def test_amounts_are_written_for_people(value, text):
    assert amount(value) == text
