"""Storms of refusals: the first of a kind is stored whole, its repetitions within a short time as one count.

Memory of the process, beside the portfolio; owned by ``core``. A pair that is refused for the same reason again and
again costs the ledger one ``IntentRefused`` and a share of one ``RefusalsCounted`` in ten seconds. Counts are exact;
a process that is killed takes the repetitions of its last ten seconds with it.
"""

from collections import OrderedDict

from arbshard.ledger.events import RefusalsCounted
from arbshard.model.intent import Intent, IntentKind
from arbshard.model.refusal import Refusal
from arbshard.risk.objection import Objection

_APART_NS = 10_000_000_000
_ANSWERS_KEPT = 2048

Subject = tuple[str, Refusal]
"""(symbol, reason); the symbol is empty for a name that is no pair's."""


class RefusalLog:
    """What was refused lately."""

    def __init__(self) -> None:
        self._stored: dict[tuple[str, Refusal, IntentKind], int] = {}
        self._answers: OrderedDict[str, Objection] = OrderedDict()
        self._counting_since_ns = 0
        self.pending: dict[Subject, int] = {}
        """Refusals that no event counts yet."""

    def is_new(self, intent: Intent, reason: Refusal, now_ns: int) -> bool:
        """Whether this refusal is to be stored whole. Asking makes it the last one stored."""
        key = _subject(intent, reason)[0], reason, intent.kind
        last_ns = self._stored.get(key)
        if last_ns is not None and now_ns - last_ns < _APART_NS:
            return False
        self._stored[key] = now_ns
        return True

    def count(self, intent: Intent, objection: Objection, now_ns: int) -> None:
        """A refusal that is not stored whole. It is remembered for a while, for late repeats of the question."""
        if not self.pending:
            self._counting_since_ns = now_ns
        subject = _subject(intent, objection.reason)
        self.pending[subject] = self.pending.get(subject, 0) + 1
        self._answers[intent.intent_id] = objection
        if len(self._answers) > _ANSWERS_KEPT:
            self._answers.popitem(last=False)

    def answer(self, intent_id: str) -> Objection | None:
        """What was answered to this intent."""
        return self._answers.get(intent_id)

    def flush(self, now_ms: int, now_ns: int, *, is_last: bool = False) -> list[RefusalsCounted]:
        """The event that counts what is pending, when it is due or nothing comes after it."""
        if not self.pending or (not is_last and now_ns - self._counting_since_ns < _APART_NS):
            return []
        counts = tuple((symbol, reason, count) for (symbol, reason), count in self.pending.items())
        self.pending = {}
        return [RefusalsCounted(at_ms=now_ms, counts=counts)]


def _subject(intent: Intent, reason: Refusal) -> Subject:
    return "" if reason is Refusal.UNKNOWN_PAIR else intent.pair, reason
