"""DeepFashion In-shop clothes: items to learn from, and others as queries and gallery.

Liu, Luo, Qiu, Wang, Tang, "DeepFashion" (CVPR 2016).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imgret.datasets.gather import Listed, gather
from imgret.datasets.labelled import LabelledImages
from imgret.datasets.lists import fields, need
from imgret.errors import InputError
from imgret.ids import escape

LISTS = ("list_eval_partition.txt", "Eval/list_eval_partition.txt")
SPLITS = ("train", "query", "gallery")


def read(path: Path, *, root: Path | None, check: bool) -> LabelledImages:
    """The images in the official splits "train", "query" and "gallery"; a class is an item (`item_id`).

    The listed paths begin with `img/`, which is looked for in `Img`, as unpacked, and else in the folder itself.
    InputError for a list that is missing, malformed, or names another split.
    """
    name = LISTS[1] if (path / LISTS[1]).is_file() else LISTS[0]
    need(path, "inshop", name)
    unpacked = path / "Img"
    base = root or (unpacked if (unpacked / "img").is_dir() else path)
    return gather(_rows(path / name), base, path / name, check=check)


def _rows(source: Path) -> Iterator[Listed]:
    # two lines of heading: the number of images, then the names of the columns
    for line, (name, item, split) in fields(source, "image_name", "item_id", "evaluation_status", skip=2):
        if split not in SPLITS:
            raise InputError(
                f"{escape(str(source))}, line {line}: {escape(split)!r} is none of {', '.join(SPLITS)}; "
                "is this the list of In-shop retrieval, and not of another part of DeepFashion?"
            )
        yield Listed(name, item, split, line=line)
