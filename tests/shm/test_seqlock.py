"""A write that did not end is never taken for a whole one; checksums catch what unordered stores would show."""

from arbshard.shm.books import BooksReader, BooksWriter


def break_off(writer):
    """Leave slot 0 as a process does that dies inside a write."""
    writer._segment.words[4096 // 8] |= 1


def test_a_write_broken_off_is_never_read_and_the_next_one_mends_the_slot(feed):
    writer, reader = feed
    writer.write(0, b"whole", 1)
    break_off(writer)
    assert reader.sequence(0) % 2 == 1
    assert reader.read(0) is None
    assert reader.torn == 1
    writer.write(0, b"mended", 2)
    assert reader.read(0) == (4, 2, False, b"mended")


def test_where_stores_are_unordered_a_wrong_byte_or_word_is_noticed(tmp_path):
    path = tmp_path / "books"
    with (
        BooksWriter.create(path, 1, 100, epoch=1, checked=True) as writer,
        BooksReader.attach(path) as reader,
    ):
        writer.write(0, b"frame", 5)
        words, raw = writer._segment.words, writer._segment.raw
        base = 4096 // 8
        raw[4096 + 64 : 4096 + 65] = b"g"
        assert reader.read(0) is None
        raw[4096 + 64 : 4096 + 65] = b"f"
        for word in (1, 2, 3):
            words[base + word] += 1
            assert reader.read(0) is None
            words[base + word] -= 1
        words[base] += 2
        assert reader.read(0) is None
        words[base] -= 2
        assert reader.read(0) == (2, 5, False, b"frame")
        assert reader.torn == 5


def test_the_flag_can_be_set_after_a_write_broken_off(feed):
    writer, reader = feed
    break_off(writer)
    writer.set_live(0, True)
    assert reader.sequence(0) % 2 == 0
