"""UKBench: a folder of ukbench00000.jpg, ukbench00001.jpg, ..., or a list with one name a line.

Four images in a row are one group. Every image asks the whole set, itself included, and is one of its own four
positives: the N-S score is the mean number of them in the first four places, from 1 to 4.

Nistér, Stewénius, "Scalable recognition with a vocabulary tree" (CVPR 2006). 10,200 images.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from imgret.errors import GroundTruthError
from imgret.ground_truth.judgements import GroundTruth, Judgement, Query, Rules
from imgret.ground_truth.numbered import by_number
from imgret.ground_truth.sources import image_names
from imgret.ids import escape

_NAME = re.compile(r"ukbench(\d{5})(?:\.\w+)?", re.ASCII)


def read(path: Path, content: bytes | None = None) -> GroundTruth:
    """The ground truth in a folder or a list.

    GroundTruthError for a name of another form, two images of one number, or a group that is not whole.
    """
    names, sha256 = image_names(path, content)
    name_of = by_number(path, names, _NAME, "ukbench00000.jpg")
    for first in sorted({number // 4 * 4 for number in name_of}):
        lacking = [number for number in range(first, first + 4) if number not in name_of]
        if lacking:
            there = ", ".join(escape(name_of[number]) for number in range(first, first + 4) if number in name_of)
            gone = ", ".join(f"ukbench{number:05}" for number in lacking)
            raise GroundTruthError(f"{escape(str(path))}: the group of {there} lacks {gone}; groups are of four")
    nothing = np.zeros(0, np.int32)
    # in order of their numbers, whole groups are whole rows of four
    return GroundTruth(
        database=list(name_of.values()),
        queries=[Query(name) for name in name_of.values()],
        subsets={"all": lambda query: Judgement(query // 4 * 4 + np.arange(4, dtype=np.int32), nothing)},
        format="ukbench",
        rules=Rules(measures=("n_s_score",), headline="n_s_score"),
        sha256=sha256,
    )
