"""Defines the section ``[ledger]``: how the record of trading is kept."""

from typing import Annotated

from msgspec import Meta

from arbshard.config.section import Section


class LedgerConfig(Section, frozen=True):
    """Sets how the record of trading is kept."""

    archive_events: Annotated[int, Meta(ge=0, le=1_000_000)] = 40_000
    """A period with so many events is archived while trading goes on; 0: only by ``arbshard ledger archive``."""
