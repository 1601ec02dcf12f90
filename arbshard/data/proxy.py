"""Applies one rule to every connection to a venue: loopback is reached directly, other hosts by the environment's
proxy.

The environment names it in ``https_proxy`` (for ``https`` and ``wss``), ``http_proxy`` (for ``http`` and ``ws``) and
``no_proxy``, also in upper case. Only proxies at ``http://`` addresses are supported, because they are the only ones
that all clients here can use.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from arbshard.errors import UsageError

_SECURE = ("https", "wss")


def proxy_for(address: str) -> str | None:
    """Return the proxy for a connection to ``address``; None for a direct one.

    It may hold a password, so it is never shown. Raises ``UsageError`` for a proxy that cannot be used.
    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    if is_loopback(host):
        return None
    kind = "https" if parts.scheme in _SECURE else "http"
    proxy = getproxies_environment().get(kind)
    if not proxy or proxy_bypass(host):
        return None
    if not _is_usable(proxy):
        raise UsageError(
            f"{kind}_proxy in the environment: {host} can only be reached through a proxy of the form "
            "http://host:port, or directly when no_proxy names it"
        )
    return proxy


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine by its own name or address; no name is looked up."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_usable(proxy: str) -> bool:
    try:
        parts = urlsplit(proxy)
        return parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number
        return False
