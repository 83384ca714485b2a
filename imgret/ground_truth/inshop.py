"""DeepFashion In-shop clothes: the queries of list_eval_partition.txt against its gallery.

Liu, Luo, Qiu, Wang, Tang, "DeepFashion" (CVPR 2016): recall at 1, 10, 20, 30, 40 and 50.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from imgret.errors import GroundTruthError, ImgretError
from imgret.ground_truth.judgements import GroundTruth, Query, Rules
from imgret.ground_truth.same_label import same_label
from imgret.ground_truth.sources import the_file
from imgret.ids import escape
from imgret.lines import Once, at, fields, lines, words

LISTS = ("list_eval_partition.txt", "Eval/list_eval_partition.txt")
SPLITS = ("train", "query", "gallery")
COLUMNS = "image_name item_id evaluation_status"


def read(path: Path, content: bytes | None = None) -> GroundTruth:
    """The ground truth in a list of items, or in that of a folder; names are as listed, `img/WOMEN/...`.

    A query whose item is not in the gallery is kept, without positives. GroundTruthError for a malformed line,
    another split, or an image listed twice.
    """
    path, content = the_file(path, content, *LISTS)
    once = Once(path, GroundTruthError)
    asked: list[tuple[str, str]] = []
    gallery: list[tuple[str, str]] = []
    for line, image, item, split in items(path, content, GroundTruthError):
        once.add(line, image)
        if split != "train":
            (asked if split == "query" else gallery).append((image, item))
    judge = same_label([item for _, item in gallery], [item for _, item in asked], [-1] * len(asked))
    return GroundTruth(
        database=[image for image, _ in gallery],
        queries=[Query(image) for image, _ in asked],
        subsets={"all": judge},
        format="inshop",
        rules=Rules(recall_at=(1, 10, 20, 30, 40, 50), measures=("r_precision", "map@r"), headline="recall@1"),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def items(path: Path, content: bytes, error: type[ImgretError]) -> Iterator[tuple[int, str, str, str]]:
    """(line, image, item, split) of a list; `error` for a line that is malformed or missing, or another split."""
    heading = list(islice(lines(content), 2))  # the number of images, then the names of the columns
    count = heading[0][1] if heading else ""
    if len(heading) < 2 or not (count.isdecimal() and len(count) < 10) or words(heading[1][1]) != COLUMNS.split():
        raise error(f"{escape(str(path))} must begin with the number of its images and then a line {COLUMNS}")
    found = list(fields(path, content, COLUMNS, error, skip=heading[1][0]))
    if len(found) != int(count):
        raise error(f"{escape(str(path))} says that it lists {count} images, and lists {len(found)}: it is not whole")
    for line, (image, item, split) in found:
        if split not in SPLITS:
            raise error(
                f"{at(path, line)}: {escape(split)!r} is none of {', '.join(SPLITS)}; "
                "is this the list of In-shop retrieval, and not of another part of DeepFashion?"
            )
        yield line, image, item, split
