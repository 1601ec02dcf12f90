"""Risk inside the process: the worker's messages, answered at once, ledger first."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.errors import LedgerError, ProtocolError
from arbshard.ledger.store import LedgerStore
from arbshard.model.phase import Phase
from arbshard.model.refusal import Refusal
from arbshard.runner.local_risk import SHARD, LocalRisk
from arbshard.wire.messages import Fund, Funded, Hello, Refused, Submit, Welcome, decode_reply, encode


@pytest.fixture
def open_risk(quick, universe, clock):
    """Opens risk on a ledger or none; what it reports is in ``reports``."""
    opened = []

    def begin(ledger=None):
        reports = []
        risk = LocalRisk.open(quick, universe, ledger, "sim-paper", clock, reports.append)
        opened.append(risk)
        return risk, reports

    yield begin
    for risk in opened:
        if risk._store is not None:
            risk._store.abandon()


async def ask(risk, request):
    return decode_reply(await risk.request(encode(request)))


async def test_it_speaks_the_workers_language(open_risk, make):
    risk, _ = open_risk()
    assert risk.epoch == 1
    assert isinstance(await ask(risk, Hello(SHARD, 1, 1, ("BTC",))), Welcome)
    assert risk.epoch == 2
    assert isinstance(await ask(risk, Fund(SHARD, 1, "BTC", make.quote.bid)), Funded)
    assert risk.state.is_settled
    with pytest.raises(ProtocolError):
        await risk.request(b"what?")
    risk.close()
    assert risk.state.is_stopped


async def test_refusals_are_reported(open_risk, make):
    risk, reports = open_risk()
    await ask(risk, Hello(SHARD, 1, 1, ("BTC",)))
    risk.phase = Phase.DRAINING
    intent = make.intent()  # at the prices of both books, which leave nothing after fees
    cheap = replace(intent, home=replace(intent.home, limit=intent.home.limit * Decimal("0.99")))
    reply = await ask(risk, Submit(SHARD, 1, cheap))
    assert isinstance(reply, Refused)
    assert [(one.result, one.refusal, one.intent_id) for one in reports] == [
        ("refused", reply.reason, "s1-0-1-1")
    ]
    assert reply.reason in (Refusal.STOPPING, Refusal.NOT_FUNDED)


async def test_what_cannot_be_stored_has_not_happened(open_risk, make, tmp_path, monkeypatch):
    risk, reports = open_risk(tmp_path / "l.sqlite")
    await ask(risk, Hello(SHARD, 1, 1, ("BTC",)))
    before = risk.state.state_hash()

    def full(self, events):
        raise LedgerError("disk full")

    monkeypatch.setattr(LedgerStore, "append", full)
    with pytest.raises(LedgerError, match="disk full"):
        await ask(risk, Fund(SHARD, 1, "BTC", make.quote.bid))
    assert risk.state.state_hash() == before
    monkeypatch.undo()
    with pytest.raises(LedgerError, match="any more"):  # broken for good
        await ask(risk, Fund(SHARD, 1, "BTC", make.quote.bid))
    risk.close()
    assert reports == []
    open_risk(tmp_path / "l.sqlite")  # and the file was let go


async def test_a_new_session_carries_on(open_risk, make, tmp_path):
    first, _ = open_risk(tmp_path / "l.sqlite")
    await ask(first, Hello(SHARD, 1, 1, ("BTC",)))
    await ask(first, Fund(SHARD, 1, "BTC", make.quote.bid))
    first.close()
    second, _ = open_risk(tmp_path / "l.sqlite")
    assert second.state.session == 2
    welcome = await ask(second, Hello(SHARD, second.epoch, 1, ("BTC",)))
    assert welcome.funded == ("BTC",)


@pytest.mark.parametrize("is_stored", [False, True])
async def test_books_that_do_not_balance_halt_it(open_risk, make, tmp_path, is_stored):
    """The service of risk compares its balances with the ledger's after each batch, in the library as well."""
    risk, _ = open_risk(tmp_path / "l.sqlite" if is_stored else None)
    await ask(risk, Hello(SHARD, 1, 1, ("BTC",)))
    risk.state.balances.add("upbit", "BTC", Decimal(1))
    await ask(risk, Fund(SHARD, 1, "BTC", make.quote.bid))
    assert risk.state.standing.halt is not None
    assert risk.state.standing.halt.cause == "accounting"
