"""Stanford Online Products: `Ebay_test.txt`, whose images query each other; a product's images answer.

Song, Xiang, Jegelka, Savarese, "Deep Metric Learning via Lifted Structured Feature Embedding" (arXiv:1511.06452):
recall at 1, 10, 100 and 1000, the query itself left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from imgret.errors import GroundTruthError, ImgretError
from imgret.ground_truth.judgements import GroundTruth, Rules
from imgret.ground_truth.same_label import all_query_all
from imgret.ground_truth.sources import the_file
from imgret.ids import escape
from imgret.lines import Once, fields, lines, words

TEST = "Ebay_test.txt"
HEADER = "image_id class_id super_class_id path"


def read(path: Path, content: bytes | None = None) -> GroundTruth:
    """The ground truth in a list of products, or in the Ebay_test.txt of a folder.

    Names are paths below the folder of the list. GroundTruthError for a malformed line or a repeated image.
    """
    path, content = the_file(path, content, TEST)
    return all_query_all(
        path,
        products(path, content, GroundTruthError),
        format="sop",
        rules=Rules(recall_at=(1, 10, 100, 1000), measures=("r_precision", "map@r"), headline="recall@1"),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def products(path: Path, content: bytes, error: type[ImgretError]) -> Iterator[tuple[int, str, str]]:
    """(line, image, product) of a list; `error` when it does not begin with its header or a line is malformed."""
    first, text = next(lines(content), (1, ""))
    if words(text.lower()) != HEADER.split():
        raise error(f"{escape(str(path))} must begin with {HEADER}, got {escape(text)[:80]!r}")
    once = Once(path, error)
    for line, (number, product, _, image) in fields(path, content, HEADER, error, skip=first):
        once.add(line, number)
        yield line, image, product
