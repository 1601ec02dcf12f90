"""Defines the section ``[metrics]``: figures of the run for Prometheus."""

from typing import Annotated

from msgspec import Meta

from arbshard.config.section import PortNumber, Section


class MetricsConfig(Section, frozen=True):
    """Sets where figures are offered over HTTP. Needs prometheus-client (extra ``metrics``)."""

    enabled: bool = False
    host: str = "127.0.0.1"
    """Whoever reaches this address sees equity, results and positions; there is no password."""
    port: PortNumber = 9464
    """The port; 0 for any free port, which ``arbshard status`` shows."""
    per_symbol: Annotated[int, Meta(ge=0, le=200)] = 0
    """Number of pairs that have figures of their own: those with the most entries, which are kept once they are
    shown.
    """
