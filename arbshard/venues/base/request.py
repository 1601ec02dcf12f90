"""``VenueRequest``: one call to a venue's REST address. A ``VenueClient`` (``base.client``) carries it out."""

from collections.abc import Mapping
from typing import NamedTuple


class VenueRequest(NamedTuple):
    """One call."""

    method: str
    path: str
    """Behind the venue's ``rest_url``; begins with a slash."""
    params: Mapping[str, str]
    cost: Mapping[str, int]
    """What it takes of each window of the rate limits."""
    private: bool = True
    """Whether it is signed."""
