"""The way of a statement to risk, and what becomes of one that does not arrive."""

import pytest

from arbshard.accounts.statements import Statements
from arbshard.errors import RequestTimeout
from arbshard.wire.messages import Denied, Done, Statement, encode

STATEMENT = Statement("upbit", 1, (), (), True, 1)


class Risk:
    def __init__(self, answer):
        self.answer = answer
        self.heard = []

    async def request(self, payload, *, priority=0):
        self.heard.append(payload)
        if isinstance(self.answer, Exception):
            raise self.answer
        return encode(self.answer)


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        (Done(""), {}),
        (Denied("no"), {"denied": 1}),
        (RequestTimeout("silent"), {"silent": 1}),
    ],
)
async def test_what_risk_said_is_counted(counted, answer, counts):
    risk = Risk(answer)
    await Statements(risk, counted).send(STATEMENT)
    assert counted.counts == counts
    assert len(risk.heard) == 1, "it is not repeated: the next one says it anew"
