"""``risk.snapshot``: the state comes back in every detail, or there is no snapshot."""

import enum
from collections import OrderedDict, deque
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbshard.errors import LedgerDamaged, LedgerError
from arbshard.model.intent import FxQuote
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio.journal import Journal
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from arbshard.risk.portfolio.state import PortfolioState
from support import world as w
from support.effort import effort


def differences(one, other, path="state"):
    """Where two values are not the same to the last type; a journal only has to be one."""
    if type(one) is not type(other):
        return [f"{path}: {type(one)} and {type(other)}"]
    if isinstance(one, Journal):
        return []
    if isinstance(one, dict):
        if list(one) != list(other) and isinstance(one, OrderedDict):
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
    elif isinstance(one, msgspec.Struct):
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
    state_hash, body = codec.dump(busy.state)
    again = codec.load(body)
    assert differences(busy.state, again) == []
    assert again.state_hash() == state_hash == busy.state.state_hash()
    assert again.is_settled


def test_what_follows_has_the_same_effect(busy, codec) -> None:
    again = codec.load(codec.dump(busy.state)[1])
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
    again = codec.load(codec.dump(busy.state)[1])
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
    assert differences(fresh, codec.load(codec.dump(fresh)[1])) == []


@settings(max_examples=effort(25, 125), deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(("trip", "open", "refuse", "fail", "restart")), st.sampled_from("ABC")),
        max_size=12,
    )
)
def test_whatever_has_happened(steps) -> None:
    from decimal import localcontext

    from arbshard.model.money import MONEY_CONTEXT

    codec = PortfolioCodec("v")
    with localcontext(MONEY_CONTEXT):
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
        state_hash, body = codec.dump(world.state)
        again = codec.load(body)
        assert differences(world.state, again) == []
        assert again.state_hash() == state_hash


class Sub:
    """A part that somebody adds to the state."""

    def __init__(self, journal) -> None:
        self._journal = journal
        self.quote: FxQuote | None = None
        self.names: tuple[str, ...] = ()
        self.paths: dict[str, tuple[int, ...]] = {}
        self.seen: set[str] = set()
        self.why: Refusal | None = None
        self.optional: dict[str, Decimal | None] = {}


Sub.__module__ = "arbshard.risk.sub"


class Grown(PortfolioState):
    """The state of tomorrow."""

    def __init__(self) -> None:
        super().__init__()
        self.sub = Sub(self._journal)
        self.extra: object = 0


def test_attributes_it_was_never_told_of() -> None:
    codec = PortfolioCodec("v", Grown)
    state = Grown()
    state.sub.quote = FxQuote(Decimal("1.50"), Decimal("1E+3"))
    state.sub.names = ("a", "b")
    state.sub.paths = {"x": (1, 2), "y": (), "z": (3,)}
    state.sub.seen = {"q", "r"}
    state.sub.why = Refusal.BALANCE
    state.sub.optional = {"n": None, "d": Decimal("0.00")}
    state.extra = Decimal("7.0")
    again = codec.load(codec.dump(state)[1])
    assert differences(state, again) == []
    assert again.sub._journal is again._journal


def test_a_snapshot_of_another_shape_is_not_loaded() -> None:
    body = PortfolioCodec("v").dump(PortfolioState())[1]
    with pytest.raises(LedgerDamaged, match="other things than this program keeps"):
        PortfolioCodec("v", Grown).load(body)
    with pytest.raises(LedgerDamaged, match="other things than this program keeps"):
        PortfolioCodec("v").load(PortfolioCodec("v", Grown).dump(Grown())[1])


class Open(msgspec.Struct):
    anything: object


class Foreign(msgspec.Struct):
    number: int


shared: dict[str, int] = {}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "object"),
        (deque([1]), "deque"),
        ({"a": 1, "b": Decimal(1)}, "several kinds"),
        ({"a": 1, "b": True}, "several kinds"),
        ({"a": 1, 2: 1}, "several kinds"),
        ([shared, shared], "one table under two names"),
        (Foreign(1), "not ours"),
        (lambda: 1, "function"),
        (2**70, "int"),
    ],
)
def test_what_cannot_be_kept_exactly_makes_no_snapshot(value, said) -> None:
    state = Grown()
    state.extra = value
    with pytest.raises(LedgerError, match=said):
        PortfolioCodec("v", Grown).dump(state)


def test_a_table_under_two_names_makes_no_snapshot() -> None:
    state = Grown()
    state.extra = state.positions
    with pytest.raises(LedgerError, match="one table under two names"):
        PortfolioCodec("v", Grown).dump(state)


def test_a_struct_with_a_field_of_any_type_makes_no_snapshot(monkeypatch) -> None:
    from arbshard.model import intent

    monkeypatch.setattr(Open, "__module__", "arbshard.model.intent")
    monkeypatch.setattr(intent, "Open", Open, raising=False)
    state = Grown()
    state.extra = Open(Decimal(1))
    with pytest.raises(LedgerError, match="field of any type"):
        PortfolioCodec("v", Grown).dump(state)


def test_in_the_middle_of_a_batch_there_is_nothing_to_keep(busy, codec) -> None:
    before = len(busy.events)
    other = PortfolioState()
    for event in busy.events[:before]:
        other.apply(event)
    with pytest.raises(LedgerError, match="in the middle of a change"):
        codec.dump(other)


@pytest.mark.parametrize(
    "name", ["os:system", "arbshard.log:setup", "arbshard.none:X", "nonsense", "builtins:eval"]
)
def test_a_body_cannot_name_what_is_no_struct_of_ours(codec, name) -> None:
    body = codec.dump(PortfolioState())[1]
    image = msgspec.msgpack.decode(body)
    image["session"][0] = [name, []]
    with pytest.raises(LedgerDamaged, match="cannot be read"):
        codec.load(msgspec.msgpack.encode(image))


def test_the_digest_of_the_code(monkeypatch) -> None:
    from arbshard.ledger import provenance

    digest = provenance.digest_of("arbshard.risk.portfolio.snapshot")
    assert digest == provenance.digest_of("arbshard.risk.portfolio.snapshot")
    read = []
    source = provenance._source

    def changed(name: str) -> bytes:
        read.append(name)
        return source(name) + (b"\n" if name == "arbshard.risk.portfolio.settlement" else b"")

    monkeypatch.setattr(provenance, "_source", changed)
    assert provenance.digest_of("arbshard.risk.portfolio.snapshot") != digest
    assert {"arbshard.risk.portfolio.state", "arbshard.ledger.events", "arbshard.model.money"} <= set(read)
    assert "arbshard.risk.main" not in read
    monkeypatch.setattr(provenance, "_source", lambda _: b"\x00")
    assert provenance.digest_of("arbshard.risk.portfolio.snapshot") is None
    assert provenance.digest_of("arbshard.no.such") is None


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
    state_hash, body = codec.dump(world.state)
    again = codec.load(body)
    assert again.state_hash() == state_hash
    assert differences(world.state, again) == []
