"""What an answer says about asking again."""

import pytest

from arbshard.venues.base.client import Answer


@pytest.mark.parametrize(
    ("status", "retry_after", "pause_s"),
    [
        (200, "9", 0.0),
        (500, None, 0.0),
        (429, None, 1.0),
        (429, "0", 1.0),
        (429, "30", 30.0),
        (418, None, 120.0),
        (418, "Wed, 21 Oct 2026 07:28:00 GMT", 120.0),
        (418, "99999999999", 3 * 24 * 3600.0),
    ],
)
def test_pause(status, retry_after, pause_s):
    headers = {} if retry_after is None else {"retry-after": retry_after}
    assert Answer(status, b"", headers).pause_s == pause_s
