"""Decides which requests the simulated exchanges accept: those of programs on this machine, and none of a web page.

It is pure; ``server`` calls it. A browser lets every page send requests to this machine, and the accounts' default
keys are public. But a page can neither leave out the ``Origin`` header nor send this machine's ``Host`` from a
domain of its own. The fault switchboard and the accounts' books below ``/sim`` also need the token of this start. It
is in the ready file, which other users of the machine cannot read.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from arbshard.config.sim import is_loopback
from arbshard.exchanges.session import RestReply
from arbshard.secret import Secret

CONTROLS = ("/sim/faults", "/sim/accounts")
"""Paths that need the token."""
_DEFAULT_PORT = 80


class Guard:
    """Refuses requests by their headers, before anything else reads them."""

    def __init__(self, token: Secret, *, exposed: bool) -> None:
        """Guard the controls by ``token``; ``exposed`` lets other machines call, by any host name."""
        self._token = token
        self._exposed = exposed

    def refusal(self, method: str, path: str, headers: Mapping[str, str], port: int) -> RestReply | None:
        """Return the answer to a request that is refused; None when it may pass. ``port`` is the local port it came
        to.
        """
        host = headers.get("Host", "")
        name, named_port = _parts(host)
        is_control = path in CONTROLS
        if not self._exposed and not is_loopback(name):
            return _refuse(403, f"the Host {host!r} is not this machine")
        if not self._exposed and is_control and named_port != port:
            return _refuse(403, f"the Host {host!r} does not name port {port}")
        origin = headers.get("Origin")
        if origin is not None and (is_control or urlsplit(origin).netloc != host):
            return _refuse(403, "no page in a browser may call: leave out the header Origin")
        if not is_control:
            return None
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not self._token.matches(given):
            return _refuse(
                401, "needs the header 'Authorization: Bearer TOKEN' with the token of the ready file"
            )
        if (
            method == "POST"
            and headers.get("Content-Type", "").partition(";")[0].strip() != "application/json"
        ):
            return _refuse(415, "needs the header 'Content-Type: application/json'")
        return None


def _parts(host: str) -> tuple[str, int]:
    """Return name and port of a ``Host`` header; the name is empty when the header is invalid."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "", parts.port or _DEFAULT_PORT
    except ValueError:
        return "", 0


def _refuse(status: int, why: str) -> RestReply:
    return RestReply(status, {}, f"arbshard: {why}\n".encode(), "text/plain")
