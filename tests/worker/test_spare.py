"""The one line a spare worker waits for."""

import pytest

from arbshard.errors import ProtocolError
from arbshard.worker.spare import Assignment, parse


def test_shard_and_epoch():
    assert parse(b"3 17\n") == Assignment(3, 17)


@pytest.mark.parametrize("line", [b"\n", b"3\n", b"3 4 5\n", b"a 1\n", b"-1 2\n", b"1 2.0\n", b"\xff 1\n"])
def test_anything_else_is_refused(line):
    with pytest.raises(ProtocolError, match="shard and epoch"):
        parse(line)
