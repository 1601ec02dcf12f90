"""A feed with both its sides, with and without checksums. All tests run with and without the compiled twin."""

import pytest

from arbshard import native
from arbshard.shm.books import BooksReader, BooksWriter


@pytest.fixture(autouse=True, params=["native", "plain"] if native.IS_BUILT else ["plain"])
def twin(request, monkeypatch):
    """Both sides of everything that is made in a test do the same with the twin and without it."""
    monkeypatch.setattr(native, "IS_BUILT", request.param == "native")
    return request.param


@pytest.fixture(params=[False, True], ids=["ordered", "checksum"])
def feed(tmp_path, request):
    path = tmp_path / "books"
    with (
        BooksWriter.create(path, 4, 100, epoch=3, checked=request.param) as writer,
        BooksReader.attach(path) as reader,
    ):
        yield writer, reader
