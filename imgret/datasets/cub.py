"""CUB-200-2011: birds; the first 100 species to learn from, the other 100 to test on.

Wah, Branson, Welinder, Perona, Belongie, "The Caltech-UCSD Birds-200-2011 Dataset" (CNS-TR-2011-001). The split
by species is that of metric learning, not the split of every species in the set's train_test_split.txt.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imgret.datasets.gather import Listed, gather
from imgret.datasets.labelled import LabelledImages
from imgret.datasets.lists import need
from imgret.errors import InputError
from imgret.ground_truth.cub import CLASS_OF, IMAGES, LAST_TO_LEARN, birds
from imgret.ids import escape
from imgret.lines import at, fields, read_bytes

_CLASSES = "classes.txt"


def read(path: Path, *, root: Path | None, check: bool) -> LabelledImages:
    """The images in order of images.txt, whole: the bounding boxes are not used, as in metric learning.

    Paths are relative to the folder `images`. Splits: "train" for classes 1 to 100, "test" for the others.
    InputError for a list that is missing or malformed, or an image without a class.
    """
    need(path, "cub", IMAGES, CLASS_OF, _CLASSES)
    return gather(_rows(path), root or path / "images", path / IMAGES, check=check)


def _rows(folder: Path) -> Iterator[Listed]:
    classes = read_bytes(folder / _CLASSES, InputError)
    named = fields(folder / _CLASSES, classes, "class_id class_name", InputError)
    names = {int(number): name for _, (number, name) in named if number.isdecimal()}
    for line, image, species in birds(folder, InputError):
        if species not in names:
            raise InputError(
                f"{at(folder / IMAGES, line)}: {escape(image)} is of class {species}, which is not in {_CLASSES}; "
                "the files are not of one set"
            )
        yield Listed(image, names[species], "train" if species <= LAST_TO_LEARN else "test", line=line)
