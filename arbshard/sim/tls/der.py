"""ASN.1 in its distinguished encoding (ITU-T X.690): the few types that a certificate is made of. Pure."""

import base64
from datetime import UTC, datetime

_UTC_TIME, _GENERALISED_TIME = 0x17, 0x18


def value(tag: int, content: bytes) -> bytes:
    """``content`` under ``tag``, with its length."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def integer(number: int) -> bytes:
    """INTEGER, not negative."""
    assert number >= 0, number
    return value(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def boolean(flag: bool) -> bytes:
    """BOOLEAN."""
    return value(0x01, b"\xff" if flag else b"\x00")


def bits(content: bytes, unused: int = 0) -> bytes:
    """BIT STRING; ``unused`` bits of the last byte do not count."""
    return value(0x03, bytes((unused,)) + content)


def octets(content: bytes) -> bytes:
    """OCTET STRING."""
    return value(0x04, content)


def text(words: str) -> bytes:
    """UTF8String."""
    return value(0x0C, words.encode())


def sequence(*parts: bytes) -> bytes:
    """SEQUENCE."""
    return value(0x30, b"".join(parts))


def set_of(part: bytes) -> bytes:
    """SET with one member."""
    return value(0x31, part)


def tagged(number: int, content: bytes, *, constructed: bool) -> bytes:
    """A context-specific tag: around a whole value (constructed), or in place of its own (primitive)."""
    return value((0xA0 if constructed else 0x80) | number, content)


def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER."""
    first, second, *rest = map(int, dotted.split("."))
    content = bytearray((40 * first + second,))
    for arc in rest:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        content += bytes(reversed(groups))
    return value(0x06, bytes(content))


def time(at_s: int) -> bytes:
    """Seconds since the epoch as UTCTime; from the year 2050 on as GeneralizedTime, as RFC 5280 wants it."""
    moment = datetime.fromtimestamp(at_s, UTC)
    if moment.year < 2050:
        return value(_UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())
    return value(_GENERALISED_TIME, moment.strftime("%Y%m%d%H%M%SZ").encode())


def pem(label: str, content: bytes) -> str:
    """The text form (RFC 7468)."""
    encoded = base64.b64encode(content).decode()
    lines = "\n".join(encoded[at : at + 64] for at in range(0, len(encoded), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
