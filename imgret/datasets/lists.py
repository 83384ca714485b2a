"""Read the text files that training sets come with, a line at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imgret.datasets import DATASETS
from imgret.errors import InputError
from imgret.ids import escape


def need(folder: Path, format: str, *names: str) -> None:
    """InputError that says what must lie where, and where a person gets it, unless all files are there."""
    lacking = [name for name in names if not (folder / name).is_file()]
    if lacking:
        card = DATASETS[format]
        raise InputError(
            f"{escape(str(folder))} has no {' and no '.join(lacking)}, so it is no {format} set. It needs "
            f"{card.layout}. Get it from {card.where}"
        )


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, text without spaces around it) of every line that is not blank.

    UTF-8 with or without a byte order mark; bytes that are not UTF-8 are surrogate-escaped.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if text := line.strip():
                    yield number, text
    except OSError as error:
        raise InputError(f"{escape(str(path))} cannot be read: {error.strerror or error}") from error


def fields(path: Path, *columns: str, skip: int = 0) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of a table with spaces between its columns, after `skip` lines of heading.

    InputError, naming the line, when a line has not one field for each of `columns`.
    """
    for number, text in lines(path):
        if number <= skip:
            continue
        found = text.split()
        if len(found) != len(columns):
            raise InputError(
                f"{escape(str(path))}, line {number}: expected {' '.join(columns)}, got {escape(text)[:80]!r}"
            )
        yield number, found
