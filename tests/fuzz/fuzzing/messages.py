"""Good messages of every kind: instances made from the types themselves, so that a new message is fuzzed unasked."""

from decimal import Decimal
from enum import Enum
from random import Random
from typing import get_args

import msgspec
from msgspec import inspect

from arbshard.wire import control, messages, order_events

_TEXTS = (
    "BTC",
    "ETH",
    "KRW-BTC",
    "BTCUSDT",
    "upbit",
    "binance",
    "s1-0-1-1",
    "s1-0-1-1-h0",
    "KRW",
    "USDT",
    "net_edge",
    "x",
)
_AMOUNTS = ("0", "1", "0.5", "1000000", "700", "1399", "1401", "0.00001", "-1", "NaN", "1E+5")
_INTS = (0, 1, 1, 2, 7, 4242, 1_795_000_000_000)
_LENGTHS = (0, 1, 1, 2, 3)


def sample(kind: inspect.Type, rng: Random) -> object:
    """A value of ``kind``, drawn. Raises ``TypeError`` for a type that no message has had so far."""
    match kind:
        case inspect.StructType():
            drawn = {
                field.name: sample(field.type, rng)
                for field in kind.fields
                if field.required or rng.random() < 0.7
            }
            return kind.cls(**drawn)
        case inspect.UnionType():
            return sample(rng.choice(kind.types), rng)
        case inspect.LiteralType():
            return rng.choice(kind.values)
        case inspect.EnumType():
            members: type[Enum] = kind.cls
            return rng.choice(tuple(members))
        case inspect.VarTupleType() | inspect.ListType() | inspect.SetType() | inspect.FrozenSetType():
            return tuple(sample(kind.item_type, rng) for _ in range(rng.choice(_LENGTHS)))
        case inspect.TupleType():
            return tuple(sample(one, rng) for one in kind.item_types)
        case inspect.DictType():
            return {
                sample(kind.key_type, rng): sample(kind.value_type, rng) for _ in range(rng.choice(_LENGTHS))
            }
        case inspect.DecimalType():
            return Decimal(rng.choice(_AMOUNTS))
        case inspect.IntType():
            return rng.choice(_INTS)
        case inspect.FloatType():
            return rng.choice((0.0, 25.0, -3.5))
        case inspect.BoolType():
            return rng.random() < 0.5
        case inspect.StrType():
            return rng.choice(_TEXTS)
        case inspect.BytesType():
            return rng.randbytes(4)
        case inspect.NoneType():
            return None
    raise TypeError(f"no sample for {kind}")


def every(union: object) -> tuple[type[msgspec.Struct], ...]:
    """The messages of a union, or the one."""
    return get_args(union) or (union,)


def samples(union: object, rng: Random, of_each: int) -> list[object]:
    """``of_each`` messages of every kind in ``union``."""
    return [sample(inspect.type_info(one), rng) for one in every(union) for _ in range(of_each)]


RISK_REQUESTS, RISK_COMMANDS = messages.Request, messages.Command
RISK_ANSWERS = messages.Reply | messages.CommandReply
CONTROL_ORDERS, CONTROL_ANSWERS = control.ControlOrder, control.ControlAnswer


def risk_payloads(rng: Random, of_each: int = 6) -> list[bytes]:
    """All that workers and operators may say to risk."""
    return [messages.encode(one) for one in samples(RISK_REQUESTS | RISK_COMMANDS, rng, of_each)]


def risk_answers(rng: Random, of_each: int = 6) -> list[bytes]:
    """All that risk may answer."""
    return [messages.encode(one) for one in samples(RISK_ANSWERS, rng, of_each)]


def control_payloads(rng: Random, of_each: int = 6) -> list[bytes]:
    """All that the command line may say to the supervisor, and its answers."""
    return [control.encode(one) for one in samples(CONTROL_ORDERS | CONTROL_ANSWERS, rng, of_each)]


def order_events_of(rng: Random, of_each: int = 20) -> list[bytes]:
    """What the accounts process publishes."""
    return [order_events.encode(one) for one in samples(order_events.OrderEvent, rng, of_each)]
