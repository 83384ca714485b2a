"""INRIA Holidays: a folder of images named 100000.jpg, 100001.jpg, ..., or a list with one name a line.

Images of one hundred are one group: the first, whose number ends in 00, asks for the others. It is in the database
too, but neither right nor wrong: as in the official evaluation it is taken out of its own ranking. The names are put
in order first, and no group is left out, the last included.

Jégou, Douze, Schmid, "Hamming embedding and weak geometric consistency" (ECCV 2008). 1,491 images, 500 queries.
"""

from __future__ import annotations

import re
from pathlib import Path

from imgret.errors import GroundTruthError
from imgret.ground_truth.judgements import GroundTruth, Query, Rules
from imgret.ground_truth.listed import Rows
from imgret.ground_truth.numbered import by_number
from imgret.ground_truth.sources import image_names
from imgret.ids import escape

_NAME = re.compile(r"(\d{6})(?:\.\w+)?", re.ASCII)


def read(path: Path, content: bytes | None = None) -> GroundTruth:
    """The ground truth in a folder or a list; a query alone in its group is kept, without positives.

    GroundTruthError for a name of another form, two images of one number, or a group without its query.
    """
    names, sha256 = image_names(path, content)
    name_of = by_number(path, names, _NAME, "100000.jpg")
    rows = Rows((name, row) for row, name in enumerate(name_of.values()))
    groups: dict[int, list[str]] = {}
    for number, name in name_of.items():
        if number % 100 == 0:
            groups[number] = []
        elif number // 100 * 100 in groups:
            groups[number // 100 * 100].append(name)
        else:
            raise GroundTruthError(
                f"{escape(str(path))} has {escape(name)} but not its query {number // 100 * 100:06}.jpg: "
                "some of the set is missing"
            )
    judged = [rows.judgement(others) for others in groups.values()]
    return GroundTruth(
        database=list(rows),
        queries=[Query(name_of[number]) for number in groups],
        subsets={"all": judged.__getitem__},
        format="holidays",
        rules=Rules(ap="trapezoid"),
        sha256=sha256,
    )
