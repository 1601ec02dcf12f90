"""Defines the section ``[sampling]``: the series of a run that are kept for plots and analyses."""

from typing import Annotated

from msgspec import Meta

from arbshard.config.section import Section


class SamplingConfig(Section, frozen=True):
    """Sets how often the run is sampled, and how much of that is kept. Needs pyarrow (extra ``analysis``)."""

    enabled: bool = True
    """Whether samples are kept. Without pyarrow none are kept in either case."""
    every_s: Annotated[float, Meta(ge=0.2, le=60)] = 1.0
    segment_s: Annotated[float, Meta(ge=1, le=3600)] = 300.0
    """Length in seconds of one file of each table: so much is lost at most if the writer is killed."""
    keep_hours: Annotated[float, Meta(gt=0, le=100_000)] = 48.0
    """Older files are removed."""
    keep_mb: Annotated[float, Meta(ge=1, le=1_000_000)] = 200.0
    """The oldest files are removed when there is more than this of all runs."""
