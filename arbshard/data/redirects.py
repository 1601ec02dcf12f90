"""Redirects are never followed: another host would get our key and our order, and its answer would be trusted.

A venue's answer with a 3xx status is described by one line, for logs and for ``VenueUnavailable``. The code is pure.
"""

from urllib.parse import urljoin, urlsplit


def is_redirect(status: int) -> bool:
    """Return whether an HTTP status sends the client to another address."""
    return 300 <= status < 400


def refusal(status: int, location: str, address: str) -> str:
    """Return the line for an answer of ``status`` from ``address`` that names ``location``.

    Only the scheme and the host of the target are shown: its path may repeat a signature.
    """
    try:
        target = urlsplit(urljoin(address, location))
        where = f"{target.scheme}://{target.netloc.rpartition('@')[2]}" if target.netloc else ""
    except ValueError:
        where = ""
    return f"HTTP {status}: a redirect{f' to {where}' if location and where else ''}, which is not followed"
