"""The chain of archives: whatever is altered, removed, exchanged or added is found, and named."""

import lzma
import random
import shutil
import sqlite3

import msgspec
import pytest

from arbshard.errors import LedgerError
from arbshard.ledger import archiving
from arbshard.ledger.archive import ArchiveReader, Block, Header, folder_of
from arbshard.ledger.prove import prove
from arbshard.ledger.verify import verify, verify_archive
from support import history
from support import world as w


@pytest.fixture(scope="module")
def original(codec, close_at, tmp_path_factory):
    """A ledger with three archives and an open period, ended in order."""
    world = w.World()
    path = tmp_path_factory.mktemp("chain") / "ledger.sqlite"
    for base in ("BTC", "ETH", "BTC", "ETH"):
        world.round_trip(base)
    world.open_position("BTC")
    for _ in range(4):
        world.round_trip("ETH")
    world.write_ledger(path)
    for part in (1, 2, 3):
        close_at(path, part * len(world.events) // 4)
    return path


@pytest.fixture
def chain(original, tmp_path):
    """A copy of it to spoil: (ledger, archives)."""
    shutil.copytree(original.parent, tmp_path / "chain")
    path = tmp_path / "chain" / "ledger.sqlite"
    archives = sorted(folder_of(path).iterdir())
    for one in archives:
        one.chmod(0o600)
    return path, archives


def broken(path) -> str:
    with pytest.raises(LedgerError) as found:
        list(prove(path))
    return str(found.value)


def rewritten(path, change) -> None:
    """Rewrite an archive as somebody would who knows the format: a sound file with another content."""
    lines = lzma.decompress(path.read_bytes()).split(b"\n")
    header = msgspec.json.decode(lines[0], type=Header)
    blocks = [msgspec.json.decode(line, type=Block) for line in lines[1:-1]]
    header, blocks = change(header, blocks)
    encoder = msgspec.json.Encoder(decimal_format="string")
    path.write_bytes(lzma.compress(b"".join(encoder.encode(one) + b"\n" for one in (header, *blocks))))


def test_an_honest_chain_is_proven_link_by_link(chain) -> None:
    path, archives = chain
    links = list(prove(path))
    assert [link.name for link in links] == [*(one.name for one in archives), "ledger.sqlite"]
    assert [one.first_seq for one in links[1:]] == [one.last_seq + 1 for one in links[:-1]]
    assert [one.digest for one in links[:-1]] == [ArchiveReader(one).header.digest for one in archives]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_missing_archive_is_named(chain, which) -> None:
    path, archives = chain
    archives[which].unlink()
    assert f"{archives[which].name}: missing" in broken(path)
    if which == 2:  # without it the open period cannot be verified either
        with pytest.raises(LedgerError, match="No such file"):
            verify(path)


def test_any_altered_byte_is_found(chain) -> None:
    path, archives = chain
    spoil = random.Random(11)
    for one in archives:
        before = one.read_bytes()
        places = {0, 5, len(before) - 1, len(before) - 12, *(spoil.randrange(len(before)) for _ in range(60))}
        for place in places:
            after = bytearray(before)
            after[place] ^= 1 << spoil.randrange(8)
            one.write_bytes(after)
            assert one.name in broken(path), place
        for cut in (0, 1, len(before) // 2, len(before) - 1):
            one.write_bytes(before[:cut])
            assert one.name in broken(path)
        one.write_bytes(before + b"\0" * 4)
        assert one.name in broken(path)
        one.write_bytes(before)
    assert len(list(prove(path))) == 4


def test_an_altered_amount_is_found_and_its_events_are_named(chain) -> None:
    path, archives = chain

    def change(header, blocks):
        (block,) = blocks
        tables = list(block.events.tables)
        at, table = next(
            (at, one)
            for at, one in enumerate(tables)
            if one.shape[0] == '{"type":' and "OrderReported" in str(one.columns[0])
        )
        spoiled = tuple(
            tuple('"0.4"' if value == '"0.5"' else value for value in column)
            if not isinstance(column, int)
            else column
            for column in table.columns
        )
        assert spoiled != table.columns
        tables[at] = msgspec.structs.replace(table, columns=spoiled)
        events = msgspec.structs.replace(block.events, tables=tuple(tables))
        return header, [msgspec.structs.replace(block, events=events)]

    rewritten(archives[1], change)
    first = ArchiveReader(archives[1]).header.first_seq
    said = broken(path)
    assert f"{archives[1].name}: damaged: events {first} to" in said
    assert "expected digest" in said
    assert "found" in said


def test_a_removed_event_is_found(chain) -> None:
    path, archives = chain

    def change(header, blocks):
        (block,) = blocks
        return header, [msgspec.structs.replace(block, last_seq=block.last_seq - 1)]

    rewritten(archives[0], change)
    assert archives[0].name in broken(path)


@pytest.mark.parametrize(
    "change",
    [
        {"closing": ()},
        {"opening": (("venue:upbit", "KRW", "1"),)},
        {"tag": "zzzzz"},
        {"previous": None},
        {"last_ms": 1},
        {"kinds": {}},
        {"postings": 7},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_altered_header_is_found(chain, change) -> None:
    path, archives = chain
    rewritten(archives[1], lambda header, blocks: (msgspec.structs.replace(header, **change), blocks))
    assert archives[1].name in broken(path) or archives[0].name in broken(path)


def test_an_archive_made_anew_with_its_own_digest_does_not_fit_its_successor(
    chain, close_at, tmp_path
) -> None:
    """A whole other history, sound in itself."""
    path, archives = chain
    world = w.World()
    world.round_trip()
    other = tmp_path / "other" / "ledger.sqlite"
    other.parent.mkdir()
    world.write_ledger(other)
    close_at(other, len(world.events))
    (forged,) = folder_of(other).iterdir()
    archives[0].write_bytes(forged.read_bytes())
    said = broken(path)
    assert f"{archives[0].name}: expected digest" in said
    assert f"as {archives[1].name} names it" in said


def test_a_ledger_of_before_an_archive_is_not_taken_for_the_newest(chain, original, codec, tmp_path) -> None:
    """The ledger's own link counts too: an event that is missing at its beginning."""
    path, _ = chain
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DROP TRIGGER events_delete")
        connection.execute("DELETE FROM events WHERE seq = (SELECT MIN(seq) FROM events)")
    connection.close()
    assert "are numbered" in broken(path)


def test_an_altered_opening_is_found(chain) -> None:
    path, _ = chain
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DROP TRIGGER period_update")
        connection.execute("UPDATE period SET archive_digest = '0' || substr(archive_digest, 1, 63)")
    connection.close()
    assert "opens its period is not what was stored" in broken(path)


def test_each_archive_verifies_from_the_fills_on(chain) -> None:
    _, archives = chain
    assert [verify_archive(one).differences for one in archives] == [()] * 3


def test_verification_finds_a_wrong_carry(chain, monkeypatch) -> None:
    """Also in an archive whose digests are right: whoever wrote it was wrong, or lied."""
    _, archives = chain

    def change(header, blocks):
        carry = msgspec.structs.replace(header.carry, holdings=())
        return msgspec.structs.replace(header, carry=carry), blocks

    monkeypatch.setattr("arbshard.ledger.archive._Digest.hex", lambda _: "x")
    rewritten(archives[2], change)
    rewritten(
        archives[2],
        lambda header, blocks: (
            msgspec.structs.replace(header, digest="x"),
            [msgspec.structs.replace(one, digest="x") for one in blocks],
        ),
    )
    assert "what it carries over is not what its events leave open" in verify_archive(archives[2]).differences


def test_several_blocks_are_one_chain(tmp_path, close_at, monkeypatch) -> None:
    monkeypatch.setattr("arbshard.ledger.archive._BLOCK_EVENTS", 100)
    monkeypatch.setattr(archiving, "PERIOD_EVENTS", 700)
    path = tmp_path / "ledger.sqlite"
    last = history.History(5).write(path, 2_000)
    close_at(path, last - 10)
    assert list(prove(path))[-1].last_seq == last
    one = sorted(folder_of(path).iterdir())[1]
    one.chmod(0o600)
    first = ArchiveReader(one).header.first_seq

    def swap(header, blocks):
        return header, [blocks[0], blocks[2], blocks[1], *blocks[3:]]

    rewritten(one, swap)
    assert f"expected {first + 100}" in broken(path)
