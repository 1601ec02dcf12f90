"""Defines every exception that arbshard raises on purpose.

::

    ArbshardError
    ├── UsageError            the person must change something: one line, exit code 2
    │   ├── ConfigError       a key or value in a configuration file
    │   └── RunDirError       run or state directory unusable, or another instance holds it
    ├── VenueError            an exchange, or what it sent
    │   ├── FrameError        a frame that cannot be trusted; counted, never traded on
    │   └── VenueUnavailable  no connection or no answer; worth a retry
    │       └── MarketsClosed    no market that is wanted is listed as trading; worth a retry
    ├── RunStopped            the run was ended on request before it had begun to trade
    ├── RunFailed             the run cannot continue
    │   ├── ChildFailed       a process that it needs could not be started or kept
    │   ├── LeadershipLost    another host may lead the cluster by now
    │   └── FeedFailed        a connection or poller ended because of a defect of ours
    ├── SharedMemoryError     a mapping of another layout, or a writer that died inside a write
    ├── TransportError        a message socket
    │   ├── RequestTimeout    no reply in time: the outcome is unknown; worth a retry under the same id
    │   └── ProtocolError     a message that cannot be decoded, or of another protocol version
    └── LedgerError           the ledger cannot be trusted or written; trading stops
        ├── LedgerVersionError   written by a newer arbshard
        ├── LedgerBusy           another program is using its file now; worth another try
        ├── LedgerDamaged        what is stored contradicts itself
        ├── LedgerChanged        its files were changed, replaced or removed by others while it was in use
        └── LedgerFull           no room for what was to be written

Refusals of trades are values with numbered reasons (``model.refusal``), not exceptions.
"""


class ArbshardError(Exception):
    """Is the root of the tree."""


class UsageError(ArbshardError):
    """Says that the person must change something. ``str()`` is the one line that is shown; the exit code is 2."""


class ConfigError(UsageError):
    """Says that a key or value in a configuration file or on the command line is wrong."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem


class RunDirError(UsageError):
    """Says that the run or state directory cannot be used."""


class VenueError(ArbshardError):
    """Says that an exchange, or what it sent, has failed."""


class FrameError(VenueError):
    """Says that a frame cannot be trusted. ``reason`` is one of a few fixed words, so that it can be counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class VenueUnavailable(VenueError):
    """Says that there is no connection to the venue, or no answer from it."""


class MarketsClosed(VenueUnavailable):
    """Says that a venue lists no market that is wanted as trading."""


class RunFailed(ArbshardError):
    """Says that the run cannot continue."""


class RunStopped(ArbshardError):
    """Says that a run was ended on request before it had begun to trade."""


class ChildFailed(RunFailed):
    """Says that a process that the run needs could not be started or kept."""


class LeadershipLost(RunFailed):
    """Says that another host may lead the cluster by now, so this one decides nothing more."""


class FeedFailed(RunFailed):
    """Says that a connection or poller ended because of a defect of ours; the cause is never what an
    exchange does.
    """


class SharedMemoryError(ArbshardError):
    """Says that a mapping has another layout version, or that its writer died inside a write."""


class TransportError(ArbshardError):
    """Says that a message socket has failed."""


class RequestTimeout(TransportError):
    """Says that there was no reply in time: the outcome is unknown. Ask again under the same request id."""


class ProtocolError(TransportError):
    """Says that a message cannot be decoded, or is of another protocol version."""


class LedgerError(ArbshardError):
    """Says that the ledger cannot be trusted or written; trading stops."""


class LedgerVersionError(LedgerError):
    """Says that the ledger was written by a newer arbshard."""


class LedgerBusy(LedgerError):
    """Says that another program is using the ledger's file now; the same call may succeed a little later."""


class LedgerDamaged(LedgerError):
    """Says that what is stored contradicts itself."""


class LedgerChanged(LedgerError):
    """Says that the ledger's files were changed by others, or are not those with which the run began."""


class LedgerFull(LedgerError):
    """Says that the disk had no room for what was to be written; nothing of it is stored."""
