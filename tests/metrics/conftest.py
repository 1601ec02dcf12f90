"""A hand-made status."""

import pytest

from support.made_status import made_status


@pytest.fixture
def status():
    return made_status()
