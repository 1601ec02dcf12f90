"""A share of the campaign in every test run: ``make fuzz-messages`` does all of it, with other seeds."""

import pytest

from arbshard.errors import ProtocolError
from arbshard.wire.messages import decode_request
from fuzzing import everything
from fuzzing.campaign import case_of, run
from fuzzing.target import Defect
from support.effort import effort

CASES = effort(10_000, 50_000)
SEED = 20
PARTS = everything.shares(everything.MAKERS, CASES)


@pytest.mark.parametrize("name", PARTS)
def test_only_what_is_documented_comes_of_mutated_bytes(name):
    report = run(everything.MAKERS[name](), range(PARTS[name]), SEED)
    assert not report.findings, report.text()
    assert report.cases == PARTS[name]
    # A target that refuses everything, or nothing, has not been tried.
    assert len(report.outcomes) >= 2, report.text()


class Brittle:
    """Takes everything but a NaN."""

    name = "brittle"
    corpus = (b'{"price":1.5,"size":2}',)
    blind = 0.5
    closed = False

    def __call__(self, case):
        if b"NaN" in case:
            raise ZeroDivisionError("price")
        return "taken"

    def close(self):
        self.closed = True


def test_a_defect_is_found_and_its_case_is_kept():
    target = Brittle()
    report = run(target, range(3_000), SEED)
    assert report.findings
    found = report.findings[0]
    assert b"NaN" in found.case
    assert isinstance(found.error, ZeroDivisionError)
    assert found.case == case_of(target, SEED, found.number)
    assert "brittle" in report.text()
    assert target.closed


def test_what_is_found_at_the_end_counts_too():
    class Leaking(Brittle):
        def close(self):
            raise Defect("not given back")

    report = run(Leaking(), range(1), SEED)
    assert [str(finding.error) for finding in report.findings] == ["not given back"]


def test_shares_add_up_to_the_whole():
    assert sum(PARTS.values()) == CASES
    assert min(PARTS.values()) > 100


@pytest.mark.parametrize(
    "payload",
    [
        b"\x81\xa4type\xa5\xff\xfe\xfd\xfc\xfb",  # no UTF-8
        b"\x91" * 100_000,  # deeper than anybody goes
        b"\x84\xa4type\xa4Fund\xa5shard\x00\xa5epoch\x01\xa4pair\xa3BTC\xaahome_price\xa4sNaN",
    ],
)
def test_what_was_once_found(payload):
    with pytest.raises(ProtocolError):
        decode_request(payload)
