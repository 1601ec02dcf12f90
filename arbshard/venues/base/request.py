"""``Request``: one call to a venue's REST address. Carried out by ``execution.live.clients``."""

from collections.abc import Mapping
from typing import NamedTuple


class Request(NamedTuple):
    """One call."""

    method: str
    path: str
    """Behind the root of the venue's REST calls."""
    params: Mapping[str, str]
    cost: Mapping[str, int]
    """What it takes of each window of the rate limits."""
    private: bool = True
    """Whether it is signed."""
