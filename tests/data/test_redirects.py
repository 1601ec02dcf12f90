"""The line about a redirect names the target's host, and nothing that could be a secret."""

import pytest

from arbshard.data.redirects import is_redirect, refusal


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("http://evil.test:81/order?signature=s3cret", " to http://evil.test:81"),
        ("https://user:s3cret@evil.test/", " to https://evil.test"),
        ("//evil.test/s3cret", " to https://evil.test"),
        ("/elsewhere?signature=s3cret", " to https://venue.test"),
        ("", ""),
        ("http://[s3cret", ""),
    ],
)
def test_line(location, named):
    said = refusal(307, location, "https://venue.test/order?signature=s3cret")
    assert said == f"HTTP 307: a redirect{named}, which is not followed"


def test_statuses():
    assert [status for status in range(100, 600) if is_redirect(status)] == list(range(300, 400))
