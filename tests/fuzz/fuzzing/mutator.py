"""One mutation after another of bytes that were once good. Pure: what comes out depends on the seed alone.

Some know nothing of what the bytes mean; the others read them as JSON or MessagePack, change the tree and write it
again, so that they come past the parser and into the code behind it. Used by ``campaign``.
"""

import json
import re
from collections.abc import Callable, Sequence
from random import Random

import msgspec

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_NUMBERS = (
    b"0", b"-0", b"-1", b"1e400", b"-1e400", b"1e-400", b"1e308", b"5e-324", b"0.1e1", b"00", b".5", b"1.", b"+1",
    b"NaN", b"Infinity", b"-Infinity", b"9" * 30, b"9" * 400, b"-" + b"9" * 400, b"18446744073709551616",
    b"9223372036854775808", b"-9223372036854775809", b"1" + b"0" * 5000, b"0." + b"0" * 400 + b"1",
    b'"nan"', b'"inf"', b"true", b"null", b"[1]", b"{}",
)  # fmt: skip
_SNIPPETS = (
    b"\x00", b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b'"', b"\\", b"\\u0000", b"\\ud800",
    b"{", b"}", b"[", b"]", b",", b":", b"null", b"{}", b"[]", b'""', b"\n", b"\xc1", b"\xdc\xff\xff",
    b"\xdd\xff\xff\xff\xff", b"\xc7\x08\xff", b"\xcf" + b"\xff" * 8, b"\xcb\x7f\xf8" + b"\x00" * 6,
    b"\xdb\xff\xff\xff\xff", b"\xd9",
)  # fmt: skip
_TEXTS = (
    "", " ", "nan", "-nan", "sNaN", "inf", "-inf", "Infinity", "0", "-0", "-1", "1e400", "1e-400", "1E+999999",
    "1E-999999", "9" * 60, "0." + "0" * 60 + "1", "1_0", "0x10", "１２", "\x00", "\u202e", "é" * 70,
    "A" * 5000, "KRW-BTC", "BTC",
    "s1-0-1-1", "s1-0-1-1-h0", "s99999999-99-99-99999999", "../../etc", "%s%n", "'; --", "{}", "upbit", "binance",
    "\ud7ff",
)  # fmt: skip
_AMOUNTS = (
    "0", "-0", "-1", "0.1", "1", "1000000", "1E+20", "1E-34", "1E-40", "1E+999999", "9" * 60, "0." + "0" * 40 + "1",
    "NaN", "sNaN", "-sNaN1", "Infinity", "-Infinity", "1e400", "", "1,0", "0.50000",
)  # fmt: skip
_WORDS = (
    0, 1, -1, 2, 63, 64, 2**31, 2**32, 2**53, 2**63 - 1, -(2**63), 2**64 - 1, 1795000000000, True, False, None,
    0.0, -0.0, 0.5, -1.5, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"), [], {},
    [[]], [None], {"": None},
)  # fmt: skip
_OVERSIZE = (9_000, 70_000, 300_000)
_DEPTHS = (10, 900, 2_000, 50_000)

Tree = object
Corpus = Sequence[bytes]


def mutated(case: bytes, corpus: Corpus, rng: Random, blind: float = 0.5) -> bytes:
    """``case`` after one to four mutations; ``corpus`` lends what is spliced in.

    ``blind``: the share of mutations that know nothing of what the bytes mean.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        is_blind = rng.random() < blind
        case = rng.choice(_BLIND)(case, corpus, rng) if is_blind else _through_tree(case, rng)
    return case


def _at(case: bytes, rng: Random) -> int:
    return rng.randrange(len(case) + 1)


def _span(case: bytes, rng: Random) -> tuple[int, int]:
    begin = _at(case, rng)
    return begin, min(len(case), begin + rng.choice((1, 1, 2, 4, 16, 64, 400)))


def _flip(case: bytes, _: Corpus, rng: Random) -> bytes:
    found = bytearray(case)
    for _ in range(rng.choice((1, 1, 2, 8)) if found else 0):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def _overwrite(case: bytes, _: Corpus, rng: Random) -> bytes:
    begin, end = _span(case, rng)
    return case[:begin] + rng.randbytes(end - begin) + case[end:]


def _cut_end(case: bytes, _: Corpus, rng: Random) -> bytes:
    return case[: _at(case, rng)]


def _cut_begin(case: bytes, _: Corpus, rng: Random) -> bytes:
    return case[_at(case, rng) :]


def _drop(case: bytes, _: Corpus, rng: Random) -> bytes:
    begin, end = _span(case, rng)
    return case[:begin] + case[end:]


def _repeat(case: bytes, _: Corpus, rng: Random) -> bytes:
    begin, end = _span(case, rng)
    return case[:end] + case[begin:end] * rng.choice((1, 1, 2, 50)) + case[end:]


def _swap(case: bytes, _: Corpus, rng: Random) -> bytes:
    first, middle, last = sorted(_at(case, rng) for _ in range(3))
    return case[:first] + case[middle:last] + case[first:middle] + case[last:]


def _splice(case: bytes, corpus: Corpus, rng: Random) -> bytes:
    other = rng.choice(corpus)
    return case[: _at(case, rng)] + other[_at(other, rng) :]


def _insert_other(case: bytes, corpus: Corpus, rng: Random) -> bytes:
    begin, end = _span(other := rng.choice(corpus), rng)
    at = _at(case, rng)
    return case[:at] + other[begin:end] + case[at:]


def _insert(case: bytes, _: Corpus, rng: Random) -> bytes:
    at = _at(case, rng)
    return case[:at] + rng.choice(_SNIPPETS) + case[at:]


def _renumber(case: bytes, _: Corpus, rng: Random) -> bytes:
    """A number as text, if there is one, becomes another kind of number."""
    found = list(_NUMBER.finditer(case[:20_000]))
    if not found:
        return case
    spot = rng.choice(found)
    return case[: spot.start()] + rng.choice(_NUMBERS) + case[spot.end() :]


def _oversize(case: bytes, _: Corpus, rng: Random) -> bytes:
    at, size = _at(case, rng), rng.choice(_OVERSIZE)
    return case[:at] + (case[at : at + 64] or b" ") * (size // 64) + case[at:]


def _deepen(case: bytes, _: Corpus, rng: Random) -> bytes:
    at, depth = _at(case, rng), rng.choice(_DEPTHS)
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"\x91", b""), (b"\x81\xa1a", b"")))
    return case[:at] + opening * depth + case[at : at + 1] + closing * depth + case[at + 1 :]


def _empty(_case: bytes, _: Corpus, rng: Random) -> bytes:
    return b"" if rng.random() < 0.5 else rng.randbytes(rng.choice((1, 2, 7, 60)))


_BLIND: tuple[Callable[[bytes, Corpus, Random], bytes], ...] = (
    _flip, _flip, _flip, _overwrite, _cut_end, _cut_begin, _drop, _drop, _repeat, _swap, _splice, _splice,
    _insert_other, _insert, _insert, _renumber, _renumber, _renumber, _oversize, _deepen, _empty,
)  # fmt: skip


def _through_tree(case: bytes, rng: Random) -> bytes:
    """The case with one node of its tree changed; as it is when it is neither JSON nor MessagePack."""
    if len(case) > 20_000:
        return case
    if case[:1] in (b"{", b"["):
        try:
            tree = json.loads(case)
        except (ValueError, RecursionError):
            return case
        return json.dumps(_changed(tree, rng), separators=(",", ":"), ensure_ascii=False).encode(
            "utf-8", "replace"
        )
    try:
        tree = msgspec.msgpack.decode(case)
        return msgspec.msgpack.encode(_changed(tree, rng))
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, TypeError):
        return case


def _changed(tree: Tree, rng: Random) -> Tree:
    """``tree`` with one of its nodes, each as likely, changed in one way."""
    spots: list[tuple[list[object] | dict[object, object], object]] = []
    todo = [tree]
    while todo:
        node = todo.pop()
        keys: Sequence[object] = ()
        if isinstance(node, dict):
            keys = tuple(node)
        elif isinstance(node, list):
            keys = range(len(node))
        for key in keys:
            spots.append((node, key))
            todo.append(node[key])
    if not spots:
        return _other(tree, rng)
    holder, key = rng.choice(spots)
    how = rng.random()
    if how < 0.6:
        holder[key] = _other(holder[key], rng)
    elif how < 0.7:
        del holder[key]
    elif how < 0.85:
        there, other = rng.choice(spots)
        if other in there if isinstance(there, dict) else other < len(there):
            holder[key] = there[other]
            if _is_within(holder, holder[key]):
                holder[key] = None
    elif isinstance(holder, dict):
        holder[rng.choice(_TEXTS)] = holder.pop(key)
    else:
        holder.insert(key, holder[key])
    return tree


def _other(value: object, rng: Random) -> object:
    """Something in the place of ``value``: often of its own type, so that it comes further."""
    how = rng.random()
    if isinstance(value, bool) or value is None:
        return rng.choice(_WORDS)
    if isinstance(value, int) and how < 0.7:
        return rng.choice(
            (value + 1, value - 1, -value, value * 1000, *(w for w in _WORDS if type(w) is int))
        )
    if isinstance(value, float) and how < 0.7:
        return rng.choice((-value, value * 1e6, value / 1e6, *(w for w in _WORDS if type(w) is float)))
    if isinstance(value, str) and how < 0.85 and _NUMBER.fullmatch(value.encode("utf-8", "replace")):
        return rng.choice((*_AMOUNTS, value + "0", f"-{value}", value[:-1], "1" + value))
    if isinstance(value, str) and how < 0.7:
        return rng.choice((*_TEXTS, value + value, value[:-1], value.swapcase(), value + "\x00", f"-{value}"))
    if isinstance(value, list) and how < 0.5 and value:
        return rng.choice((value * 2, value[::-1], value[1:], value[:-1], [value], value * 40))
    return rng.choice((*_WORDS, *_TEXTS))


def _is_within(node: object, tree: object) -> bool:
    """Whether ``tree`` contains the very object ``node``: then it cannot be written out."""
    todo = [tree]
    while todo:
        one = todo.pop()
        if one is node:
            return True
        if isinstance(one, dict):
            todo.extend(one.values())
        elif isinstance(one, list):
            todo.extend(one)
    return False
