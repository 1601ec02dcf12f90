"""The HTTP session that is given to ccxt: it follows no redirect and keeps to the rule for proxies.

ccxt calls the session's methods without saying anything of redirects, and aiohttp would then follow them, with the
API key and the signed order, to any host. ``clients`` makes one session for each exchange.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypedDict, Unpack

import aiohttp
from yarl import URL

Reply = AbstractAsyncContextManager[aiohttp.ClientResponse]


class Call(TypedDict):
    """What ccxt passes with every call."""

    data: bytes | None
    headers: Mapping[str, str]
    timeout: aiohttp.ClientTimeout
    proxy: str | None


class DirectSession:
    """The part of ``aiohttp.ClientSession`` that ccxt uses, with the same names."""

    def __init__(self, session: aiohttp.ClientSession, proxy: str | None) -> None:
        """All calls go through ``proxy``; None for direct calls."""
        self._session = session
        self._proxy = proxy

    @property
    def headers(self) -> Mapping[str, str]:
        """What is sent with every call, besides the call's own headers."""
        return self._session.headers

    def get(self, url: URL, **call: Unpack[Call]) -> Reply:
        """Send a GET."""
        return self._send("GET", url, call)

    def post(self, url: URL, **call: Unpack[Call]) -> Reply:
        """Send a POST."""
        return self._send("POST", url, call)

    def delete(self, url: URL, **call: Unpack[Call]) -> Reply:
        """Send a DELETE."""
        return self._send("DELETE", url, call)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def _send(self, method: str, url: URL, call: Call) -> Reply:
        assert call["proxy"] is None, "nothing sets ccxt's own proxy"
        return self._session.request(
            method,
            url,
            data=call["data"],
            headers=call["headers"],
            timeout=call["timeout"],
            proxy=self._proxy,
            allow_redirects=False,
        )
