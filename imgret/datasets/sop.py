"""Stanford Online Products: some products to learn from and others to test on, as two lists.

Song, Xiang, Jegelka, Savarese, "Deep Metric Learning via Lifted Structured Feature Embedding" (arXiv:1511.06452).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imgret.datasets.gather import Listed, gather
from imgret.datasets.labelled import LabelledImages
from imgret.datasets.lists import need
from imgret.errors import InputError
from imgret.ground_truth.sop import products
from imgret.lines import read_bytes

LISTS = {"train": "Ebay_train.txt", "test": "Ebay_test.txt"}


def read(path: Path, *, root: Path | None, check: bool) -> LabelledImages:
    """The images of both lists, in the official splits "train" and "test"; a class is a product (`class_id`).

    InputError for a list that is missing or malformed.
    """
    need(path, "sop", *LISTS.values())
    return gather(_rows(path), root or path, path, check=check)


def _rows(folder: Path) -> Iterator[Listed]:
    for split, name in LISTS.items():
        source = folder / name
        for _, image, product in products(source, read_bytes(source, InputError), InputError):
            yield Listed(image, product, split)
