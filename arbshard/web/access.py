"""Who may look at the desk and who may operate it. Pure: the time and every random text are arguments.

Two rights: ``viewer`` looks, ``operator`` acts as well. A person signs in with a token once; the browser then has a
cookie that no script can read, and a second text that the page sends with every action. A request that changes
something needs both, and an ``Origin`` that is the desk's own, so that no page of another site can send it. ``Host``
is checked on every request: a name that resolves to this computer but is not known here (DNS rebinding) gets nothing.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal, NamedTuple

from arbshard.secret import Secret

Right = Literal["none", "viewer", "operator"]
_RANK: Mapping[Right, int] = {"none": 0, "viewer": 1, "operator": 2}
_SESSIONS_MAX = 64
_SESSION_NS = 12 * 3600 * 1_000_000_000
_FREE_FAILURES = 5
"""So many wrong tokens are answered at once; after that each is followed by a pause."""
_PAUSE_NS = 1_000_000_000
_PAUSE_MAX_NS = 60_000_000_000


class DeskSession(NamedTuple):
    """What a browser may do."""

    right: Right
    proof: str = ""
    """What the page must send with every action; empty where it may do none."""
    since_ns: int = 0
    person: str = ""
    """Who signed in, as they called themselves."""

    def has(self, right: Right) -> bool:
        """Return whether it includes ``right``."""
        return _RANK[self.right] >= _RANK[right]


class DeskAccess:
    """Holds the rights of one desk and the sessions of its browsers."""

    def __init__(
        self, origins: frozenset[str], operator: Secret, viewer: Secret | None, *, cookie: str
    ) -> None:
        """Make it for a desk that is reached at ``origins``, such as ``http://127.0.0.1:8420``.

        ``viewer``: None where everybody who reaches the address may look. ``cookie``: its name.
        """
        assert operator, "an empty token would let everybody in"
        assert viewer is None or viewer, "an empty token would let everybody in"
        self.origins = origins
        self.cookie = cookie
        self._hosts = frozenset(origin.partition("://")[2] for origin in origins)
        self._operator = operator
        self._viewer = viewer
        self._sessions: OrderedDict[str, DeskSession] = OrderedDict()
        self._failures = 0
        self._barred_until_ns = 0

    @property
    def viewing_is_open(self) -> bool:
        """Return whether looking needs no token."""
        return self._viewer is None

    def is_own_host(self, host: str | None) -> bool:
        """Return whether the header ``Host`` names this desk."""
        return host is not None and host.lower() in self._hosts

    def is_own_origin(self, origin: str | None) -> bool:
        """Return whether a request comes from the desk's own page."""
        return origin is not None and origin.lower() in self.origins

    def pause_s(self, now_ns: int) -> float:
        """Return how long no token is accepted, after several wrong ones; 0 when one may be tried now."""
        return max(0, self._barred_until_ns - now_ns) / 1e9

    def sign_in(self, token: str, person: str, now_ns: int, key: str, proof: str) -> DeskSession | None:
        """Begin a session with the right of ``token``; None for a wrong one.

        ``key`` and ``proof`` are two random texts: the cookie's value, and what the page sends with actions.
        """
        right: Right = "none"
        if self._operator.matches(token.strip()):
            right = "operator"
        elif self._viewer is not None and self._viewer.matches(token.strip()):
            right = "viewer"
        if right == "none":
            self._failures += 1
            if (extra := self._failures - _FREE_FAILURES) >= 0:
                self._barred_until_ns = now_ns + min(_PAUSE_NS << min(extra, 10), _PAUSE_MAX_NS)
            return None
        self._failures = 0
        session = DeskSession(right, proof if right == "operator" else "", now_ns, person)
        self._sessions[key] = session
        while len(self._sessions) > _SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return session

    def sign_out(self, key: str | None) -> None:
        """End a session."""
        self._sessions.pop(key or "", None)

    def session(self, key: str | None, now_ns: int) -> DeskSession:
        """Return what the browser with the cookie ``key`` may do now."""
        found = self._sessions.get(key or "")
        if found is not None and now_ns - found.since_ns < _SESSION_NS:
            return found
        self._sessions.pop(key or "", None)
        return DeskSession("viewer" if self.viewing_is_open else "none")

    def may_act(self, session: DeskSession, proof: str | None) -> bool:
        """Return whether a request with ``proof`` may act. The proof is compared in constant time."""
        return session.has("operator") and bool(session.proof) and Secret(session.proof).matches(proof or "")
