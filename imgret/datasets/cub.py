"""CUB-200-2011: birds; the first 100 species to learn from, the other 100 to test on.

Wah, Branson, Welinder, Perona, Belongie, "The Caltech-UCSD Birds-200-2011 Dataset" (CNS-TR-2011-001). The split
by species is that of metric learning, not the split of every species in the set's train_test_split.txt.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imgret.datasets.gather import Listed, gather
from imgret.datasets.labelled import LabelledImages
from imgret.datasets.lists import fields, need
from imgret.errors import InputError
from imgret.ids import escape

LAST_TO_LEARN = 100
_IMAGES, _CLASS_OF, _CLASSES = "images.txt", "image_class_labels.txt", "classes.txt"


def read(path: Path, *, root: Path | None, check: bool) -> LabelledImages:
    """The images in order of images.txt, whole: the bounding boxes are not used, as in metric learning.

    Paths are relative to the folder `images`. Splits: "train" for classes 1 to 100, "test" for the others.
    InputError for a list that is missing or malformed, or an image without a class.
    """
    need(path, "cub", _IMAGES, _CLASS_OF, _CLASSES)
    return gather(_rows(path), root or path / "images", path / _IMAGES, check=check)


def _rows(folder: Path) -> Iterator[Listed]:
    names = {found[0]: found[1] for _, found in fields(folder / _CLASSES, "class_id", "class_name")}
    class_of = {found[0]: found[1] for _, found in fields(folder / _CLASS_OF, "image_id", "class_id")}
    for line, (image, name) in fields(folder / _IMAGES, "image_id", "image_name"):
        number = class_of.get(image, "")
        if number not in names or not number.isdecimal():
            raise InputError(
                f"{escape(str(folder / _IMAGES))}, line {line}: image {escape(image)} has no class in {_CLASS_OF} "
                f"and {_CLASSES}; the three files are not of one set"
            )
        yield Listed(name, names[number], "train" if int(number) <= LAST_TO_LEARN else "test", line=line)
