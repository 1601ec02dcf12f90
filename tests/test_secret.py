"""Secrets show nothing of themselves, and can be used all the same."""

import copy
import hashlib
import hmac
import os
import pickle

import msgspec
import pytest

from arbshard.errors import ProtocolError
from arbshard.secret import Secret, encode_revealed, hidden_file, hide, read_hidden_line

TEXT = "MARKUP-4711"


@pytest.mark.parametrize(
    "show",
    [repr, str, "{}".format, "{!r:>40}".format, lambda one: f"{[one, {'k': one}]}", lambda one: f"{one}"],
)
def test_in_no_text(show):
    assert TEXT not in show(Secret(TEXT))


def test_in_no_copy():
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            take(Secret(TEXT))
    with pytest.raises(TypeError):
        msgspec.json.encode(Secret(TEXT))


def test_used_all_the_same():
    secret = Secret(f"  {TEXT}\n")
    assert secret.use(str.lower) == TEXT.lower()
    assert secret.use_encoded(bytes) == TEXT.encode()
    assert secret.matches(TEXT)
    assert not secret.matches(TEXT[:-1])
    assert (len(secret), bool(secret), bool(Secret(" ")), "MARK" in secret) == (11, True, False, True)
    assert Secret("a").isascii()
    assert not Secret("ä").isascii()
    assert Secret.join("<", secret, ">").matches(f"<{TEXT}>")
    expected = hmac.new(TEXT.encode(), b"message", hashlib.sha256).digest()
    assert secret.digest("message", "sha256") == secret.digest(Secret("message"), "sha256") == expected


def test_revealed_as_json_only_on_purpose():
    assert encode_revealed({"key": Secret(TEXT), "n": 1}) == f'{{"key":"{TEXT}","n":1}}'.encode()
    with pytest.raises(TypeError, match="is not a text"):
        encode_revealed({"key": object()})


def test_a_table_is_hidden_at_every_depth():
    hidden = hide({"a": TEXT, "b": {"c": [TEXT, 1, None]}})
    assert TEXT not in repr(hidden)
    assert hidden["b"]["c"][0].matches(TEXT)
    assert hidden["b"]["c"][1:] == [1, None]


def test_a_file_without_a_name_is_read_once():
    with hidden_file(Secret(TEXT)) as file:
        assert read_hidden_line(file.fileno(), 100, 1.0).matches(TEXT)
        assert os.read(file.fileno(), 100) == b""


@pytest.mark.parametrize(("said", "why"), [(b"", "in time"), (b"x" * 200, "no whole line")])
def test_a_line_that_does_not_come(said, why):
    reading, writing = os.pipe()
    try:
        os.write(writing, said)
        with pytest.raises(ProtocolError, match=why):
            read_hidden_line(reading, 100, 0.05)
    finally:
        os.close(reading)
        os.close(writing)
