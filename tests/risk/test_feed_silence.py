"""Whether any venue still sends something, as the supervisor says."""

import msgspec
import pytest

from arbshard.model.notes import SupervisorNote, VenueNote
from arbshard.risk.feed_silence import FeedWatch, is_silent
from arbshard.shm.pages import PageWriter

S = 1_000_000_000


def note(*states, run="running") -> SupervisorNote:
    venues = tuple(VenueNote(f"v{n}", state, 1, 1, 1, 0.0, 0, 0) for n, state in enumerate(states))
    return SupervisorNote("t", "paper", "sim", run, 1, 1, "", 1, 1, venues)


@pytest.mark.parametrize(
    ("states", "run", "silent"),
    [
        (("connected", "connected"), "running", False),
        (("connected", "down"), "running", False),
        (("partly", "stale"), "running", False),
        (("stale", "down"), "running", True),
        (("down",), "running", True),
        (("down", "down"), "draining", False),
        (("connecting", "connecting"), "running", False),
        ((), "running", False),
    ],
)
def test_silent_is_when_every_venue_is_lost(states, run, silent) -> None:
    assert is_silent(note(*states, run=run)) is silent


def test_looks_once_a_second(tmp_path) -> None:
    path = tmp_path / "page"
    watch = FeedWatch(path)
    try:
        assert watch.poll(0) is False  # no page: nobody says
        with PageWriter.create(path, ("pid",)) as page:
            page.write_note(msgspec.json.encode(note("down")))
            assert watch.poll(S - 1) is False
            assert watch.lost == frozenset()
            assert watch.poll(S) is True
            assert watch.lost == {"v0"}
            page.write_note(msgspec.json.encode(note("connected")))
            assert watch.poll(2 * S - 1) is True
            assert watch.poll(2 * S) is False
            assert watch.lost == frozenset()
    finally:
        watch.close()


def test_a_page_without_a_note_yet_is_not_silence(tmp_path) -> None:
    path = tmp_path / "page"
    watch = FeedWatch(path)
    with PageWriter.create(path, ("pid",)) as page:
        assert watch.poll(0) is False
        page.write_note(msgspec.json.encode(note("down")))
        assert watch.poll(S) is True
    watch.close()
    watch.close()


def test_what_cannot_be_read_is_not_silence(tmp_path) -> None:
    path = tmp_path / "page"
    path.write_bytes(b"nonsense")
    watch = FeedWatch(path)
    assert watch.poll(0) is False
    watch.close()
