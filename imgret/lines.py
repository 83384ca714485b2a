"""Text files of other tools, a line at a time: byte order marks, CRLF line ends, names that are not UTF-8.

Nothing here knows what a file is for: the caller says which kind of error a malformed line is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imgret.errors import ImgretError
from imgret.ids import escape, from_bytes

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_bytes(path: Path, error: type[ImgretError]) -> bytes:
    """The content of a file; `error` when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as problem:
        raise error(f"{escape(str(path))} cannot be read: {problem.strerror or problem}") from problem


def at(path: Path, line: int) -> str:
    """A place in words: ``gnd.txt, line 3``."""
    return f"{escape(str(path))}, line {line}"


def lines(content: bytes) -> Iterator[tuple[int, str]]:
    """(line number from 1, text without blanks around it) of every line that is not blank."""
    # bytes.strip knows the blanks of ASCII only: a name may well end in another of Unicode's
    for number, line in enumerate(content.removeprefix(BYTE_ORDER_MARK).split(b"\n"), 1):
        if text := line.strip():
            yield number, from_bytes(text)


def words(line: str) -> list[str]:
    """What stands between the blanks of a line; a name may hold blanks that are not of ASCII."""
    return [from_bytes(word) for word in line.encode("utf-8", "surrogateescape").split()]


def cells(line: str) -> list[str]:
    """What stands between the commas of a line, without blanks and quotes around it: for ids, not for free text."""
    return [cell.strip(' \t"') for cell in line.split(",")]


def fields(
    path: Path, content: bytes, columns: str, error: type[ImgretError], *, skip: int = 0
) -> Iterator[tuple[int, list[str]]]:
    """(line number, one word for each of `columns`) of a table with blanks between its columns.

    The first `skip` lines are its heading. `error`, naming the line, for a line of another number of words.
    """
    expected = len(columns.split())
    for number, text in lines(content):
        if number <= skip:
            continue
        found = words(text)
        if len(found) != expected:
            raise error(f"{at(path, number)}: expected {columns}, got {escape(text)[:80]!r}")
        yield number, found


def table(
    path: Path,
    content: bytes,
    columns: tuple[str, ...],
    error: type[ImgretError],
    *,
    optional: tuple[str, ...] = (),
    headless: bool = False,
) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of a CSV file of ids, in order of `columns` and then `optional`; other columns are ignored.

    The first line names the columns, in any order and case; an optional one that it lacks is "" everywhere. In
    a `headless` table that line may be left out. `error` for a column that is not there, and for a line of
    another number of cells, naming it. Not the csv module, which refuses fields beyond 131,072 characters.
    """
    header: list[str] = []
    for number, text in lines(content):
        found = cells(text)
        if not header:
            header = [name.lower() for name in found]
            names_them = not headless or set(header) & set(columns)
            header = header if names_them else [*columns, *optional][: len(found)]
            if len(set(header)) < len(header):
                raise error(f"{escape(str(path))} names a column twice: {escape(text)[:80]}")
            lacking = [name for name in columns if name not in header]
            if lacking:
                raise error(
                    f"{escape(str(path))} has no column {' and no column '.join(lacking)}; its first line is "
                    f"{escape(text)[:80]!r}"
                )
            if names_them:
                continue
        if len(found) != len(header):
            raise error(f"{at(path, number)}: expected {','.join(header)}, got {escape(text)[:80]!r}")
        cell_of = dict(zip(header, found, strict=True))
        yield number, [cell_of.get(name, "") for name in (*columns, *optional)]


class Once:
    """Refuses what a file may name only once."""

    def __init__(self, path: Path, error: type[ImgretError]) -> None:
        self._path = path
        self._error = error
        self._line_of: dict[str, int] = {}

    def add(self, line: int, name: str) -> None:
        """The error, with both lines, when `name` was added before."""
        other = self._line_of.setdefault(name, line)
        if other != line:
            raise self._error(f"{at(self._path, line)}: {escape(name)} stands on line {other} already")
