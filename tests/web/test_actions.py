"""What an action is, what is said before it, and the command that it becomes."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.errors import ProtocolError, UsageError
from arbshard.model.risk_note import NO_NOTE, HaltNote, PositionNote
from arbshard.web.actions import decode_action, plan_of, request_of
from arbshard.wire import control
from arbshard.wire.inventory import AnnounceTransfer
from arbshard.wire.messages import Close, Halt, Resume, SetLimits
from support.world import make_universe

UNIVERSE = make_universe("BTC", "ETH")
HELD = tuple(
    PositionNote(
        position_id=f"s{pair}", pair=pair, direction="buy_home", quantity="1", entry_home_price="1",
        entry_away_price="1", notional="1000", opened_ms=5, closed_ms=0, reason=None, pnl=None, unrealised=worth,
    )
    for pair, worth in (("BTC", "1234.4"), ("ETH", None))
)  # fmt: skip
NOTE = replace(NO_NOTE, positions=HELD, limits_changed={"order_notional_max": "500000"})


def action_of(**given):
    import msgspec

    return decode_action(msgspec.json.encode({"instance": "desk", **given}))


def plan(note=NOTE, **given):
    return plan_of(action_of(**given), note, Config(), UNIVERSE.pairs, UNIVERSE.owners())


@pytest.mark.parametrize(
    ("given", "request_"),
    [
        ({"action": "halt", "reason": "lunch"}, Halt("lunch", flatten=False)),
        ({"action": "halt", "flatten": True, "stop": True}, Halt("", flatten=True, level="stopped")),
        ({"action": "resume"}, Resume("")),
        ({"action": "resume", "symbols": ["BTC"], "reason": "seen"}, Resume("seen", ("BTC",))),
        ({"action": "close", "symbols": ["KRW-BTC"]}, Close(("KRW-BTC",))),
        ({"action": "close", "everything": True}, Close(())),
        (
            {"action": "limits", "key": " drawdown_max", "value": "5 "},
            SetLimits((("drawdown_max", "5"),)),
        ),
        ({"action": "move", "symbols": ["BTC"], "shard": 1}, control.MovePairs(("BTC",), 1)),
        (
            {
                "action": "transfer", "source": "Binance", "target": "upbit", "currency": "usdt", "amount": "1,000.5",
                "fee": "1",
            },
            AnnounceTransfer(
                "binance", "upbit", "USDT", Decimal("1000.5"), Decimal(1), "announced from the desk (anna, desk)"
            ),
        ),
    ],
)  # fmt: skip
def test_each_action_is_the_command_of_the_command_line(given, request_):
    assert request_of(action_of(**given), "anna, desk") == request_


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"action":"stop","instance":"desk"}', b'{"action":"halt"}', b"\xff",
     b'{"action":"halt","instance":"desk","level":"stopped"}', b'{"action":"move","instance":"d","symbols":"BTC"}',
     b'{"action":"close","instance":1,"everything":true}'],
)  # fmt: skip
def test_what_is_no_action_is_refused(body):
    with pytest.raises(ProtocolError):
        decode_action(body)


@pytest.mark.parametrize(
    "given",
    [
        {"action": "close"},
        {"action": "close", "everything": True, "symbols": ["BTC"]},
        {"action": "move", "symbols": [], "shard": 1},
        {"action": "halt", "reason": "x" * 201},
        {"action": "resume", "symbols": ["BTC"] * 1001},
    ],
)
def test_an_action_that_a_person_must_change_says_so(given):
    with pytest.raises(UsageError):
        action_of(**given)


@pytest.mark.parametrize("amount", ["", "many", "-1", "nan", "inf", "1e999999999999"])
def test_an_amount_must_be_one(amount):
    given = {"source": "a", "target": "b", "currency": "USDT", "amount": amount}
    with pytest.raises(UsageError, match="amount"):
        request_of(action_of(action="transfer", **given), "")


def test_a_halt_names_what_it_closes():
    assert plan(action="halt") == (
        "Nothing is entered any more until somebody resumes, whatever is restarted. Exits go on by rule."
    )
    assert plan(action="halt", flatten=True).endswith("closed at the prices of now (BTC, ETH).")
    assert plan(NO_NOTE, action="halt", flatten=True).endswith("No position is open, so nothing is closed.")
    assert "Exits stop too" in plan(action="halt", stop=True)


def test_a_resume_names_what_it_ends():
    note = replace(NOTE, halt=HaltNote(1, "operator", "lunch"))
    assert "because of: lunch." in plan(note, action="resume")
    assert "Nothing is halted now." in plan(action="resume")
    assert plan(action="resume", symbols=["BTC"]).startswith("BTC may enter and leave by rule again")


def test_a_close_names_the_positions_and_what_they_stand_at():
    assert "2 positions are closed" in plan(action="close", everything=True)
    assert plan(action="close", everything=True).endswith("BTC (+1,234), ETH (not valued).")
    assert "1 position is closed" in plan(action="close", symbols=["krw-btc"])
    assert plan(NO_NOTE, action="close", symbols=["ETH"]) == "Nothing of it is open, so nothing is closed."
    with pytest.raises(UsageError, match="XRP is not traded"):
        plan(action="close", symbols=["XRP"])


def test_a_limit_names_old_and_new():
    said = plan(action="limits", key="order_notional_max", value="3000000")
    assert "order_notional_max of all pairs changes from 500000 to 3000000" in said
    assert "of BTC changes from 500000 to 3000000, as configured" in plan(
        action="limits", key="order_notional_max", value="", symbol="btc"
    )
    with pytest.raises(UsageError, match="no limit 'nonsense'"):
        plan(action="limits", key="nonsense", value="1")


def test_a_move_names_both_shards():
    assert plan(action="move", symbols=["BTC"], shard=1).startswith("BTC (shard 0) to shard 1;")


def test_a_transfer_says_that_nothing_is_moved():
    said = plan(action="transfer", source="binance", target="upbit", currency="usdt", amount="5")
    assert "5 USDT leave binance for upbit (fee 0)" in said
    assert "arbshard itself moves nothing" in said
