"""Every exception arbshard raises on purpose.

::

    ArbshardError
    ├── UsageError            the person must change something: one line, exit code 2
    │   ├── ConfigError       a key or value in a configuration file
    │   └── RunDirError       run or state directory unusable, or another instance holds it
    ├── VenueError            an exchange, or what it sent
    │   ├── FrameError        a frame that cannot be trusted; counted, never traded on
    │   └── VenueUnavailable  no connection or no answer; worth a retry
    ├── RunFailed             the run cannot go on
    │   ├── ChildFailed       a process it cannot do without could not be started or kept
    │   └── FeedFailed        a connection or poller ended in a defect of ours
    ├── SharedMemoryError     a mapping of another layout, or a writer that died inside a write
    ├── TransportError        a message socket
    │   ├── RequestTimeout    no reply in time: the outcome is unknown; worth a retry under the same id
    │   └── ProtocolError     a message that cannot be decoded, or of another protocol version
    └── LedgerError           the ledger cannot be trusted or written; trading stops
        ├── LedgerVersionError   written by a newer arbshard
        ├── LedgerBusy           another program is using its file just now; worth another try
        ├── LedgerDamaged        what is stored contradicts itself
        ├── LedgerChanged        somebody else changed, replaced or removed its files while it was in use
        └── LedgerFull           no room for what was to be written

Refusals of trades are values with numbered reasons (``model.refusal``), not exceptions.
"""


class ArbshardError(Exception):
    """Root of the tree."""


class UsageError(ArbshardError):
    """The person must change something. ``str()`` is the one line shown; the exit code is 2."""


class ConfigError(UsageError):
    """A key or value in a configuration file or on the command line."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem


class RunDirError(UsageError):
    """The run or state directory cannot be used."""


class VenueError(ArbshardError):
    """An exchange, or what it sent."""


class FrameError(VenueError):
    """A frame that cannot be trusted. ``reason`` is one of a few fixed words, so that it can be counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class VenueUnavailable(VenueError):
    """No connection to the venue, or no answer from it."""


class RunFailed(ArbshardError):
    """The run cannot go on."""


class ChildFailed(RunFailed):
    """A process that the run cannot do without could not be started or kept."""


class FeedFailed(RunFailed):
    """A connection or poller ended in a defect of ours; what an exchange does is never the cause."""


class SharedMemoryError(ArbshardError):
    """A mapping of another layout version, or a writer that died inside a write."""


class TransportError(ArbshardError):
    """A message socket."""


class RequestTimeout(TransportError):
    """No reply in time: the outcome is unknown. Ask again under the same request id."""


class ProtocolError(TransportError):
    """A message that cannot be decoded, or of another protocol version."""


class LedgerError(ArbshardError):
    """The ledger cannot be trusted or written; trading stops."""


class LedgerVersionError(LedgerError):
    """The ledger was written by a newer arbshard."""


class LedgerBusy(LedgerError):
    """Another program is using the ledger's file at this moment; the same call may succeed a little later."""


class LedgerDamaged(LedgerError):
    """What is stored contradicts itself."""


class LedgerChanged(LedgerError):
    """The ledger's files were changed by somebody else, or are not those of the ledger that the run began with."""


class LedgerFull(LedgerError):
    """The disk had no room for what was to be written; nothing of it is stored."""
