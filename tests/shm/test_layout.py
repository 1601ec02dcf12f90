"""Files appear whole, belong to their owner alone, and a file of another kind or layout is refused."""

import stat

import pytest

from arbshard.errors import SharedMemoryError
from arbshard.shm.layout import HEADER_BYTES, attach_segment, create_segment

MAGIC = b"ARBTEST "


def test_what_is_created_can_be_attached_with_its_arguments_and_blob(tmp_path):
    create_segment(tmp_path / "f", MAGIC, 1024, (7, 8), blob=b"names").close()
    with attach_segment(tmp_path / "f", MAGIC) as segment:
        assert segment.args() == (7, 8, 0, 0, 0)
        assert segment.raw[HEADER_BYTES : HEADER_BYTES + 5] == b"names"


def test_only_the_owner_may_open_the_file_and_no_temporary_file_stays(tmp_path):
    create_segment(tmp_path / "f", MAGIC, 1024, ()).close()
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


def test_a_reader_cannot_write(tmp_path):
    with create_segment(tmp_path / "f", MAGIC, 1024, ()), attach_segment(tmp_path / "f", MAGIC) as segment:
        with pytest.raises(TypeError):
            segment.words[8] = 1
        with pytest.raises(TypeError):
            segment.raw[64:65] = b"x"


def test_writer_and_reader_share_words(tmp_path):
    with (
        create_segment(tmp_path / "f", MAGIC, 1024, ()) as ours,
        attach_segment(tmp_path / "f", MAGIC) as theirs,
    ):
        ours.words[40] = 2**64 - 1
        assert theirs.words[40] == 2**64 - 1
        assert theirs.signed[40] == -1


def test_replacing_leaves_the_old_file_to_those_who_mapped_it(tmp_path):
    create_segment(tmp_path / "f", MAGIC, 1024, (1,)).close()
    with attach_segment(tmp_path / "f", MAGIC) as old:
        create_segment(tmp_path / "f", MAGIC, 2048, (2,)).close()
        with attach_segment(tmp_path / "f", MAGIC) as new:
            assert (old.args()[0], new.args()[0]) == (1, 2)


def test_without_replace_an_existing_file_is_an_error_and_stays(tmp_path):
    create_segment(tmp_path / "f", MAGIC, 1024, (1,)).close()
    with pytest.raises(SharedMemoryError, match="cannot be created"):
        create_segment(tmp_path / "f", MAGIC, 1024, (2,), replace=False)
    with attach_segment(tmp_path / "f", MAGIC) as segment:
        assert segment.args()[0] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_closing_twice_is_closing_once(tmp_path):
    segment = create_segment(tmp_path / "f", MAGIC, 1024, ())
    segment.close()
    segment.close()
    with pytest.raises(ValueError, match="released"):
        segment.words[0]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ({0: 1}, "is not a ARBTEST file"),
        ({1: 99}, "has layout version 99"),
        ({2: 4096}, "is 1024 bytes long, its header says 4096"),
    ],
)
def test_a_foreign_file_is_refused_with_its_path(tmp_path, damage, problem):
    with create_segment(tmp_path / "f", MAGIC, 1024, ()) as segment:
        for word, value in damage.items():
            segment.words[word] = value
        with pytest.raises(SharedMemoryError, match=problem) as caught:
            attach_segment(tmp_path / "f", MAGIC)
    assert str(tmp_path / "f") in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"short", bytes(4096)])
def test_a_file_that_is_not_ours_is_refused(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(SharedMemoryError):
        attach_segment(tmp_path / "f", MAGIC)


def test_a_missing_file_or_directory_is_said_so(tmp_path):
    with pytest.raises(SharedMemoryError, match="No such file"):
        attach_segment(tmp_path / "f", MAGIC)
    with pytest.raises(SharedMemoryError, match="No such file"):
        create_segment(tmp_path / "nowhere" / "f", MAGIC, 1024, ())
