"""Closing a period changes nothing: state, balances, exports and verification are as without archives."""

import errno
import io
import lzma
import shutil
import sqlite3
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbshard.cli.trades import closed_positions
from arbshard.errors import LedgerDamaged, LedgerError, LedgerVersionError
from arbshard.ledger import archiving
from arbshard.ledger.archive import ArchiveReader, folder_of
from arbshard.ledger.archiving import close_period, cut_before, take_cut
from arbshard.ledger.export import COLUMNS, rows_of, write_rows
from arbshard.ledger.history import LedgerHistory
from arbshard.ledger.info import look_into
from arbshard.ledger.prove import prove
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.replay import recover, replay
from arbshard.ledger.store import LedgerStore
from arbshard.ledger.verify import verify, verify_archive
from arbshard.risk.core import RiskCore, mode_of
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.wire.messages import Halt, SetLimits
from support import history, live_chaos
from support import paper_chaos as chaos
from support import world as w
from support.effort import effort

splits = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=3)


def exported(path) -> dict[str, str]:
    """Everything that can be exported, as text."""
    texts = {}
    with LedgerHistory(path) as history:
        for what, columns in COLUMNS.items():
            target = io.StringIO()
            write_rows(target, columns, rows_of(history, what), "jsonl")
            texts[what] = target.getvalue()
    return texts


def recovered(path, mode: str) -> tuple[str, dict]:
    """Hash of the state, and all balances, as a start of risk finds them."""
    store = LedgerStore.open(path, name="sim", mode=mode, now_ms=1)
    try:
        state = recover(store, PortfolioCodec()).state
        return state.state_hash(), {key: value for key, value in store.balances.items() if value}
    finally:
        store.abandon()


def check_split(world, folder, parts, codec, close_at) -> None:
    """Archive the world's ledger at ``parts`` of its length, one after the other; nothing else may change."""
    mode = mode_of(world.config)
    whole, split = folder / "whole.sqlite", folder / "split.sqlite"
    world.write_ledger(whole)
    shutil.copy(whole, split)
    for part in sorted(parts):
        close_at(split, max(1, round(part * len(world.events))), mode)
    assert recovered(split, mode) == recovered(whole, mode)
    assert recovered(whole, mode)[0] == world.state.state_hash()
    assert exported(split) == exported(whole)
    assert closed_positions(split, "", 50) == closed_positions(whole, "", 50)
    one, other = look_into(split), look_into(whole)
    assert (one.events, one.postings, one.kinds) == (other.events, other.postings, other.kinds)
    assert (one.sessions, one.newest, one.last_stop) == (other.sessions, other.newest, other.last_stop)
    with LedgerHistory(split) as history:
        archives = [archive.path for archive in history.archives()]
        from_the_beginning = PortfolioState()
        replay(((row[0], history.decode(row[0], row[5])) for row in history.rows()), from_the_beginning)
    assert from_the_beginning.state_hash() == world.state.state_hash()
    reports = [verify_archive(path) for path in archives] + [verify(split, codec)]
    assert [one.differences for one in reports] == [()] * len(reports)
    unsplit = verify(whole, codec)
    for figure in ("events", "postings", "deposits", "fills", "intents", "positions", "closed", "pnl"):
        assert sum(getattr(one, figure) for one in reports) == getattr(unsplit, figure), figure
    links = list(prove(split))
    assert [link.name for link in links] == [*(path.name for path in archives), "split.sqlite"]
    assert links[-1].last_seq == len(world.events)


@settings(max_examples=effort(15, 150), deadline=None)
@given(st.data(), splits)
def test_any_paper_ledger_split_anywhere_is_the_same_ledger(
    codec, close_at, tmp_path_factory, data, parts
) -> None:
    desk = chaos.Chaos(w.World())
    for step in data.draw(chaos.steps):
        desk.do(*step)
    check_split(desk.world, tmp_path_factory.mktemp("ledger"), parts, codec, close_at)


@settings(max_examples=effort(15, 75), deadline=None)
@given(st.integers(0, 10**6), splits)
def test_any_live_ledger_split_anywhere_is_the_same_ledger(
    codec, close_at, tmp_path_factory, seed, parts
) -> None:
    desk = live_chaos.Chaos()
    desk.run(seed)
    check_split(desk.world, tmp_path_factory.mktemp("ledger"), parts, codec, close_at)


def test_trading_goes_on_over_an_archive(tmp_path, codec, close_at, opened) -> None:
    """Open positions, an intent under way, a halt and changed limits are carried over and can be ended."""
    world = w.World()
    world.round_trip()
    held = world.open_position("ETH")
    under_way = world.exit_of(held)
    world.submit(under_way)
    world.tell(SetLimits((("max_open_positions", "7"),)))
    world.tell(Halt("a test", False))
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    cut = close_at(path, len(world.events))
    store = opened(path)
    found = recover(store, codec)
    assert (store.last_seq, store.archived_seq, found.replayed) == (cut, cut, 0)
    assert found.state.state_hash() == world.state.state_hash()
    world.core, before = RiskCore(world.config, world.universe, found.state), len(world.events)
    world.report(under_way, w.filled(under_way.home), w.filled(under_way.away))
    world.conclude(under_way, done=True)
    world.stop()
    store.append(world.events[before:])
    store.close()
    assert not found.state.positions
    report = verify(path, codec)
    assert report.differences == ()
    assert (report.closed, report.positions) == (1, 0)
    newest, oldest = closed_positions(path, "", 9)
    assert (newest.position_id, oldest.pair) == (held.position_id, "BTC")
    assert closed_positions(path, "BTC", 9)[0].pair == "BTC"
    assert len(list(prove(path))) == 2


def test_a_long_period_becomes_several_archives(tmp_path, close_at, monkeypatch) -> None:
    monkeypatch.setattr(archiving, "PERIOD_EVENTS", 1_000)
    path = tmp_path / "ledger.sqlite"
    last = history.History(20).write(path, 4_700, positions=8, intents=4)
    before = exported(path)
    close_at(path, last)
    links = list(prove(path))
    assert len(links) == 6
    assert all(499 <= link.last_seq - link.first_seq < 1_600 for link in links[:-1])
    assert exported(path) == before


def test_the_live_file_holds_only_its_period(tmp_path, close_at) -> None:
    path = tmp_path / "ledger.sqlite"
    last = history.History(5).write(path, 5_000)
    size = path.stat().st_size
    close_at(path, last - 500)
    assert path.stat().st_size < size / 3
    with LedgerReader(path) as reader:
        assert reader.first_seq - 1 + len(list(reader.rows())) == last
    assert path.stat().st_mode & 0o777 == 0o600
    (archive,) = folder_of(path).iterdir()
    assert archive.stat().st_mode & 0o777 == 0o400
    assert folder_of(path).stat().st_mode & 0o777 == 0o700


def test_a_ledger_that_does_not_verify_is_not_archived(tmp_path, codec) -> None:
    world = w.World()
    world.round_trip()
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DROP TRIGGER postings_update")
        connection.execute("UPDATE postings SET amount = '-1' WHERE seq = 8 AND line = 1")
    connection.close()
    before = path.read_bytes()
    with (
        LedgerReader(path) as reader,
        pytest.raises(LedgerDamaged, match="is not archived, for it does not verify"),
    ):
        close_period(reader, take_cut(reader, codec, reader.last_seq))
    assert path.read_bytes() == before
    assert list(folder_of(path).iterdir()) == []
    assert not path.with_name("ledger.sqlite.next").exists()


def test_a_cut_falls_before_a_date_and_never_into_a_conclusion(tmp_path, codec) -> None:
    world = w.World()
    world.round_trip()
    first_day = len(world.events)
    world.now_ms += 86_400_000
    world.round_trip()
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    kinds = [type(event).__name__ for event in world.events]
    statement = kinds.index("PositionOpened") + 1
    with LedgerReader(path) as reader:
        assert cut_before(reader, world.now_ms - 3_600_000) == first_day
        assert cut_before(reader, None) == len(world.events)
        assert cut_before(reader, world.events[0].at_ms) is None
        with pytest.raises(LedgerError, match="cannot end at event"):
            close_period(reader, take_cut(reader, codec, statement - 1))


def test_what_an_interrupted_attempt_left_is_set_aside_and_never_deleted(tmp_path, codec, close_at) -> None:
    world = w.World()
    world.round_trip()
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    with LedgerReader(path) as reader:
        close_period(reader, take_cut(reader, codec, reader.last_seq))
    (left,) = folder_of(path).iterdir()
    content = left.read_bytes()
    close_at(path, len(world.events))
    assert left.with_name(f"{left.name}.unused-1").read_bytes() == content
    assert len(list(prove(path))) == 2


def test_what_was_cut_off_is_removed_and_a_failed_attempt_leaves_nothing(
    tmp_path, codec, close_at, monkeypatch
) -> None:
    world = w.World()
    world.round_trip()
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    folder_of(path).mkdir()
    (folder_of(path) / ".000001-1-7.jsonl.xz.partial").write_bytes(b"half an archive")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("arbshard.ledger.archive.os.fsync", full)
        with pytest.raises(LedgerError, match="cannot be written: No space left on device"):
            close_at(path, len(world.events))
    assert list(folder_of(path).iterdir()) == []
    with monkeypatch.context() as patched:
        patched.setattr("arbshard.ledger.successor._sync", full)
        with pytest.raises(LedgerError, match="cannot be written: No space left on device"):
            close_at(path, len(world.events))
    assert not path.with_name("ledger.sqlite.next").exists()
    close_at(path, len(world.events))
    assert verify(path, codec).differences == ()


def test_the_journal_of_an_interrupted_attempt_is_not_played_back(tmp_path, codec, close_at) -> None:
    """SQLite takes a journal for that of the file of its name, whoever left it."""
    world = w.World()
    world.round_trip()
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    left = path.with_name("ledger.sqlite.next")
    connection = sqlite3.connect(left, isolation_level=None)
    connection.execute("CREATE TABLE birds (name TEXT)")
    connection.execute("PRAGMA cache_spill = 1")
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO birds VALUES (?)", [("x" * 500,)] * 200)
    journal = path.with_name("ledger.sqlite.next-journal")
    kept = journal.read_bytes()
    assert kept.strip(b"\0")
    connection.close()
    journal.write_bytes(kept)
    close_at(path, len(world.events))
    assert not journal.exists()
    assert verify(path, codec).differences == ()


def test_a_state_that_is_not_what_was_stored_is_refused(tmp_path, codec, close_at, opened) -> None:
    world = w.World()
    world.open_position()
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    close_at(path, len(world.events))
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("UPDATE period SET body = 'x'")
    with connection:
        connection.execute("DROP TRIGGER period_update")
        connection.execute("UPDATE period SET balances = replace(balances, '1', '2')")
    connection.close()
    with pytest.raises(LedgerDamaged, match="opens its period is not what was stored"):
        recover(opened(path), codec)


def test_archiving_makes_a_ledger_one_of_the_newest_schema(tmp_path, close_at, opened, monkeypatch) -> None:
    world = w.World()
    world.round_trip()
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    tag = look_into(path).tag
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE meta SET value = '3' WHERE key = 'schema'")
    connection.close()
    close_at(path, len(world.events))
    info = look_into(path)
    assert (info.schema, info.tag, info.name) == (5, tag, "sim")
    monkeypatch.setattr("arbshard.ledger.file.SCHEMA_VERSION", 3)
    with pytest.raises(LedgerVersionError, match="schema 5 was written by a newer arbshard"):
        opened(path)


def test_an_archives_name_says_what_is_in_it(tmp_path, close_at) -> None:
    world = w.World()
    world.round_trip()
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    last = close_at(path, len(world.events))
    (found,) = folder_of(path).iterdir()
    assert found.name == f"000001-1-{last}.jsonl.xz"
    assert ArchiveReader(found).header.kinds["PositionClosed"] == 1


def test_an_archive_of_a_program_with_other_fields_reads_back(tmp_path, close_at) -> None:
    """Fields that were added or removed since it was written change nothing of what its digest covers."""
    world = w.World()
    world.round_trip()
    path = tmp_path / "ledger.sqlite"
    world.write_ledger(path)
    close_at(path, len(world.events))
    (found,) = folder_of(path).iterdir()
    reader = ArchiveReader(found)
    bodies, digest = list(reader.bodies()), reader.header.digest.encode()
    header, block = lzma.decompress(found.read_bytes()).splitlines()
    header = header.replace(b'{"archive":1', b'{"archive":1,"of_another_program":[0]', 1)
    covered = blake2b(header.replace(digest, b""), digest_size=32)
    for seq, body in bodies:
        covered.update(b"%d %d %s" % (seq, len(body.encode()), body.encode()))
    digests = digest, covered.hexdigest().encode()
    other = tmp_path / found.name
    other.write_bytes(lzma.compress(b"".join(line.replace(*digests) + b"\n" for line in (header, block))))
    assert list(ArchiveReader(other).bodies()) == bodies
    changed = header.replace(b"[0]", b"[1]").replace(*digests)
    other.write_bytes(lzma.compress(changed + b"\n" + block.replace(*digests) + b"\n"))
    with pytest.raises(LedgerDamaged, match="expected digest"):
        list(ArchiveReader(other).bodies())
