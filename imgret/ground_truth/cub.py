"""CUB-200-2011: the birds of the last 100 species query each other; those of one species answer.

Wah, Branson, Welinder, Perona, Belongie, "The Caltech-UCSD Birds-200-2011 Dataset" (CNS-TR-2011-001). The split by
species is that of metric learning (recall at 1, 2, 4 and 8), not the set's train_test_split.txt.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imgret.errors import GroundTruthError, ImgretError
from imgret.ground_truth.judgements import GroundTruth, Rules
from imgret.ground_truth.same_label import all_query_all
from imgret.ground_truth.sources import sha256_of
from imgret.ids import escape
from imgret.lines import Once, at, fields, read_bytes

LAST_TO_LEARN = 100
IMAGES, CLASS_OF = "images.txt", "image_class_labels.txt"


def read(path: Path) -> GroundTruth:
    """The ground truth in the folder CUB_200_2011: classes 101 to 200, names relative to its folder `images`.

    GroundTruthError for a list that is missing or malformed, or an image without a class.
    """
    tested = (
        (line, image, str(species)) for line, image, species in birds(path, GroundTruthError) if species > LAST_TO_LEARN
    )
    return all_query_all(
        path / IMAGES,
        tested,
        format="cub",
        rules=Rules(recall_at=(1, 2, 4, 8), measures=("r_precision", "map@r"), headline="recall@1"),
        sha256=sha256_of((name, read_bytes(path / name, GroundTruthError)) for name in (IMAGES, CLASS_OF)),
    )


def birds(folder: Path, error: type[ImgretError]) -> Iterator[tuple[int, str, int]]:
    """(line, image, number of its species) in order of images.txt; `error` for what is missing or malformed."""
    images, classes = (read_bytes(folder / name, error) for name in (IMAGES, CLASS_OF))
    class_of: dict[str, str] = {}
    once = Once(folder / CLASS_OF, error)
    for line, (number, species) in fields(folder / CLASS_OF, classes, "image_id class_id", error):
        once.add(line, number)
        class_of[number] = species
    once = Once(folder / IMAGES, error)
    for line, (number, image) in fields(folder / IMAGES, images, "image_id image_name", error):
        once.add(line, number)
        species = class_of.pop(number, "")
        if not (species.isdecimal() and len(species) < 10):
            raise error(
                f"{at(folder / IMAGES, line)}: image {escape(number)} has no class in {CLASS_OF}; "
                "the two files are not of one set"
            )
        yield line, image, int(species)
    if class_of:
        raise error(
            f"{escape(str(folder / CLASS_OF))} has a class for image {escape(next(iter(class_of)))}, which is not in "
            f"{IMAGES}; the two files are not of one set"
        )
