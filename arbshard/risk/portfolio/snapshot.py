"""``PortfolioState`` as bytes and back, for ``ledger.snapshots``. Pure.

Knows no attribute by name: whatever the state and its parts keep is described by what it holds (a table of positions
by id, say), stored with that description, and decoded by it into exactly the same types. What cannot be told apart so
surely, such as numbers of two kinds in one table or one table under two names, makes no snapshot rather than a wrong
one. Any class may be named by the description that is a struct or enumeration of ours and already imported: nothing
is ever executed.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from enum import Enum
from functools import cache
from itertools import chain
from typing import Union, cast

import msgspec
from msgspec import inspect

from arbshard.errors import LedgerDamaged, LedgerError
from arbshard.ledger.events import Amounts
from arbshard.model.position import Position
from arbshard.risk.portfolio.journal import Journal
from arbshard.risk.portfolio.state import PortfolioState

_OURS = "arbshard."
_PLAIN: dict[str, type[object]] = {
    one.__name__: one for one in (bool, int, float, str, bytes, Decimal, type(None))
}
_GROUPS: tuple[type[object], ...] = (list, set, frozenset)


class Kind(msgspec.Struct, frozen=True, array_like=True):
    """What a value is: ``name`` of a type, and the kinds of what it contains."""

    name: str
    parts: tuple["Kind", ...] = ()


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    kind: Kind
    value: msgspec.Raw


_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_image_decoder: msgspec.msgpack.Decoder[dict[str, _Stored]] = msgspec.msgpack.Decoder(dict[str, _Stored])


class PortfolioCodec:
    """Makes states, and snapshots of them."""

    def __init__(self, version: str, fresh: Callable[[], PortfolioState] = PortfolioState) -> None:
        """``version``: of this code and all it stands on (``ledger.provenance``)."""
        self.version = version
        self.fresh = fresh

    def owned(self, state: PortfolioState) -> Amounts:
        """(venue, currency, total) of every balance."""
        return state.balances.totals()

    def dump(self, state: PortfolioState) -> tuple[str, bytes]:
        """Hash and body. Raises ``LedgerError`` when something in the state cannot be kept exactly."""
        if not state.is_settled:
            raise LedgerError("the state is in the middle of a change")
        describer = _Describer()
        image: dict[str, _Stored] = {}
        for path, _, value in _attributes(state):
            try:
                kind = describer.describe((value,), path, is_top=True)
                image[path] = _Stored(kind, msgspec.Raw(_encoder.encode(value)))
            except (TypeError, ValueError, OverflowError) as error:
                raise LedgerError(f"{path} cannot be kept: {error}") from error
        return state.state_hash(), _encoder.encode(image)

    def open_positions(self, state: PortfolioState) -> tuple[Position, ...]:
        """The positions that are open."""
        return tuple(state.positions.values())

    def load(self, body: bytes) -> PortfolioState:
        """The state that was dumped. Raises ``LedgerDamaged`` when ``body`` is not one of this program's."""
        return self._load(body, is_exact=True)

    def adopt(self, body: bytes) -> PortfolioState:
        """Likewise; what an older program did not keep yet stands as it does in a fresh state.

        What opens a period must be readable for ever, so the state and its parts may get new attributes (and their
        structs new fields with defaults), but may not lose or rename any.
        """
        return self._load(body, is_exact=False)

    def _load(self, body: bytes, *, is_exact: bool) -> PortfolioState:
        state = self.fresh()
        places = {path: (owner, value) for path, owner, value in _attributes(state)}
        try:
            image = _image_decoder.decode(body)
            if image.keys() - places.keys() or (is_exact and image.keys() != places.keys()):
                raise LedgerDamaged("it holds other things than this program keeps")
            for path, stored in image.items():
                owner, old = places[path]
                value = msgspec.msgpack.decode(stored.value, type=_type_of(stored.kind))
                if isinstance(old, dict):  # whoever knows the table already must see what is in it
                    assert isinstance(value, dict), path
                    old.clear()
                    old.update(value)
                else:
                    setattr(owner, path.rpartition(".")[2], value)
        except (msgspec.MsgspecError, AssertionError, LookupError, TypeError, ValueError) as error:
            raise LedgerDamaged(f"it cannot be read: {error!r}") from error
        return state


def _attributes(owner: object, prefix: str = "") -> Iterator[tuple[str, object, object]]:
    """(path, owner, value) of all that ``owner`` and its parts keep."""
    for name, value in vars(owner).items():
        if isinstance(value, Journal):
            continue
        if _is_part(value):
            yield from _attributes(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", owner, value


def _is_part(value: object) -> bool:
    is_ours = type(value).__module__.startswith(_OURS)
    return is_ours and hasattr(value, "__dict__") and not isinstance(value, msgspec.Struct | Enum)


class _Describer:
    """Finds the kind of a column of values that stand at the same place."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        """Tables met so far: one under two names would become two."""

    def describe(self, values: Collection[object], path: str, *, is_top: bool = False) -> Kind:
        """Raises ``TypeError`` when they are not all of one kind that can be read back exactly."""
        classes = set(map(type, values))
        if len(classes) == 2 and type(None) in classes:
            known = [value for value in values if value is not None]
            return Kind("optional", (self.describe(known, path),))
        if not classes:
            return Kind("NoneType")  # of an empty table
        if len(classes) > 1:
            names = ", ".join(sorted(one.__name__ for one in classes))
            raise TypeError(f"it holds values of several kinds ({names})")
        (cls,) = classes
        if _PLAIN.get(cls.__name__) is cls:
            return Kind(cls.__name__)
        if issubclass(cls, msgspec.Struct | Enum):
            return Kind(_name_of(cls))
        if cls is tuple:
            return self._describe_tuples(cast("Collection[tuple[object, ...]]", values), path)
        if cls is dict or (cls is OrderedDict and is_top):
            return self._describe_tables(cast("Collection[dict[object, object]]", values), path)
        if cls in _GROUPS:
            groups = cast("Collection[Collection[object]]", values)
            self._must_be_new(groups)
            return Kind(cls.__name__, (self.describe(list(chain.from_iterable(groups)), path),))
        raise TypeError(f"it holds a {cls.__name__}")

    def _describe_tables(self, tables: Collection[dict[object, object]], path: str) -> Kind:
        self._must_be_new(tables)
        keys = self.describe(list(chain.from_iterable(tables)), path)
        values = self.describe(list(chain.from_iterable(table.values() for table in tables)), path)
        return Kind("dict", (keys, values))

    def _describe_tuples(self, tuples: Collection[tuple[object, ...]], path: str) -> Kind:
        if len(set(map(len, tuples))) == 1:
            return Kind("tuple", tuple(self.describe(column, path) for column in zip(*tuples, strict=True)))
        return Kind("tuples", (self.describe(list(chain.from_iterable(tuples)), path),))

    def _must_be_new(self, tables: Collection[object]) -> None:
        ids = set(map(id, tables))
        if len(ids) != len(tables) or not ids.isdisjoint(self._seen):
            raise TypeError("it holds one table under two names")
        self._seen |= ids


def _type_of(kind: Kind) -> object:
    """What msgspec decodes ``kind`` as. Raises ``LookupError``, ``TypeError`` for what is none."""
    parts = tuple(_type_of(part) for part in kind.parts)
    match kind.name, parts:
        case ("optional", (one,)):
            return Union[one, None]  # noqa: UP007 - the operator does not take what is only known at run time
        case ("dict", (key, value)):
            return dict[key, value]  # type: ignore[valid-type]
        case ("tuple", _):
            return tuple[parts]  # type: ignore[valid-type]
        case ("tuples", (one,)):
            return tuple[one, ...]  # type: ignore[valid-type]
        case (name, (one,)):
            return {group.__name__: group for group in _GROUPS}[name][one]  # type: ignore[index]
        case (name, ()) if name in _PLAIN:
            return _PLAIN[name]
        case (name, _):
            return _class_of(name)


def _name_of(cls: type[object]) -> str:
    if not cls.__module__.startswith(_OURS) or _class_of(f"{cls.__module__}:{cls.__qualname__}") is not cls:
        raise TypeError(f"it holds a {cls.__qualname__}, which is not ours")
    return f"{cls.__module__}:{cls.__qualname__}"


@cache
def _class_of(name: str) -> type[object]:
    """A struct or enumeration of ours, by name. Raises ``LookupError``, ``TypeError`` for anything else."""
    module, _, qualname = name.partition(":")
    cls = vars(sys.modules[module])[qualname]
    if not (module.startswith(_OURS) and isinstance(cls, type) and issubclass(cls, msgspec.Struct | Enum)):
        raise TypeError(f"{name} is no struct of ours")
    _must_be_exact(inspect.type_info(cls), set())
    return cls


def _must_be_exact(info: object, seen: set[int]) -> None:
    """Raises ``TypeError`` for a struct with a field that could be read back as something else."""
    if id(info) in seen:  # a struct that contains its own kind
        return
    seen.add(id(info))
    if isinstance(info, inspect.AnyType | inspect.CustomType | inspect.RawType):
        raise TypeError("it holds a struct with a field of any type")
    if isinstance(info, inspect.Type | inspect.Field):
        for name in info.__struct_fields__:
            _must_be_exact(getattr(info, name), seen)
    elif isinstance(info, tuple):
        for one in info:
            _must_be_exact(one, seen)
