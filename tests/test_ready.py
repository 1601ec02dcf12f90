"""The one line that a process waits for which is kept ready."""

import pytest

from arbshard.errors import ProtocolError
from arbshard.ready import numbers_in


def test_one_number_for_each_name():
    assert numbers_in(b"3 17\n", "shard", "epoch") == (3, 17)
    assert numbers_in(b"4\n", "term") == (4,)


@pytest.mark.parametrize("line", [b"\n", b"3\n", b"3 4 5\n", b"a 1\n", b"-1 2\n", b"1 2.0\n", b"\xff 1\n"])
def test_anything_else_is_refused(line):
    with pytest.raises(ProtocolError, match="is not shard and epoch"):
        numbers_in(line, "shard", "epoch")
