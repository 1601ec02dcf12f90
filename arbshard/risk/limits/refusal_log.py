"""``RefusalLog`` knows which refusals were stored lately, and how many are not counted by an event yet.

It keeps storms of refusals out of the ledger: the first of a kind is stored whole, its repetitions within ten
seconds as one count. A pair that is refused for the same reason again and again costs the ledger one
``IntentRefused`` and a share of one ``RefusalsCounted`` in ten seconds. Counts are exact; a process that is killed
loses the repetitions of its last ten seconds.
"""

from collections import OrderedDict

from arbshard.ledger.events import RefusalsCounted
from arbshard.model.intent import Intent, IntentKind
from arbshard.model.refusal import Refusal
from arbshard.risk.validation import Objection

_APART_NS = 10_000_000_000
_ANSWERS_KEPT = 2048

Subject = tuple[str, Refusal]
"""(symbol, reason); the symbol is empty for a name that is not a pair's."""


class RefusalLog:
    """Holds the refusals of the last ten seconds, and the newest answers that no event stores."""

    def __init__(self) -> None:
        self._stored: dict[tuple[str, Refusal, IntentKind], int] = {}
        """Monotonic time at which a refusal was last stored whole, by symbol, reason and kind of intent."""
        self._counting_since_ns = 0
        self.answers: OrderedDict[str, Objection] = OrderedDict()
        """Refusals that were only counted, by intent id, the oldest first: a late repeat gets the same answer."""
        self.pending: dict[Subject, int] = {}
        """Refusals that no event counts yet."""

    def is_new(self, intent: Intent, reason: Refusal, now_ns: int) -> bool:
        """Return whether this refusal is to be stored whole; if so, note it as stored at ``now_ns`` (monotonic)."""
        key = _subject(intent, reason)[0], reason, intent.kind
        last_ns = self._stored.get(key)
        if last_ns is not None and now_ns - last_ns < _APART_NS:
            return False
        self._stored[key] = now_ns
        return True

    def count(self, intent: Intent, objection: Objection, now_ns: int) -> None:
        """Count a refusal that is not stored whole, and keep it in ``answers``. ``now_ns`` is monotonic."""
        if not self.pending:
            self._counting_since_ns = now_ns
        subject = _subject(intent, objection.reason)
        self.pending[subject] = self.pending.get(subject, 0) + 1
        self.answers[intent.intent_id] = objection
        if len(self.answers) > _ANSWERS_KEPT:
            self.answers.popitem(last=False)

    def flush(self, now_ms: int, now_ns: int, *, is_last: bool = False) -> list[RefusalsCounted]:
        """Return the event that counts what is pending, and count from zero again.

        The list is empty when nothing is pending, and when less than ten seconds have been counted and ``is_last``
        is not set. ``now_ms`` is wall time, ``now_ns`` monotonic.
        """
        if not self.pending or (not is_last and now_ns - self._counting_since_ns < _APART_NS):
            return []
        counts = tuple((symbol, reason, count) for (symbol, reason), count in self.pending.items())
        self.pending = {}
        return [RefusalsCounted(at_ms=now_ms, counts=counts)]


def _subject(intent: Intent, reason: Refusal) -> Subject:
    return "" if reason is Refusal.UNKNOWN_PAIR else intent.pair, reason
