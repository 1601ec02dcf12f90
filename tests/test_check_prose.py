"""The prose check finds each kind of fault, and accepts what is written well."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
import check_prose


def check(folder: Path, text: str, name: str = "module.py") -> list[str]:
    path = folder / name
    path.write_text(text)
    return [f"{found.line}: {found.text}" for found in check_prose.findings([folder])]


@pytest.mark.parametrize(
    "docstring",
    ["Of one entry.", "It.", "See ``X``.", "What is left.", "The newest universe.", "Nothing to close."],
)
def test_fragment_is_found_in_a_function(tmp_path: Path, docstring: str) -> None:
    found = check(tmp_path, f'"""Holds one function."""\n\ndef f():\n    """{docstring}"""\n')
    assert found == [f'4: the docstring begins with no verb: "{docstring}"']


@pytest.mark.parametrize(
    "docstring", ["Return the newest universe.", "Returns it.", "Carries on, or raises."]
)
def test_sentence_is_accepted_in_a_function(tmp_path: Path, docstring: str) -> None:
    assert check(tmp_path, f'"""Holds one function."""\n\ndef f():\n    """{docstring}"""\n') == []


def test_noun_phrase_is_found_in_modules_and_classes(tmp_path: Path) -> None:
    found = check(tmp_path, '"""Orders by venue."""\n\nclass A:\n    """All books."""\n')
    assert found == [
        '1: the docstring has no verb: "Orders by venue."',
        '4: the docstring has no verb: "All books."',
    ]


def test_sentence_is_accepted_in_modules_and_classes(tmp_path: Path) -> None:
    assert check(tmp_path, '"""Sorts orders by venue."""\n\nclass A:\n    """All books are here."""\n') == []


def test_figure_of_speech_is_found_in_strings_comments_and_documents(tmp_path: Path) -> None:
    code = '"""Sorts."""\nX = "nobody asked"  # it was told\nnobody = told = "nobody"\n'
    assert check(tmp_path, code) == [
        '2: "nobody": say no process, nothing, or no person',
        '2: "told": say informed, sent, or reported',
    ]
    (tmp_path / "module.py").unlink()
    assert check(tmp_path, "Risk is\nheard.\n", "page.md") == ['2: "heard": say received']


@pytest.mark.parametrize(
    ("verb", "third"), [("carry", "carries"), ("push", "pushes"), ("say", "says"), ("do", "does")]
)
def test_third_person(verb: str, third: str) -> None:
    assert check_prose.third_person(verb) == third


@pytest.mark.parametrize("text", ["It is None on paper.", "Of the limit."])
def test_attribute_without_a_subject_is_found(tmp_path: Path, text: str) -> None:
    found = check(tmp_path, f'"""Holds one value."""\n\nX = 1\n"""{text}"""\n')
    assert found == [f'4: the text names no subject: "{text}"']
