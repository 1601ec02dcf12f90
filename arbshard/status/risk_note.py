"""Implements ``read_risk_note``, which reads risk's newest note from its page."""

from contextlib import suppress

from arbshard.errors import SharedMemoryError
from arbshard.model.risk_note import NO_NOTE, RiskNote, decode_risk_note
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader


def read_risk_note(files: RunFiles) -> RiskNote:
    """Return risk's newest note; an empty note while it is being replaced."""
    with suppress(SharedMemoryError), PageReader.attach(files.risk_page) as page:
        if raw := page.note():
            return decode_risk_note(raw)
    return NO_NOTE
