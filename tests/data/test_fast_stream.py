"""What picows gives back when a connection is lost at once."""

import pytest

from arbshard.data.stream import Target
from arbshard.errors import VenueUnavailable


@pytest.mark.needs("fast")
async def test_a_connection_that_is_lost_as_it_is_opened_is_a_venue_that_is_unavailable(monkeypatch):
    """An exchange that is killed right after the handshake: a failed assertion here ended the whole run."""

    from arbshard.data import fast_stream  # it needs the extra

    async def lost(*_: object, **__: object) -> tuple[None, None]:
        return None, None

    monkeypatch.setattr(fast_stream, "ws_connect", lost)
    target = Target("ws://127.0.0.1:1/ws", 30.0)
    with pytest.raises(VenueUnavailable, match="lost as it was opened"):
        async with fast_stream.open_fast_stream(target, lambda message, at_ns: None, lambda: 0):
            raise AssertionError("it is not open")
