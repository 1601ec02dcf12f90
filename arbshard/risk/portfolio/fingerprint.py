"""A hash of a state's tables that does not depend on the order in which they were filled. Pure."""

from collections.abc import Mapping
from hashlib import blake2b

import msgspec

_encoder = msgspec.json.Encoder(decimal_format="string")


def fingerprint(*parts: tuple[object, ...]) -> str:
    """Blake2b over a canonical text of ``parts``: mappings sorted by key, amounts as the ledger has them."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(_encoder.encode([_canonical(value) for value in part]))
    return digest.hexdigest()


def _canonical(value: object) -> object:
    if isinstance(value, Mapping):
        items = {msgspec.json.encode(key): _canonical(item) for key, item in value.items()}
        return [[key.decode(), items[key]] for key in sorted(items)]
    return value
