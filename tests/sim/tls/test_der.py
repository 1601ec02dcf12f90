import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.sim.tls import der


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (der.integer(0), "020100"),
        (der.integer(127), "02017f"),
        (der.integer(128), "02020080"),
        (der.integer(256), "02020100"),
        (der.boolean(True), "0101ff"),
        (der.octets(b"ab"), "04026162"),
        (der.bits(b"\x06", 1), "03020106"),
        (der.text("é"), "0c02c3a9"),
        (der.oid("1.2.840.113549"), "06062a864886f70d"),
        (der.oid("2.5.29.19"), "0603551d13"),
        (der.sequence(der.integer(1), der.integer(2)), "3006020101020102"),
        (der.tagged(0, b"x", constructed=False), "800178"),
        (der.tagged(3, b"x", constructed=True), "a30178"),
    ],
)
def test_known_encodings(made, wanted):
    assert made.hex() == wanted


def test_long_lengths():
    assert der.octets(bytes(127))[:2].hex() == "047f"
    assert der.octets(bytes(128))[:3].hex() == "048180"
    assert der.octets(bytes(300))[:4].hex() == "0482012c"


def test_times_change_form_in_2050():
    assert der.time(0) == b"\x17\x0d700101000000Z"
    assert der.time(2_524_607_999) == b"\x17\x0d491231235959Z"
    assert der.time(2_524_608_000) == b"\x18\x0f20500101000000Z"


@given(st.integers(0, 2**300))
def test_integers_read_back(number):
    made = der.integer(number)
    assert made[1] == len(made) - 2
    assert int.from_bytes(made[2:], "big", signed=True) == number
