"""A CSV file with the columns `path` and `label`, and optionally `split` and `x1,y1,x2,y2`.

Other columns are ignored. Paths are relative to the CSV's folder or to `root`; an empty label is none. The box
is in pixels of the upright image, zero-based, right and bottom exclusive; a row has all four edges or none.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from imgret.datasets.gather import Listed, gather
from imgret.datasets.labelled import LabelledImages
from imgret.errors import InputError
from imgret.ids import escape
from imgret.images.files import Box
from imgret.tables import did_you_mean

if TYPE_CHECKING:
    from _csv import Reader

IN_A_FOLDER = "labels.csv"
_CORNERS = ("x1", "y1", "x2", "y2")


def read(path: Path, *, root: Path | None, check: bool) -> LabelledImages:
    """The images of a CSV file, or of the labels.csv in a folder, in order of its lines.

    InputError for a missing column, a malformed line, a path listed twice (two boxes of one image are two
    images) or a box that is empty or begins outside the image; each names its line.
    """
    source = path / IN_A_FOLDER if path.is_dir() else path
    return gather(rows(source), root or source.parent, source, check=check)


def rows(source: Path) -> Iterator[Listed]:
    """The lines of a CSV file; InputError as for `read`."""
    try:
        with open(source, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            table = csv.reader(file, strict=True)
            try:
                yield from _parsed(table, source)
            except csv.Error as error:
                raise InputError(f"{escape(str(source))}, line {table.line_num}: not a CSV line ({error})") from error
    except OSError as error:
        raise InputError(f"{escape(str(source))} cannot be read: {error.strerror or error}") from error


def _parsed(table: Reader, source: Path) -> Iterator[Listed]:
    header = [name.strip().lower() for name in next(table, [])]
    for name in ("path", "label"):
        if name not in header:
            raise InputError(
                f"{escape(str(source))} has no column {name}{did_you_mean(name, header)}; its first line must be "
                "path,label[,split][,x1,y1,x2,y2]"
            )
    corners = [header.index(name) for name in _CORNERS if name in header]
    if len(corners) not in (0, 4):
        raise InputError(f"{escape(str(source))} has some of the columns x1,y1,x2,y2; a box needs all four")
    at_path, at_label = header.index("path"), header.index("label")
    at_split = header.index("split") if "split" in header else -1
    for row in table:
        if not row:
            continue
        if len(row) != len(header) or not row[at_path]:
            what = "the path is empty" if len(row) == len(header) else f"{len(row)} fields for {len(header)} columns"
            raise InputError(f"{escape(str(source))}, line {table.line_num}: {what}")
        box = _box([row[at] for at in corners], source, table.line_num)
        split = row[at_split].strip().lower() if at_split >= 0 else ""
        yield Listed(row[at_path], row[at_label], split, box, table.line_num)


def _box(given: list[str], source: Path, line: int) -> Box | None:
    """Edges as `imgret extract --list` reads them: rounded to whole pixels, and in order."""
    if not any(text.strip() for text in given):
        return None
    where = f"{escape(str(source))}, line {line}"
    try:
        x1, y1, x2, y2 = (round(float(text)) for text in given)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: x1,y1,x2,y2 must be four numbers, got {','.join(given)[:80]!r}") from None
    if not (0 <= x1 < x2 < 2**31 and 0 <= y1 < y2 < 2**31):
        raise InputError(
            f"{where}: the box {x1},{y1},{x2},{y2} is empty or begins outside the image; it must be x1,y1,x2,y2 "
            "with 0 <= x1 < x2 and 0 <= y1 < y2, right and bottom exclusive"
        )
    return x1, y1, x2, y2
