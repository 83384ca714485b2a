"""DeepFashion In-shop clothes: items to learn from, and others as queries and gallery.

Liu, Luo, Qiu, Wang, Tang, "DeepFashion" (CVPR 2016).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imgret.datasets.gather import Listed, gather
from imgret.datasets.labelled import LabelledImages
from imgret.datasets.lists import need
from imgret.errors import InputError
from imgret.ground_truth.inshop import LISTS, items
from imgret.lines import read_bytes


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
    for line, image, item, split in items(source, read_bytes(source, InputError), InputError):
        yield Listed(image, item, split, line=line)
