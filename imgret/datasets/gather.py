"""From the rows of a list to LabelledImages: ids, classes in order, nothing twice, and what is on the disk."""

from __future__ import annotations

import os
import posixpath
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imgret.datasets.labelled import LabelledImages
from imgret.errors import InputError
from imgret.ids import escape
from imgret.images.files import Box, ImageFile

_LOOKED_AT = 16  # images looked for when nobody asked to check all


class Listed(NamedTuple):
    """One row of a list: `name` is a path below the root, an empty label or split is none, `line` is 1-based."""

    name: str
    label: str = ""
    split: str = ""
    box: Box | None = None
    line: int = 0


def gather(rows: Iterable[Listed], root: Path, source: Path, *, check: bool) -> LabelledImages:
    """The images that the rows of `source` name, in that order.

    An id is the path relative to `root`, with its box (`path#x1,y1,x2,y2`) where it has one. InputError when
    there are no rows, an id occurs twice, every image looked for is missing, or with `check` any image is.
    """
    base = os.path.abspath(root)
    images: list[ImageFile] = []
    code_of: dict[str, int] = {}
    split_of: dict[str, int] = {}
    codes, splits, lines = array("q"), array("q"), array("q")
    for name, label, split, box, line in rows:
        images.append(listed_image(name, base, box))
        label = label.strip()
        codes.append(code_of.setdefault(label, len(code_of)) if label else -1)
        splits.append(split_of.setdefault(split, len(split_of)))
        lines.append(line)
    if not images:
        raise InputError(f"{escape(str(source))} lists no images")
    refuse_repeats(images, source, lines)
    classes = sorted(code_of)
    row_of = np.full(len(classes) + 1, -1, np.int64)  # the last entry is for -1, which is no class
    row_of[[code_of[name] for name in classes]] = np.arange(len(classes))
    return LabelledImages(
        images=look_for(images, source, check=check),
        labels=row_of[np.frombuffer(codes, np.int64)],
        classes=tuple(classes),
        splits=np.array(list(split_of))[np.frombuffer(splits, np.int64)] if any(split_of) else None,
    )


def listed_image(name: str, base: str, box: Box | None = None) -> ImageFile:
    """An image by its path relative to `base` (or absolute), not looked for: its `bytes` are 0."""
    if name.startswith("/") or "./" in name or "//" in name:
        name = posixpath.relpath(posixpath.join(base, name), base)
    image_id = name if box is None else f"{name}#{box[0]},{box[1]},{box[2]},{box[3]}"
    # joined by hand: os.path.join takes longer than all the rest, and there are millions
    return ImageFile(image_id, f"{base}/{name}", base, 0, 0, box)


def refuse_repeats(images: Sequence[ImageFile], source: Path, lines: Sequence[int]) -> None:
    """InputError for an id that occurs twice, with both lines where they are known."""
    if len({image.id for image in images}) == len(images):
        return
    first: dict[str, int] = {}
    for row, image in enumerate(images):
        other = first.setdefault(image.id, row)
        if other != row:
            where = f", on lines {lines[other]} and {lines[row]}" if lines[row] else ""
            raise InputError(
                f"{escape(str(source))} lists {escape(image.id)} twice{where}; an image has one label, so delete one"
            )


def look_for(images: Sequence[ImageFile], source: Path, *, check: bool) -> tuple[ImageFile, ...]:
    """The images, looked for on the disk: each one with `check`, else a few from all over the list.

    With `check` their size and time are filled in, and any that is missing is an InputError. Without it only
    a root below which nothing is found is one: a handful of missing files shows when they are read.
    """
    step = 1 if check else max(1, len(images) // _LOOKED_AT)
    looked = [_stat(image) for image in images[::step]]
    missing = [image for image in looked if image.missing]
    if missing and (check or len(missing) == len(looked)):
        few = "" if step == 1 else f" looked for, of {len(images)},"
        raise InputError(
            f"{len(missing)} of {len(looked)} images{few} listed in {escape(str(source))} are missing, the first is "
            f"{escape(missing[0].path)}; name the folder that the listed paths are relative to as root, "
            "or fetch what is missing"
        )
    return tuple(looked) if check else tuple(images)


def _stat(image: ImageFile) -> ImageFile:
    try:
        status = os.stat(image.path)
    except (OSError, ValueError):  # ValueError: a name with a NUL
        return replace(image, bytes=-1)
    return replace(image, bytes=status.st_size, mtime_ns=status.st_mtime_ns)
