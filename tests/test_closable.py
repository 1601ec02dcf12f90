"""``Closable``: the end of a ``with`` statement closes, also after an error, which goes on."""

import pytest

from arbshard.closable import Closable


class Thing(Closable):
    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


def test_the_end_of_a_with_statement_closes():
    with Thing() as thing:
        assert thing.closed == 0
    assert thing.closed == 1


def test_an_error_closes_and_goes_on():
    thing = Thing()
    with pytest.raises(ValueError, match="inside"), thing:
        raise ValueError("inside")
    assert thing.closed == 1
