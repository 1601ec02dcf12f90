"""An archive holds one closed period of the ledger in one file that is never changed.

The file is an ordinary ``.jsonl.xz``: ``xzcat`` shows it. Its first line is the header, and each further line is a
block of events (``ledger.packing``). Postings are not stored because they follow from the events and the opening
balances. The header's digest covers the header itself, which names the digest of the archive before, and the number
and text of every event; so the newest digest covers the whole history. ``archiving`` writes archives, and every
reader of the ledger may read them.
"""

import filecmp
import lzma
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path

import msgspec

from arbshard.crashpoint import reach
from arbshard.errors import LedgerDamaged, LedgerError, LedgerVersionError
from arbshard.ledger.carry import Carry
from arbshard.ledger.events import Event, decode_event, kind_of, subject_of
from arbshard.ledger.file import damaged, sync_directory
from arbshard.ledger.packing import Pack, pack, unpack
from arbshard.ledger.period import ArchiveLink, BalanceRows, table_of_balances
from arbshard.ledger.postings import Line, RunningBalances
from arbshard.ledger.reader import EVER, EventRow

_FORMAT = 1
_BLOCK_EVENTS = 10_000
_PIECE_BYTES = 1 << 16
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 4, "lp": 0, "pb": 0}]
"""Settings for text: the next bits depend on the whole byte before (``lc``), and on no alignment (``lp``, ``pb``)."""
_READ_ONLY = 0o400

_encoder = msgspec.json.Encoder(decimal_format="string")


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Is the first line of an archive: what it holds, and which archive it follows."""

    archive: int = _FORMAT
    """Version of the file's format."""
    period: int
    """Number of the period; the first is 1."""
    mode: str
    tag: str
    first_seq: int
    last_seq: int
    first_ms: int
    last_ms: int
    """Earliest and latest wall time of an event."""
    kinds: dict[str, int]
    """Number of events by kind."""
    postings: int
    previous: ArchiveLink | None
    """The archive of the period before; None for the first."""
    opening: BalanceRows
    closing: BalanceRows
    """Balances of all accounts before the first and after the last event."""
    carry: Carry
    """What is open after the last event."""
    digest: str = ""


class Block(msgspec.Struct, frozen=True):
    """Holds consecutive events."""

    first_seq: int
    last_seq: int
    digest: str
    """The digest covers the header and all events up to this link."""
    events: Pack


_header_decoder = msgspec.json.Decoder(Header)
_block_decoder = msgspec.json.Decoder(Block)


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """A period that is to be archived."""

    period: int
    mode: str
    tag: str
    previous: ArchiveLink | None
    opening: BalanceRows
    closing: BalanceRows
    postings: int
    carry: Carry


_NAME = re.compile(r"\d{6}-\d+-\d+\.jsonl\.xz")


def folder_of(ledger: Path) -> Path:
    """Return the folder in which the archives of ``ledger`` are kept."""
    return ledger.with_name(f"{ledger.stem}.archive")


def name_of(period: int, first_seq: int, last_seq: int) -> str:
    """Return the name of an archive's file."""
    return f"{period:06}-{first_seq}-{last_seq}.jsonl.xz"


def partial_of(name: str) -> str:
    """Return the name under which the archive ``name`` is written."""
    return f".{name}.partial"


class _Digest:
    """Computes the digest of an archive event by event."""

    def __init__(self, header: bytes) -> None:
        """Begin with the header's line as it was written, with an empty digest.

        A program that knows more fields than the writer would encode the same header to other bytes.
        """
        self._hash = blake2b(header, digest_size=32)

    def update(self, seq: int, body: str) -> None:
        raw = body.encode()
        self._hash.update(b"%d %d " % (seq, len(raw)))
        self._hash.update(raw)

    def hex(self) -> str:
        return self._hash.hexdigest()


def write_archive(folder: Path, closed: Closed, rows: Sequence[EventRow]) -> ArchiveLink:
    """Write ``rows`` as an archive, read it back, and give it its name. It is on the disk when this returns.

    Raises ``LedgerError`` when it cannot be written or does not read back as it was written.
    """
    header = Header(
        **{name: getattr(closed, name) for name in closed.__struct_fields__},
        first_seq=rows[0][0],
        last_seq=rows[-1][0],
        first_ms=min(row[1] for row in rows),
        last_ms=max(row[1] for row in rows),
        kinds=dict(sorted(Counter(row[2] for row in rows).items())),
    )
    digest = _Digest(_encoder.encode(header))
    blocks: list[Block] = []
    for start in range(0, len(rows), _BLOCK_EVENTS):
        piece = rows[start : start + _BLOCK_EVENTS]
        for row in piece:
            digest.update(row[0], row[5])
        blocks.append(Block(piece[0][0], piece[-1][0], digest.hex(), pack([row[5] for row in piece])))
    header = msgspec.structs.replace(header, digest=digest.hex())
    name = name_of(header.period, header.first_seq, header.last_seq)
    target, partial = folder / name, folder / partial_of(name)
    try:
        _write_durably(partial, header, blocks)
        reach("archive_written")
        _read_back(partial, header, rows)
        _set_aside(target)
        partial.rename(target)
        sync_directory(folder)
    except OSError as error:
        partial.unlink(missing_ok=True)  # a full disk needs the room
        raise LedgerError(f"{target}: cannot be written: {error.strerror}") from error
    reach("archive_in_place")
    return ArchiveLink(name, header.digest)


def _write_durably(path: Path, header: Header, blocks: Sequence[Block]) -> None:
    path.unlink(missing_ok=True)  # left by an archiver that was killed; the caller holds the folder's lock
    packer = lzma.LZMACompressor(format=lzma.FORMAT_XZ, check=lzma.CHECK_SHA256, filters=_FILTERS)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _READ_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        for line in (header, *blocks):
            file.write(packer.compress(_encoder.encode(line) + b"\n"))
        file.write(packer.flush())
        file.flush()
        os.fsync(file.fileno())


def _read_back(path: Path, header: Header, rows: Sequence[EventRow]) -> None:
    archive = ArchiveReader(path)
    if archive.header != header:
        raise LedgerError(f"{path}: its header does not read back as it was written")
    found = 0
    for row, written in zip(archive.rows(), rows, strict=True):
        if row != written:
            raise LedgerError(f"{path}: event {written[0]} does not read back as it was written")
        found += 1
    if found != len(rows):
        raise LedgerError(f"{path}: {found} events read back of {len(rows)}")


def is_name(name: str) -> bool:
    """Return whether ``name`` is one that ``name_of`` gives."""
    return _NAME.fullmatch(name) is not None


def put_in_place(copied: Path, target: Path) -> None:
    """Make the file ``copied`` the archive ``target``; another one of this name is set aside. Raises ``OSError``."""
    if target.exists() and filecmp.cmp(copied, target, shallow=False):
        copied.unlink()
        return
    copied.chmod(0o400)
    _set_aside(target)
    copied.rename(target)
    sync_directory(target.parent)


def _set_aside(target: Path) -> None:
    """Rename what an interrupted attempt left under this name. A file that may be an archive is never deleted."""
    number = 1
    aside = target
    while aside.exists():
        aside = target.with_name(f"{target.name}.unused-{number}")
        number += 1
    if aside != target:
        target.rename(aside)


class ArchiveReader:
    """Reads one archive. Everything it returns has been checked against the archive's own digest."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises ``LedgerError`` when the file cannot be read, and ``LedgerDamaged`` when it is not an archive.
        """
        self.path = path
        line = next(self._lines(), b"")
        try:
            self.header = _header_decoder.decode(line)
            self._undigested = line.replace(b'"digest":"%s"' % self.header.digest.encode(), b'"digest":""')
        except msgspec.MsgspecError as error:
            raise damaged(path, f"its header cannot be read: {error}") from error
        if self.header.archive > _FORMAT:
            raise LedgerVersionError(
                f"{path}: format {self.header.archive} was written by a newer arbshard, this one knows {_FORMAT}; "
                "use the newer program"
            )

    @property
    def link(self) -> ArchiveLink:
        """Return the link that the next archive stores to name this one."""
        return ArchiveLink(self.path.name, self.header.digest)

    def bodies(self) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of every event. Raises ``LedgerDamaged`` naming the first event that may be wrong."""
        header, digest = self.header, _Digest(self._undigested)
        expected = header.first_seq
        lines = self._lines()
        next(lines)
        for line in lines:
            try:
                block = _block_decoder.decode(line)
                texts = list(unpack(block.events))
            except (msgspec.MsgspecError, LedgerDamaged) as error:
                raise damaged(
                    self.path, f"the block from event {expected} on cannot be read: {error}"
                ) from error
            if (block.first_seq, block.last_seq) != (expected, expected + len(texts) - 1):
                raise damaged(
                    self.path,
                    f"a block of {len(texts)} events says {block.first_seq} to {block.last_seq}, expected {expected}",
                )
            for seq, text in enumerate(texts, expected):
                digest.update(seq, text)
            if block.digest != digest.hex():
                raise damaged(
                    self.path,
                    f"events {expected} to {block.last_seq}: expected digest {block.digest}, found {digest.hex()}",
                )
            yield from enumerate(texts, expected)
            expected += len(texts)
        if expected != header.last_seq + 1:
            raise damaged(self.path, f"it ends at event {expected - 1}, its header says {header.last_seq}")
        if digest.hex() != header.digest:
            raise damaged(self.path, f"expected digest {header.digest}, found {digest.hex()}")

    def rows(self, kinds: Sequence[str] = (), since_ms: int = EVER) -> Iterator[EventRow]:
        """Yield the same rows as ``LedgerReader.rows``. Raises ``LedgerDamaged`` or ``LedgerError``."""
        for row, _ in self.events(kinds, since_ms):
            yield row

    def events(self, kinds: Sequence[str] = (), since_ms: int = EVER) -> Iterator[tuple[EventRow, Event]]:
        """Yield every event with its row. Raises ``LedgerDamaged`` or ``LedgerError``."""
        header = self.header
        if header.last_ms < since_ms or (kinds and not any(kind in header.kinds for kind in kinds)):
            return
        wanted = tuple(f'{{"type":"{kind}"' for kind in kinds) or ("",)
        for seq, body in self.bodies():
            if not body.startswith(wanted):
                continue
            try:
                event = decode_event(body)
            except LedgerDamaged as error:
                raise damaged(self.path, f"event {seq}: {error}") from error
            if event.at_ms >= since_ms:
                yield (seq, event.at_ms, kind_of(event), *subject_of(event), body), event

    def lines(self) -> Iterator[tuple[int, Line]]:
        """Yield (wall time in ms, posting) of every posting, in order. They are computed from the events."""
        running = RunningBalances(self.opening_balances())
        for row, event in self.events():
            moved: dict[tuple[str, str], Decimal] = {}
            for line in running.lines(row[0], [event], moved):
                yield row[1], line
            running.table.update(moved)

    def opening_balances(self) -> dict[tuple[str, str], Decimal]:
        """Return the balances of all accounts before the first event. Raises ``LedgerDamaged``."""
        return self._table(self.header.opening)

    def closing_balances(self) -> dict[tuple[str, str], Decimal]:
        """Return the balances of all accounts after the last event. Raises ``LedgerDamaged``."""
        return self._table(self.header.closing)

    def _table(self, rows: BalanceRows) -> dict[tuple[str, str], Decimal]:
        try:
            return table_of_balances(rows)
        except ArithmeticError as error:
            raise damaged(self.path, f"its header holds a balance that is not a number: {error}") from error

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines of the file. The compressor's own checks cover every byte of it."""
        unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
        rest: list[bytes] = []
        try:
            with self.path.open("rb") as file:
                while not unpacker.eof:
                    piece = file.read(_PIECE_BYTES) if unpacker.needs_input else b""
                    if not piece and unpacker.needs_input:
                        raise damaged(self.path, "the file ends in the middle")
                    *lines, last = unpacker.decompress(piece, _PIECE_BYTES).split(b"\n")
                    for line in lines:
                        yield b"".join((*rest, line))
                        rest.clear()
                    rest.append(last)
                if unpacker.unused_data or file.read(1) or b"".join(rest):
                    raise damaged(self.path, "something follows the end of its data")
        except lzma.LZMAError as error:
            raise damaged(self.path, f"its compressed data are not what was written: {error}") from error
        except OSError as error:
            raise LedgerError(f"{self.path}: cannot be read: {error.strerror}") from error
