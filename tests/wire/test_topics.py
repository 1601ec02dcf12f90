"""What is published is read back as it was; anything else is refused with one error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.errors import ProtocolError
from arbshard.model.notes import VenueNote
from arbshard.wire import topics

NOTE = VenueNote("upbit", "connected", 1, 2, 3, 4.0, 0, 0)


@pytest.mark.parametrize(
    "message",
    [
        topics.BookUpdate("upbit", "KRW-BTC", 4, 5, True, b"\x00frame"),
        topics.VenueUpdate(1, NOTE),
        topics.ControlChange(1, "halt", "", "operator: lunch"),
        topics.Alert(1, "a worker was killed"),
        topics.Beat(1),
    ],
)
def test_a_message_is_read_back(message):
    assert topics.decode(list(topics.encode(message))) == message


@pytest.mark.parametrize("parts", [[], [b""], [b"arb0", b""], [b"arb1"], [b"arb1", b"", b""]])
def test_another_form_or_version_is_refused(parts):
    with pytest.raises(ProtocolError, match="version"):
        topics.decode(parts)


@given(st.binary(max_size=200))
def test_no_bytes_do_harm(noise):
    try:
        topics.decode([topics.VERSION, noise])
    except ProtocolError:
        return


def test_a_markets_topic_is_no_prefix_of_anothers():
    assert not topics.book_topic("upbit", "KRW-AB").startswith(topics.book_topic("upbit", "KRW-A"))
    assert topics.book_topic("upbit", "KRW-A").startswith(topics.book_topic("upbit"))
    assert topics.book_topic("upbit").startswith(topics.BOOKS)
    assert topics.venue_topic("upbit").startswith(topics.VENUES)
