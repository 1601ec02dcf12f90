"""A hand-made status, and how it looks."""

from io import StringIO

import pytest
from rich.console import Console

from support.made_status import made_shards, made_status


@pytest.fixture
def shards():
    return made_shards()


@pytest.fixture
def status():
    return made_status()


@pytest.fixture
def drawn():
    """The text of a drawing on a wide terminal."""

    def draw(renderable):
        page = StringIO()
        Console(file=page, width=220, color_system=None).print(renderable)
        return page.getvalue()

    return draw


@pytest.fixture
def row(drawn):
    """The words of the line that begins with something."""

    def find(renderable, start):
        (line,) = [line for line in drawn(renderable).splitlines() if line.strip(" │┃").startswith(start)]
        return [word for word in line.replace("│", " ").split() if word]

    return find
