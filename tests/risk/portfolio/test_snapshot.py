"""``risk.portfolio.snapshot``: the state comes back in every detail, also from what older programs wrote."""

import decimal
import enum
import json
import lzma
import shutil
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from arbshard.errors import LedgerDamaged, LedgerError
from arbshard.ledger.replay import recover
from arbshard.ledger.snapshots import Snapshot
from arbshard.ledger.store import LedgerStore
from arbshard.ledger.verify import verify
from arbshard.model.money import MONEY_CONTEXT
from arbshard.risk.portfolio.holdings import Part
from arbshard.risk.portfolio.snapshot import VERSION, PortfolioCodec
from arbshard.risk.portfolio.state import PortfolioState
from support import world as w
from support.effort import effort

OLD = Path(__file__).parents[2] / "data" / "ledgers_before_version_1"
"""Ledgers and archives that the program of 2026-11-27 wrote, when snapshots still described every attribute."""


@pytest.fixture(scope="session")
def codec() -> PortfolioCodec:
    return PortfolioCodec()


def kept(codec: PortfolioCodec, state: PortfolioState, **changes: object) -> Snapshot:
    """The snapshot that a ledger would hold."""
    state_hash, body = codec.dump(state)
    made = Snapshot(7, 1, codec.version, state_hash, {}, body)
    return msgspec.structs.replace(made, **changes)


def differences(one, other, path="state"):
    """Where two values are not the same to the last type; a journal only has to be one."""
    if type(one) is not type(other):
        return [f"{path}: {type(one)} and {type(other)}"]
    if isinstance(one, dict):
        if list(one) != list(other):
            return [f"{path}: another order"]
        if one.keys() != other.keys():
            return [f"{path}: other keys"]
        pairs = [(f"{path}[{key}]", value, other[key]) for key, value in one.items()]
        keys = dict(zip(sorted(one, key=repr), sorted(other, key=repr), strict=True))
        pairs += [(f"{path} key", mine, its) for mine, its in keys.items()]
    elif isinstance(one, list | tuple):
        if len(one) != len(other):
            return [f"{path}: other lengths"]
        pairs = [(f"{path}[{n}]", *both) for n, both in enumerate(zip(one, other, strict=True))]
    elif isinstance(one, Decimal):
        return [] if one.as_tuple() == other.as_tuple() else [f"{path}: {one!r} and {other!r}"]
    elif isinstance(one, msgspec.Struct):  # its fields; the journal of a part is none
        pairs = [
            (f"{path}.{name}", getattr(one, name), getattr(other, name)) for name in one.__struct_fields__
        ]
    elif hasattr(one, "__dict__") and not isinstance(one, enum.Enum):
        if vars(one).keys() != vars(other).keys():
            return [f"{path}: other attributes"]
        pairs = [(f"{path}.{name}", value, vars(other)[name]) for name, value in vars(one).items()]
    else:
        return [] if one == other else [f"{path}: {one!r} and {other!r}"]
    return [said for name, mine, its in pairs for said in differences(mine, its, name)]


@pytest.fixture
def busy():
    """A bit of everything: closed, open, under way, half filled, refused, a restart."""
    world = w.World(bases=("BTC", "ETH", "SOL"))
    world.round_trip()
    world.open_position("ETH")
    world.submit(world.entry("ETH"))
    world.stop()
    world.start()
    world.ask(world.hello())
    intent = world.entry("SOL")
    world.submit(intent)
    world.report(intent, w.filled(intent.home, Decimal("0.2")))
    return world


def test_everything_comes_back(busy, codec) -> None:
    state_hash, _ = codec.dump(busy.state)
    again = codec.load(kept(codec, busy.state))
    assert differences(busy.state, again) == []
    assert again.state_hash() == state_hash == busy.state.state_hash()
    assert again.is_settled


def test_what_follows_has_the_same_effect(busy, codec) -> None:
    again = codec.load(kept(codec, busy.state))
    before = len(busy.events)
    (trade,) = busy.state.trades.values()
    busy.report(trade.intent, w.filled(trade.intent.away))
    busy.conclude(trade.intent)
    busy.round_trip("BTC")
    busy.stop()
    for event in busy.events[before:]:
        again.apply(event)
    again.commit()
    assert differences(busy.state, again) == []


def test_a_change_of_the_loaded_state_can_be_taken_back(busy, codec) -> None:
    again = codec.load(kept(codec, busy.state))
    before = len(busy.events)
    busy.stop()
    state_hash = again.state_hash()
    for event in busy.events[before:]:
        again.apply(event)
    assert again.state_hash() != state_hash
    again.rollback()
    assert again.state_hash() == state_hash


def test_a_fresh_state_too(codec) -> None:
    fresh = PortfolioState()
    assert differences(fresh, codec.load(kept(codec, fresh))) == []


@settings(max_examples=effort(25, 125), deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(("trip", "open", "refuse", "fail", "restart")), st.sampled_from("ABC")),
        max_size=12,
    )
)
def test_whatever_has_happened(steps) -> None:
    codec = PortfolioCodec()
    with decimal.localcontext(MONEY_CONTEXT):
        world = w.World(bases=("A", "B", "C"))
        for step, base in steps:
            held = world.state.get_symbol_positions(base)
            if step == "restart":
                world.stop()
                world.start(f"run-{len(world.events)}")
                world.ask(world.hello())
            elif step == "refuse":
                world.submit(world.entry(base, quantity=Decimal(10) ** 9))
            elif held:
                world.carry_out(world.exit_of(held[0]), done=True)
            elif step == "fail":
                intent = world.entry(base)
                world.carry_out(intent, w.expired(intent.home), w.expired(intent.away))
            elif step == "open":
                world.open_position(base)
            else:
                world.round_trip(base)
        state_hash, _ = codec.dump(world.state)
        again = codec.load(kept(codec, world.state))
        assert differences(world.state, again) == []
        assert again.state_hash() == state_hash


def test_in_the_middle_of_a_batch_there_is_nothing_to_keep(busy, codec) -> None:
    before = len(busy.events)
    other = PortfolioState()
    for event in busy.events[:before]:
        other.apply(event)
    with pytest.raises(LedgerError, match="in the middle of a change"):
        codec.dump(other)


def test_what_venues_and_ledger_do_not_agree_on_comes_back(codec) -> None:
    from arbshard.wire.messages import Statement

    world = w.World(ready=False, config=w.with_live(), tag="ab1cd")
    world.start()
    venues = w.Venues()
    for _ in range(2):
        for venue in (w.HOME, w.AWAY):
            world.now_ms += 1
            said = venues.statement(venue, world.now_ms)
            assert isinstance(said, Statement)
            world.tell(said)
        venues.held[w.HOME, "BTC"] += 1
        venues.open_orders.append((w.AWAY, "ab1cd-s1-0-1-9-a0", "BTCUSDT", Decimal(1)))
    assert world.state.reconciled.differences
    assert world.state.reconciled.strays
    assert world.state.reconciled.opened
    state_hash, _ = codec.dump(world.state)
    again = codec.load(kept(codec, world.state))
    assert again.state_hash() == state_hash
    assert differences(world.state, again) == []


def test_a_snapshot_of_another_version_is_not_used(busy, codec) -> None:
    for made_by, read_by in ((VERSION, VERSION + 1), (VERSION + 1, VERSION)):
        made = kept(PortfolioCodec(made_by), busy.state)
        with pytest.raises(LedgerDamaged, match="another version of the program"):
            PortfolioCodec(read_by).load(made)


@pytest.mark.parametrize("version", ["", "this code", "-1", "1.5"])
def test_a_version_that_no_program_gives_is_refused(busy, codec, version) -> None:
    made = kept(codec, busy.state, version=version)
    for read in (codec.load, codec.adopt):
        with pytest.raises(LedgerDamaged, match="unknown version"):
            read(made)


def test_a_newer_program_takes_over_what_opens_a_period(busy, codec) -> None:
    """What the older program did not keep has its default; nothing else differs."""
    image = msgspec.msgpack.decode(codec.dump(busy.state)[1], strict=False)
    del image["spent"]
    del image["results"]["residue"]
    made = kept(codec, busy.state, body=msgspec.msgpack.encode(image))
    newer = PortfolioCodec(VERSION + 1)
    assert differences(busy.state, newer.adopt(made)) == []
    assert busy.state.spent == {}


def test_an_older_program_does_not_take_over_what_it_does_not_know(busy, codec) -> None:
    made = kept(PortfolioCodec(VERSION + 1), busy.state)
    with pytest.raises(LedgerDamaged, match=f"has version {VERSION + 1}, this program reads up to {VERSION}"):
        codec.adopt(made)


@pytest.mark.parametrize("change", ["unknown", "unknown part", "wrong type", "cut"])
def test_a_body_that_is_none_is_refused(busy, codec, change) -> None:
    body = codec.dump(busy.state)[1]
    image = msgspec.msgpack.decode(body, strict=False)
    if change == "unknown":
        image["novelty"] = 1
    elif change == "unknown part":
        image["results"]["novelty"] = 1
    elif change == "wrong type":
        image["session"] = "one"
    body = msgspec.msgpack.encode(image) if change != "cut" else body[:-1]
    for read in (codec.load, codec.adopt):
        with pytest.raises(LedgerDamaged, match="cannot be read"):
            read(kept(codec, busy.state, body=body))


def test_another_hash_is_noticed(busy, codec) -> None:
    with pytest.raises(LedgerDamaged, match="does not give back the state"):
        codec.load(kept(codec, busy.state, hash="0" * 32))


def shape(info: inspect.Type) -> object:
    """Name and types of all fields, down to the last struct; what classes are called is not part of the format."""
    if isinstance(info, inspect.StructType):
        return {one.encode_name: shape(one.type) for one in info.fields}
    if isinstance(info, inspect.EnumType | inspect.LiteralType):  # new values may be added
        return type(info).__name__
    given = (getattr(info, name) for name in info.__struct_fields__)
    parts = [one for value in given for one in (value if isinstance(value, tuple) else (value,))]
    inner = [shape(one) for one in parts if isinstance(one, inspect.Type)]
    return [type(info).__name__, *inner] if inner else type(info).__name__


def test_the_format_of_a_version_never_changes() -> None:
    """Whoever adds a field to the state, or changes one, must raise the version and keep the older ones readable.

    Then: raise ``VERSION``, add the new shape to the file under its number, and let the other numbers stay.
    """
    shapes = json.loads((Path(__file__).parent / "shapes.json").read_text())
    assert shapes.get(str(VERSION)) == shape(inspect.type_info(PortfolioState))
    assert list(shapes) == [str(one) for one in range(1, VERSION + 1)]


def test_every_field_has_a_default_and_nothing_is_kept_beside_the_fields() -> None:
    """A state has nothing that a snapshot leaves out but the journal, which is empty in between."""
    state = PortfolioState()
    parts = [
        state,
        *(one for one in map(state.__getattribute__, state.__struct_fields__) if isinstance(one, Part)),
    ]
    assert len(parts) == 8
    for part in parts:
        assert vars(part).keys() == {"_journal"}, type(part)
        assert part._journal is state._journal
        assert all(one.default is not msgspec.NODEFAULT or one.default_factory is not msgspec.NODEFAULT
                   for one in msgspec.structs.fields(part)), type(part)  # fmt: skip


# what older programs wrote


@pytest.fixture(params=["paper", "live"])
def old(request, tmp_path):
    """(path of a ledger with an archived period and a snapshot, what its program said of its state)."""
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(lzma.decompress((OLD / f"{request.param}.sqlite.xz").read_bytes()))
    shutil.copytree(OLD / f"{request.param}.archive", tmp_path / "ledger.archive")
    said = json.loads((OLD / "says.json").read_text())[request.param]
    said["mode"] = {"paper": "sim-paper", "live": "public-live"}[request.param]
    return path, said


def facts(state: PortfolioState) -> dict[str, object]:
    """What the older program was asked to say of its state."""
    results, standing, reconciled = state.results, state.standing, state.reconciled
    orders = [result for trade in state.trades.values() for result in trade.orders]
    return {
        "session": state.session,
        "run": state.run,
        "totals": [[venue, currency, str(total)] for venue, currency, total in state.balances.totals()],
        "positions": sorted(state.positions),
        "trades": sorted(state.trades),
        "outcomes": list(state.outcomes),
        "closed": list(state.closed),
        "refusals": list(state.refusals),
        "spent": state.spent,
        "exposure": str(state.exposure),
        "entering": state.entering,
        "funded": sorted(state.funded),
        "shards": {
            str(number): [one.epoch, one.pid, one.fence, one.fenced_for]
            for number, one in state.shards.items()
        },
        "pnl": str(results.lifetime[""].pnl) if "" in results.lifetime else None,
        "halt": standing.halt.reason if standing.halt is not None else None,
        "serial": standing.serial,
        "changes": sorted([*key, value] for key, value in standing.changes.items()),
        "closing": standing.closing,
        "scales": {symbol: str(scale.factor) for symbol, scale in standing.scales.items()},
        "differences": sorted([*key, str(one.amount)] for key, one in reconciled.differences.items()),
        "strays": sorted([*key, one.pair] for key, one in reconciled.strays.items()),
        "opened": reconciled.opened,
        "residue": sorted([*key, str(left)] for key, left in results.residue.items()),
        "states": {result.order.client_id: result.state for result in orders},
        "holds": sorted(
            [one.client_id, str(one.amount)] for trade in state.trades.values() for one in trade.holds
        ),
    }


@pytest.mark.parametrize("begins_with", ["snapshot", "opening of the period"])
def test_a_ledger_of_an_older_program_opens(old, begins_with) -> None:
    path, said = old
    codec = PortfolioCodec(version=1) if begins_with == "snapshot" else PortfolioCodec()
    store = LedgerStore.open(path, name="sim", mode=said["mode"], now_ms=1)
    try:
        if begins_with != "snapshot":
            store.snapshots = lambda: iter(())
        found = recover(store, codec)
        assert found.ignored == ()
        assert found.snapshot_seq == (said["last_seq"] if begins_with == "snapshot" else said["archived"])
        assert found.snapshot_seq + found.replayed == store.last_seq == said["last_seq"]
        assert facts(found.state) == said["facts"]
    finally:
        store.abandon()


def test_both_ways_lead_to_the_same_state_and_it_verifies(old) -> None:
    path, said = old
    codec = PortfolioCodec(version=1)
    states = []
    for snapshots in (True, False):
        store = LedgerStore.open(path, name="sim", mode=said["mode"], now_ms=1)
        if not snapshots:
            store.snapshots = lambda: iter(())
        states.append(recover(store, codec).state)
        states[-1].venues.begin_run()  # no snapshot of version 1 has what took orders, nor the drift
        states[-1].results.drift, states[-1].results.drift_since_ms = {}, 0
        states[-1].away_costs.clear()  # nor what the away quote was worth when it came
        states[-1].results.returns.clear()  # nor whether gaps had come back
        states[-1].results.failed_returns.clear()
        states[-1].standing.halts = ()  # nor the halts of a run
        store.abandon()
    assert differences(*states) == []
    assert verify(path, codec).differences == ()


def test_a_snapshot_of_an_older_program_is_not_used_once_the_format_has_changed(old) -> None:
    path, said = old
    store = LedgerStore.open(path, name="sim", mode=said["mode"], now_ms=1)
    found = recover(store, PortfolioCodec())
    store.abandon()
    assert found.snapshot_seq == said["archived"]
    assert facts(found.state) == said["facts"]
    assert "another version of the program" in found.ignored[0]


@pytest.mark.parametrize("old", ["paper"], indirect=True)
def test_orders_that_older_programs_called_canceled_are_read_as_they_were_meant(old) -> None:
    """Before version 5 of the events an order that no venue had accepted was ``CANCELED``."""
    path, said = old
    store = LedgerStore.open(path, name="sim", mode=said["mode"], now_ms=1)
    (made,) = store.snapshots()
    store.abandon()
    image = msgspec.msgpack.decode(made.body, strict=False)
    (trade,) = image["trades"][1].values()
    trade["orders"][0] |= {"state": "CANCELED", "detail": "not sent: no rate budget left"}
    trade["orders"][1] |= {"state": "CANCELED", "detail": "by the venue"}
    state = PortfolioCodec().adopt(msgspec.structs.replace(made, body=msgspec.msgpack.encode(image)))
    (mended,) = state.trades.values()
    assert [result.state for result in mended.orders] == ["NOT_ACCEPTED", "CANCELED"]
