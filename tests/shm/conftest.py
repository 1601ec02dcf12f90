"""A feed with both its sides, with and without checksums."""

import pytest

from arbshard.shm.books import BooksReader, BooksWriter


@pytest.fixture(params=[False, True], ids=["ordered", "checksum"])
def feed(tmp_path, request):
    path = tmp_path / "books"
    with (
        BooksWriter.create(path, 4, 100, epoch=3, checked=request.param) as writer,
        BooksReader.attach(path) as reader,
    ):
        yield writer, reader
