"""Makes one random generator per purpose, the same in every process.

``hash()`` would not do: its values change from process to process.
"""

import random
from hashlib import blake2b


def seeded(*purpose: object) -> random.Random:
    """Return a generator that depends on ``purpose`` alone (its parts as text), on every machine and in every
    process.
    """
    text = "\x1f".join(str(part) for part in purpose)
    return random.Random(int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "big"))
