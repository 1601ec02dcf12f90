"""Keeps what a host knows of the other hosts by what their agents state. ``HostCore`` and ``ShardPlacer`` use it."""

from collections.abc import Iterator

from arbshard.model.cluster_note import HostView


class Neighbour:
    """Is what this host knows of another one."""

    def __init__(self, now_ns: int) -> None:
        self.view: HostView | None = None
        self.changed_ns = now_ns
        """When the view came."""
        self.joined_term = 0
        """The last term in which the host was in contact with the leader."""
        self.had_pairs_ns = now_ns
        """When its supervisor had the pairs of the cluster last."""


class Neighbours:
    """Knows all other hosts."""

    def __init__(self, hosts: tuple[str, ...], patience_ns: int, now_ns: int) -> None:
        self._patience_ns = patience_ns
        self._known = {host: Neighbour(now_ns) for host in hosts}

    def __contains__(self, host: str) -> bool:
        return host in self._known

    def __getitem__(self, host: str) -> Neighbour:
        return self._known[host]

    def __iter__(self) -> Iterator[tuple[str, Neighbour]]:
        return iter(self._known.items())

    @property
    def views(self) -> dict[str, HostView]:
        """Return the newest view of each host that has sent one."""
        return {host: one.view for host, one in self._known.items() if one.view is not None}

    def heed(self, host: str, view: HostView, now_ns: int) -> None:
        """Note what a host states of itself."""
        neighbour = self._known[host]
        neighbour.view, neighbour.changed_ns = view, now_ns
        if view.universe:
            neighbour.had_pairs_ns = now_ns
        neighbour.joined_term = max(neighbour.joined_term, view.term)

    def is_silent(self, host: str, now_ns: int) -> bool:
        """Return whether nothing has come from a host for so long that its lease has certainly expired."""
        neighbour = self._known[host]
        return neighbour.view is None or now_ns - neighbour.changed_ns >= self._patience_ns
