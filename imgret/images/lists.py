"""Lists of images, read as a stream: a path a line, paths ended by NUL, or CSV with a `path` column."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from typing import IO, NamedTuple

from imgret.errors import InputError
from imgret.images.image_file import Box

_BLOCK = 1 << 20  # bytes; a path is never so long
_BOM = b"\xef\xbb\xbf"
_CORNERS = ("x1", "y1", "x2", "y2")


class Listed(NamedTuple):
    """One entry of a list: a path or URL as written, its own id and its box where the list gives them."""

    path: str
    id: str | None = None
    box: Box | None = None


def entries(file: IO[bytes], what: str) -> Iterator[Listed]:
    """The entries of a list, in order; `what` names it in an InputError. The file is never held as a whole."""
    head = file.read(_BLOCK).removeprefix(_BOM)
    first = head.split(b"\n", 1)[0].strip().lower()
    if b"path" in [column.strip(b' "') for column in first.split(b",")]:
        yield from _table(head, file, what)
        return
    separator = b"\0" if b"\0" in head else b"\n"
    for number, line in enumerate(_lines(head, file, separator, what), 1):
        if separator == b"\n":
            line = line.removesuffix(b"\r")
            _refuse_nul(b"\0" in line, f"{what}, line {number}")
        if line:
            yield Listed(os.fsdecode(line))


def _refuse_nul(holds: bool, where: str) -> None:
    if holds:
        raise InputError(f"{where}: a NUL byte is part of no path")


def _lines(head: bytes, file: IO[bytes], separator: bytes, what: str) -> Iterator[bytes]:
    rest, block = b"", head
    while block:
        *whole, rest = (rest + block).split(separator)
        yield from whole
        if len(rest) > _BLOCK:
            raise InputError(f"{what} is no list: a line of it has more than {_BLOCK:,} bytes")
        block = file.read(_BLOCK)
    if rest:
        yield rest


class _Rejoined(io.RawIOBase):
    """A file from its beginning again, after its head was read from it: a pipe cannot go back."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._head, self._file = head, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self._head[: len(buffer)] or self._file.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(block)] = block
        return len(block)


def _table(head: bytes, file: IO[bytes], what: str) -> Iterator[Listed]:
    stream = io.BufferedReader(_Rejoined(head, file), _BLOCK)
    with io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="") as text:
        table = csv.DictReader(text, skipinitialspace=True)
        try:
            for row in table:
                yield _entry(row, f"{what}, line {table.line_num}")
        except csv.Error as error:
            raise InputError(f"{what}, line {table.line_num}: {error}") from error


def _entry(row: dict[str, str], where: str) -> Listed:
    if not row.get("path"):
        raise InputError(f"{where}: the path is empty")
    _refuse_nul("\0" in row["path"] or "\0" in (row.get("id") or ""), where)
    given = [row.get(corner) or None for corner in _CORNERS]
    try:
        numbers = [round(float(value)) for value in given if value is not None]
    except (ValueError, OverflowError):
        raise InputError(f"{where}: x1,y1,x2,y2 must be numbers, got {given}") from None
    if len(numbers) not in (0, 4):
        raise InputError(f"{where}: give all of x1,y1,x2,y2 or none")
    if numbers and not (0 <= numbers[0] < numbers[2] < 2**31 and 0 <= numbers[1] < numbers[3] < 2**31):
        raise InputError(f"{where}: the box {numbers} is empty or begins outside the image")
    box = (numbers[0], numbers[1], numbers[2], numbers[3]) if numbers else None
    return Listed(row["path"], row.get("id") or None, box)
