"""The line to risk: asked until it answers, the same question each time, and never an answer made up."""

import asyncio
from decimal import Decimal

import msgspec
import pytest
from structlog.testing import capture_logs

from arbshard.errors import ProtocolError, RequestTimeout, TransportError
from arbshard.execution.ports import Fenced, IntentOver
from arbshard.model.intent import OpenIntent
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import (
    Approved,
    Conclude,
    Extend,
    Fund,
    Funded,
    Hello,
    Instructed,
    Instructions,
    Noted,
    Refused,
    Report,
    SetApart,
    Settled,
    Submit,
    Welcome,
    decode_request,
    encode,
)
from arbshard.worker.risk_link import RiskLink

NOTHING = Welcome(1, (), (), (), ())


class Transport:
    """Gives the answers in order; an exception among them is raised."""

    def __init__(self):
        self.answers = []
        self.asked = []

    async def request(self, payload, *, priority=0):
        self.asked.append((payload, priority))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else encode(answer)


@pytest.fixture
def transport():
    return Transport()


@pytest.fixture
def silences():
    return []


@pytest.fixture
def link(transport, silences, monkeypatch):
    for pause in ("_AGAIN_AFTER_S", "_REFUSED_PAUSE_S"):
        monkeypatch.setattr(f"arbshard.worker.risk_link.{pause}", 0.0)
    return RiskLink(transport, shard=3, epoch=7, on_silence=lambda: silences.append(1))


@pytest.fixture
def questions(make):
    """Every question: how it is asked, what goes over the wire, the answer it wants, its priority."""
    entry, leaving = make.intent(), make.intent("exit")
    result = make.result(entry.home, "FILLED", "0.001")
    settled, approved = Settled("i", None, ()), Approved("i", ())
    mark = Decimal("146000000.5")
    return {
        "hello": (lambda link: link.hello(42, ("BTC",)), Hello(3, 7, 42, ("BTC",)), NOTHING, 0),
        "instructions": (
            lambda link: link.instructions(),
            Instructions(3, 7),
            Instructed(4, True, (("BTC", "manual"),)),
            0,
        ),
        "fund": (lambda link: link.fund("BTC", mark), Fund(3, 7, "BTC", mark), Funded(()), 0),
        "entry": (lambda link: link.submit(entry), Submit(3, 7, entry), approved, 2),
        "exit": (lambda link: link.submit(leaving), Submit(3, 7, leaving), approved, 1),
        "extend": (lambda link: link.extend("i", entry.home), Extend(3, 7, "i", entry.home), approved, 0),
        "report": (lambda link: link.report("i", result), Report(3, 7, "i", result), Noted("i"), 0),
        "conclude": (
            lambda link: link.conclude("i", mark, make.quote, done=True),
            Conclude(3, 7, "i", mark, make.quote, True),
            settled,
            0,
        ),
        "set apart": (
            lambda link: link.set_apart("BTC", "stuck", "no hedge", "i"),
            SetApart(3, 7, "BTC", "stuck", "no hedge", "i"),
            Noted("i"),
            0,
        ),
    }


NAMES = ["hello", "instructions", "fund", "entry", "exit", "extend", "report", "conclude", "set apart"]


@pytest.mark.parametrize("name", NAMES)
async def test_asks_and_takes_the_answer(link, transport, questions, name):
    ask, request, answer, priority = questions[name]
    transport.answers = [answer]
    assert await ask(link) in (answer, None)
    ((payload, asked_priority),) = transport.asked
    assert decode_request(payload) == request
    assert asked_priority == priority


@pytest.mark.parametrize("name", NAMES)
async def test_silence_is_asked_into_with_the_same_words(link, transport, questions, silences, name):
    ask, _, answer, _ = questions[name]
    transport.answers = [RequestTimeout("no answer"), TransportError("socket gone"), answer]
    await ask(link)
    assert len(set(transport.asked)) == 1
    assert len(transport.asked) == 3
    assert len(silences) == 2


@pytest.mark.parametrize("name", NAMES)
async def test_newer_incarnation_ends_this_one(link, transport, questions, name):
    transport.answers = [Refused(Refusal.STALE_EPOCH, "epoch 8 is at work")]
    with pytest.raises(Fenced, match="epoch 8 is at work"):
        await questions[name][0](link)
    assert len(transport.asked) == 1


@pytest.mark.parametrize("name", ["entry", "exit"])
async def test_refusal_of_a_trade_is_an_answer(link, transport, questions, name):
    refused = Refused(Refusal.BALANCE, "short of 3 KRW")
    transport.answers = [refused]
    assert await questions[name][0](link) == refused


@pytest.mark.parametrize("kind", ["entry", "exit"])
async def test_a_question_that_was_begun_is_asked_once(link, transport, make, questions, kind):
    intent = make.intent(kind)
    transport.answers = [Approved(intent.intent_id, ())]
    link.begin(intent)
    await asyncio.sleep(0)
    ((payload, priority),) = transport.asked
    assert (decode_request(payload), priority) == questions[kind][1::2]
    assert await link.submit(intent) == Approved(intent.intent_id, ())
    assert len(transport.asked) == 1
    transport.answers = [Refused(Refusal.PAIR_BUSY, "i has no outcome yet")]
    assert isinstance(await link.submit(intent), Refused)
    assert len(transport.asked) == 2


async def test_a_question_that_was_begun_in_vain_is_asked_again_with_the_same_words(
    link, transport, make, silences
):
    intent = make.intent()
    transport.answers = [RequestTimeout("no answer"), Approved(intent.intent_id, ())]
    link.begin(intent)
    assert isinstance(await link.submit(intent), Approved)
    assert len(set(transport.asked)) == 1
    assert len(transport.asked) == 2
    assert len(silences) == 1


async def test_what_the_transport_refuses_to_begin_is_asked_later(link, transport, make):
    intent = make.intent()

    def refuse(_payload, *, priority):
        raise TransportError(f"request queue full, {priority}")

    transport.answers = [Approved(intent.intent_id, ())]
    transport.request, request = refuse, transport.request
    link.begin(intent)
    transport.request = request
    assert isinstance(await link.submit(intent), Approved)


@pytest.mark.parametrize("name", ["hello", "instructions"])
async def test_what_must_be_answered_is_asked_until_it_is(link, transport, questions, name):
    ask, _, answer, _ = questions[name]
    transport.answers = [Refused(Refusal.MALFORMED, "who?"), Refused(Refusal.MALFORMED, "who?"), answer]
    assert await ask(link) == answer
    assert len(set(transport.asked)) == 1


@pytest.mark.parametrize("name", ["extend", "report", "conclude"])
async def test_a_refusal_of_what_concerns_an_open_intent_sets_its_pair_apart(
    link, transport, questions, make, name
):
    """Nothing goes on as if it had been booked."""
    ask, request, answer, _ = questions[name]
    opened = msgspec.structs.replace(make.intent(), intent_id="i", pair="BTC")
    refused = Refused(Refusal.MALFORMED, "47 decimals")
    transport.answers = [Approved("i", ()), refused, Noted("i"), refused, Noted("i"), answer]
    await link.submit(opened)
    assert await ask(link) in (answer, None)
    asked = [decode_request(payload) for payload, _ in transport.asked[1:]]
    why = f"risk refuses {type(request).__name__} i: MALFORMED: 47 decimals"
    apart = SetApart(3, 7, "BTC", "bad_report", why, "i")
    assert asked == [request, apart, request, apart, request]


@pytest.mark.parametrize("name", ["extend", "report"])
async def test_an_intent_that_a_person_has_ended_is_over(link, transport, questions, name):
    transport.answers = [Refused(Refusal.UNKNOWN_INTENT, "i is over")]
    with pytest.raises(IntentOver, match="i is over"):
        await questions[name][0](link)
    assert len(transport.asked) == 1


async def test_a_resumed_intent_has_its_pair_from_the_welcome(link, transport, questions, make):
    opened = msgspec.structs.replace(make.intent(), intent_id="i", pair="ETH")
    welcome = msgspec.structs.replace(NOTHING, intents=(OpenIntent(opened, ()),))
    for greet in (link.hello(42, ("ETH",)), link.adopt(("ETH",))):
        transport.answers = [welcome, Refused(Refusal.MALFORMED, "bad"), Noted("i"), Noted("i")]
        await greet
        await questions["report"][0](link)
        assert decode_request(transport.asked[-2][0]).pair == "ETH"


async def test_the_same_refusal_is_logged_once(link, transport):
    with capture_logs() as lines:
        for reason in (Refusal.MALFORMED, Refusal.MALFORMED, Refusal.HALTED):
            transport.answers = [Refused(reason, "no")]
            assert await link.fund("BTC", Decimal(1)) is None
    assert [line["reason"] for line in lines] == ["MALFORMED", "HALTED"]


@pytest.mark.parametrize("name", NAMES)
async def test_answer_to_another_question_is_a_defect(link, transport, questions, name):
    transport.answers = [Noted("i") if name not in ("report", "set apart") else Funded(())]
    with pytest.raises(ProtocolError, match="risk answered"):
        await questions[name][0](link)


async def test_unreadable_answer_is_not_asked_for_again(link, transport, questions, silences):
    transport.answers = [b"\x00garbage"]
    with pytest.raises(ProtocolError, match="bad reply"):
        await questions["entry"][0](link)
    assert len(transport.asked) == 1
    assert not silences


@pytest.mark.parametrize("reason", [Refusal.NOT_FUNDED, Refusal.NO_STATEMENT])
async def test_not_funded_yet_is_no_error(link, transport, reason):
    """Live, both venues must state what we own before a pair can trade."""
    transport.answers = [Refused(reason, "wait")]
    assert await link.fund("BTC", Decimal(1)) is None


async def test_a_pair_that_risk_does_not_set_apart_ends_nothing(link, transport):
    transport.answers = [Refused(Refusal.UNKNOWN_PAIR, "NOPE is not traded in this run")]
    with capture_logs() as lines:
        await link.set_apart("NOPE", "stuck", "no hedge")
    assert [line["question"] for line in lines] == ["SetApart NOPE"]
