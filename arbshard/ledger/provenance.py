"""Which code made a snapshot: a digest of a module's source and of all modules of ours that it stands on.

Read once, at the start. A snapshot of other code is not used, so a change of how events add up needs no version
number that somebody could forget to raise.
"""

import ast
from collections.abc import Iterator
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

_OURS = "arbshard."


def digest_of(module: str) -> str | None:
    """32 hexadecimal digits; None where the source cannot be read, as in a program shipped without it."""
    sources: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in sources:
            continue
        try:
            sources[name] = _source(name)
            waiting += _imports(sources[name])
        except (ImportError, OSError, SyntaxError, ValueError):
            return None
    digest = blake2b(digest_size=16)
    for name in sorted(sources):
        digest.update(f"{name} {len(sources[name])} ".encode())
        digest.update(sources[name])
    return digest.hexdigest()


def _source(name: str) -> bytes:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ImportError(name)
    return Path(spec.origin).read_bytes()


def _imports(source: bytes) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.startswith(_OURS))
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith(_OURS):
            yield node.module
            spec = find_spec(node.module)
            if spec is not None and spec.submodule_search_locations is not None:
                # ``from arbshard.risk import forms`` names a module too.
                yield from (f"{node.module}.{one.name}" for one in node.names)
