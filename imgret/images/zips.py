"""The directory of a zip archive, read as a stream, and its members unpacked in memory.

The standard library's reader makes an object for every member before it gives the first, which takes a gigabyte for
a million, and wants that directory again in every worker. APPNOTE.TXT 6.3.10 describes the format; Zip64 is read.
"""

from __future__ import annotations

import calendar
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from imgret.images.image_file import Packed

LOCAL_HEADER = 30
"""Bytes at least before a member's data: the local header, then the name and extra field."""

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_BIG = 0xFFFFFFFF
_UTF8, _ENCRYPTED = 0x800, 0x1
STORED, DEFLATED = 0, 8


class BadZipError(Exception):
    """An archive or member that is not what its format says."""


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of the directory; `header` is where its local header begins in the archive."""

    name: str
    is_file: bool
    bytes: int
    mtime_ns: int
    header: int
    packed: Packed


def members(file: IO[bytes]) -> Iterator[Member]:
    """The entries of a zip's central directory, in its order. BadZipError where it has none."""
    start, size, shift = _directory(file)
    file.seek(start)
    read = 0
    while read < size:
        head = file.read(_ENTRY.size)
        if len(head) < _ENTRY.size or not head.startswith(b"PK\1\2"):
            raise BadZipError("its directory is damaged")
        entry = _ENTRY.unpack(head)
        lengths = entry[10:13]
        rest = file.read(sum(lengths))
        read += len(head) + len(rest)
        yield _member(entry, rest, lengths, shift)


def _directory(file: IO[bytes]) -> tuple[int, int, int]:
    """Where the central directory begins, its size, and how far the archive is from where it was written."""
    length = file.seek(0, 2)
    tail_at = max(0, length - _END.size - 0xFFFF - _LOCATOR.size - _END_64.size)
    file.seek(tail_at)
    tail = file.read()
    at = _end(tail)
    _, disk, _, _, count, size, offset, _ = _END.unpack_from(tail, at)
    end = tail_at + at
    locator = at - _LOCATOR.size
    if locator >= _END_64.size and tail.startswith(b"PK\6\7", locator):
        at = locator - _END_64.size
        if not tail.startswith(b"PK\6\6", at):
            raise BadZipError("its Zip64 directory is damaged")
        _, _, _, _, disk, _, _, count, size, offset = _END_64.unpack_from(tail, at)
        end = tail_at + at
    if disk:
        raise BadZipError("it is one of several volumes")
    shift = end - size - offset  # something was put before the archive, such as a program that unpacks it
    if shift < 0 or (count and not size):
        raise BadZipError("its directory is damaged")
    return offset + shift, size, shift


def _end(tail: bytes) -> int:
    """Where the end record begins: the last whose comment reaches to the end of the file, else the last."""
    last = at = tail.rfind(b"PK\5\6", 0, max(0, len(tail) - _END.size + 4))
    while at >= 0:
        if at + _END.size + int.from_bytes(tail[at + 20 : at + 22], "little") == len(tail):
            return at
        at = tail.rfind(b"PK\5\6", 0, at)
    if last < 0:
        raise BadZipError("it has no directory at its end")
    return last


def _member(entry: tuple[int, ...], rest: bytes, lengths: tuple[int, ...], shift: int) -> Member:
    _, made_by, _, flags, method, time, date, crc, packed, size = entry[:10]
    attributes, header = entry[-2:]
    raw, extra = rest[: lengths[0]], rest[lengths[0] : lengths[0] + lengths[1]]
    if _BIG in (packed, size, header):
        size, packed, header = _big(extra, size, packed, header)
    kind = stat.S_IFMT(attributes >> 16) if made_by >> 8 == 3 else 0  # 3 is Unix: links and devices are marked
    return Member(
        name=_name(raw, bool(flags & _UTF8)).lstrip("/").removeprefix("./"),
        is_file=not raw.endswith(b"/") and kind in (0, stat.S_IFREG),
        bytes=size,
        # Members often carry a fixed time. The checksum, as its fraction of a second, still tells a change.
        mtime_ns=_seconds(date, time) * 10**9 + crc % 10**9,
        header=header + shift,
        packed=Packed(method, packed, crc, bool(flags & _ENCRYPTED)),
    )


def _big(extra: bytes, *values: int) -> list[int]:
    """The true sizes and offset, of which those that do not fit in 32 bits stand in the Zip64 field."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        if tag == 1:
            field = extra[at + 4 : at + 4 + length]
            numbers = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
            try:
                return [next(numbers) if value == _BIG else value for value in values]
            except StopIteration:
                break
        at += 4 + length
    raise BadZipError("its directory is damaged")


def _name(raw: bytes, marked: bool) -> str:
    """A name is UTF-8, marked or not; one that cannot be is in the code page of the first PCs, as the format says."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("utf-8", "surrogateescape") if marked else raw.decode("cp437")


def _seconds(date: int, time: int) -> int:
    """Local time of whoever packed it, taken as UTC so that it is the same everywhere; 0 for none."""
    moment = (1980 + (date >> 9), date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, (time & 31) * 2)
    return calendar.timegm(moment) if 1 <= moment[1] <= 12 else 0


def data_offset(local_header: bytes) -> int:
    """How far after the beginning of a local header a member's data begin; BadZipError when it is none."""
    if len(local_header) < LOCAL_HEADER or not local_header.startswith(b"PK\3\4"):
        raise BadZipError("the archive is damaged: no member begins where its directory says")
    *_, name, extra = _LOCAL.unpack_from(local_header)
    return LOCAL_HEADER + int(name) + int(extra)


def unpack(data: bytes, packed: Packed, size: int) -> bytes:
    """A member's bytes from those in the archive. EOFError when they are too few, BadZipError when damaged."""
    if len(data) < packed.bytes:
        raise EOFError("the archive ends inside this member")
    if packed.method == DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflater.decompress(data, size + 1)  # never more than promised
        except zlib.error as error:
            raise BadZipError(f"the member is damaged inside its archive ({error})") from error
    if len(data) != size or zlib.crc32(data) != packed.crc:
        raise BadZipError("the member is damaged inside its archive: its checksum is another")
    return data
