"""Defines ``VenueRequest``: one call to a venue's REST address. A ``VenueClient`` (``base.client``) executes it."""

from collections.abc import Mapping
from typing import NamedTuple


class VenueRequest(NamedTuple):
    """Is one call to a venue, before it is signed."""

    method: str
    path: str
    """Path after the venue's ``rest_url``; it begins with a slash."""
    params: Mapping[str, str]
    cost: Mapping[str, int]
    """How much the call uses of each window of the rate limits, by the window's name."""
    private: bool = True
    """Whether it is signed."""
