"""A page tells its own names, and what was counted, recorded and noted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.errors import SharedMemoryError
from arbshard.shm.pages import Histogram, PageReader, PageWriter


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page"
    with (
        PageWriter.create(path, ["beats", "open"], ["decide", "ask"], 1000) as writer,
        PageReader.attach(path) as reader,
    ):
        yield writer, reader


def test_the_reader_learns_the_names_from_the_page(page):
    _, reader = page
    assert reader.counters == ("beats", "open")
    assert reader.histograms == ("decide", "ask")
    assert reader.values() == {"beats": 0, "open": 0}
    assert reader.histogram("ask") == Histogram()
    assert reader.note() == b""


def test_counters_count_and_gauges_hold_negative_numbers(page):
    writer, reader = page
    beats, gauge = writer.counter("beats"), writer.counter("open")
    writer.add(beats)
    writer.add(beats, 4)
    writer.set(gauge, -(2**63))
    assert reader.values() == {"beats": 5, "open": -(2**63)}
    writer.add(gauge, 3)
    assert reader.value("open") == 3 - 2**63


def test_some_counters_are_read_in_one_step(page):
    writer, reader = page
    first, second = reader.counters[:2]
    read = reader.reader(second, first)
    writer.set(writer.counter(first), -3)
    writer.add(writer.counter(second), 8)
    assert read() == (8, -3)
    writer.set(writer.counter(first), 5)
    assert read() == (8, 5)
    with pytest.raises(KeyError):
        reader.reader(first, "nothing")


def test_unknown_names_are_key_errors(page):
    writer, reader = page
    for call in (writer.counter, writer.histogram, reader.value, reader.histogram):
        with pytest.raises(KeyError):
            call("nothing")


@given(st.lists(st.integers(-10, 2**45)), st.lists(st.integers(0, 100)))
def test_recorded_durations_are_the_pure_histogram(tmp_path_factory, first, second):
    path = tmp_path_factory.mktemp("page") / "page"
    with PageWriter.create(path, ["c"], ["a", "b"], 0) as writer, PageReader.attach(path) as reader:
        a, b = writer.histogram("a"), writer.histogram("b")
        for ns in first:
            writer.record(a, ns)
        for ns in second:
            writer.record(b, ns)
        assert reader.histogram("a") == Histogram.of(first)
        assert reader.histogram("b") == Histogram.of(second)
        assert reader.value("c") == 0


def test_the_newest_note_is_read(page):
    writer, reader = page
    for n in range(5):
        note = json.dumps({"n": n, "pad": "x" * (200 - 40 * n)}).encode()
        writer.write_note(note)
        assert reader.note() == note


@pytest.mark.parametrize("note", [b"x" * 1001, b""])
def test_a_note_that_does_not_fit_is_an_error_and_the_old_one_stays(page, note):
    writer, reader = page
    writer.write_note(b"y" * 1000)
    with pytest.raises(SharedMemoryError, match="note"):
        writer.write_note(note)
    assert reader.note() == b"y" * 1000
    writer.write_note(b"next")
    assert reader.note() == b"next"


def test_a_note_broken_off_leaves_the_one_before(page):
    writer, reader = page
    writer.write_note(b"first")
    writer.write_note(b"second")
    words = writer._segment.words
    slot_of_the_third = writer._plan.notes // 8 + (64 + 1024) // 8
    words[slot_of_the_third] |= 1
    assert reader.note() == b"second"
    writer.write_note(b"third")
    assert reader.note() == b"third"


def test_no_whole_note_is_an_error_not_a_wait(page):
    writer, reader = page
    writer.write_note(b"first")
    writer._segment.words[writer._plan.notes // 8 + (64 + 1024) // 8] |= 1
    with pytest.raises(SharedMemoryError, match="no whole note"):
        reader.note()


def test_a_page_without_room_for_notes_refuses_them(tmp_path):
    with (
        PageWriter.create(tmp_path / "p", ["a"], note_bytes=0) as writer,
        PageReader.attach(tmp_path / "p") as reader,
    ):
        with pytest.raises(SharedMemoryError):
            writer.write_note(b"x")
        assert reader.note() == b""


def test_damaged_names_are_refused(tmp_path):
    with PageWriter.create(tmp_path / "p", ["a"], ["h"]) as writer:
        writer._segment.raw[256:260] = b"????"
        with pytest.raises(SharedMemoryError, match="unreadable names"):
            PageReader.attach(tmp_path / "p")


def test_names_that_contradict_the_size_are_refused(tmp_path):
    with PageWriter.create(tmp_path / "p", ["a"], ["h"]) as writer:
        writer._segment.words[4] += 64
        with pytest.raises(SharedMemoryError, match="contradicts"):
            PageReader.attach(tmp_path / "p")
