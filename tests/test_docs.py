"""What the pages for contributors name exists, and every word of the glossary is in use."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("CONTRIBUTING.md", "docs/developing.md")
PLACES = ("arbshard", "supervisor", "tests", "docs", "configs", "scripts", "perf", "examples")


def paths_in(text: str) -> list[str]:
    """Every path of the repository that stands in backticks."""
    return re.findall(rf"`((?:{'|'.join(PLACES)})/[\w./-]*)`", text)


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, without headings and rulers."""
    lines = [line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in cells] for cells in lines]


def test_each_row_of_the_map_names_something_that_exists():
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("## I want to change")[2].partition("\n## ")[0]
    table = [cells for cells in rows(section) if cells[0] != "I want to change"]
    assert len(table) > 20
    for change, where in table:
        named = re.findall(r"`([^`]+)`", where)
        assert named, change
        for path in named:
            assert (ROOT / path).exists(), f"{change}: {path}"


@pytest.mark.parametrize("page", PAGES)
def test_paths_that_a_page_names_exist(page):
    named = paths_in((ROOT / page).read_text())
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_that_a_page_names_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([\w-]+)", (ROOT / page).read_text(), re.MULTILINE))
    assert named
    assert named <= targets


def test_every_word_of_the_glossary_is_in_use():
    glossary = ROOT / "docs" / "glossary.md"
    table = [cells for cells in rows(glossary.read_text()) if cells[0] != "word"]
    files = [path for place in ("arbshard", "supervisor", "tests") for path in (ROOT / place).rglob("*.py")]
    files += [ROOT / "README.md", *(path for path in (ROOT / "docs").rglob("*.md") if path != glossary)]
    texts = "\n".join(path.read_text(encoding="utf-8") for path in files if path != Path(__file__)).lower()
    words = [word for cells in table for word in cells[0].split(", ")]
    assert len(words) > 80
    assert [word for word in words if not re.search(rf"\b{re.escape(word.lower())}", texts)] == []


def test_no_word_of_the_glossary_is_explained_twice():
    words = [
        word for cells in rows((ROOT / "docs" / "glossary.md").read_text()) for word in cells[0].split(", ")
    ]
    words = [word for word in words if word != "word"]
    assert sorted(words) == sorted(set(words))


def test_index_names_every_page_once() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    named = re.findall(r"\]\(((?!\.\./)[\w-]+\.md)\)", index)
    assert sorted(named) == sorted(
        path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"
    )


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_each_row_of_the_readme_names_folders_and_a_place_to_start() -> None:
    section = (ROOT / "README.md").read_text().partition("## Where things are")[2]
    table = [cells for cells in rows(section) if cells[0] != "path"]
    assert len(table) > 10
    for where, _role, start in table:
        named = re.findall(r"`([^`]+)`", f"{where} {start}")
        assert [path for path in named if not (ROOT / path).exists()] == [], where
