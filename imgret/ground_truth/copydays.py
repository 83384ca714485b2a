"""INRIA Copydays: a folder with `original`, and with copies of its images in other folders.

    original/200000.jpg       the database
    strong/200001.jpg         print and scan, blur, paint, ...
    jpegqual/75/200000.jpg    by JPEG quality; the folder may be named `jpeg` too
    crops/50/200000.jpg       by per cent cut away; the folder may be named `crop` too

A copy answers to the original of the same name; failing that, to the one whose name begins with the same four
characters, as the strong copies do. The originals ask too, for themselves. Each folder is a subset: "original",
"strong", "jpeg-75", "crops-50". Extract `original` (and distractors) alone into the index: the copies are queries.

Douze, Jégou, Sandhawalia, Amsaleg, Schmid, "Evaluation of GIST descriptors for web-scale image search" (CIVR 2009).
157 originals, 229 strong copies, 157 of every other kind. Only the first 20 places count.
"""

from __future__ import annotations

from pathlib import Path

from imgret.errors import GroundTruthError
from imgret.ground_truth.judgements import GroundTruth, Judgement, Query, Rules
from imgret.ground_truth.listed import Rows, part
from imgret.ground_truth.sources import is_image, sha256_of
from imgret.ids import escape, to_bytes

ORIGINAL, STRONG = "original", "strong"
GRADED = {"jpeg": "jpeg", "jpegqual": "jpeg", "crops": "crops", "crop": "crops"}


def read(path: Path) -> GroundTruth:
    """The ground truth in a folder; names are relative to it.

    GroundTruthError when originals are missing, or a copy's original cannot be told.
    """
    originals = _images(path, ORIGINAL)
    if not originals:
        raise GroundTruthError(f"{escape(str(path))} has no images in {ORIGINAL}, so it is no Copydays")
    rows = Rows((name, row) for row, name in enumerate(originals))
    by_name = {_base(name): name for name in originals}
    by_start: dict[str, list[str]] = {}
    for name in originals:
        by_start.setdefault(_base(name)[:4], []).append(name)
    queries: list[Query] = []
    judged: list[Judgement] = []
    blocks: list[str] = []
    for block, folder in _blocks(path).items():
        for name in _images(path, folder):
            base = _base(name)
            found = [by_name[base]] if base in by_name else by_start.get(base[:4], [])
            if len(found) != 1:
                which = f"could be of {' or '.join(map(escape, found[:2]))}" if found else f"is of none in {ORIGINAL}"
                raise GroundTruthError(f"{escape(str(path))}: the copy {escape(name)} {which}")
            queries.append(Query(name))
            judged.append(rows.judgement(found))
            blocks.append(block)
    return GroundTruth(
        database=originals,
        queries=queries,
        subsets={block: part(judged, blocks, block) for block in dict.fromkeys(blocks)},
        format="copydays",
        rules=Rules(ap="trapezoid", cutoff=20),
        sha256=sha256_of((query.name, b"") for query in queries),
    )


def _blocks(path: Path) -> dict[str, str]:
    """subset -> folder of its images, relative; grades in order of their numbers."""
    blocks = {ORIGINAL: ORIGINAL, STRONG: STRONG}
    for folder, kind in GRADED.items():
        if (path / folder).is_dir():
            grades = [grade.name for grade in (path / folder).iterdir() if grade.is_dir() and grade.name.isdecimal()]
            for grade in sorted(grades, key=int):
                other = blocks.setdefault(f"{kind}-{grade}", f"{folder}/{grade}")
                if other != f"{folder}/{grade}":
                    raise GroundTruthError(
                        f"{escape(str(path))} has {other} and {folder}/{grade}: which of them counts?"
                    )
    return blocks


def _images(path: Path, folder: str) -> list[str]:
    try:
        names = [file.name for file in (path / folder).iterdir() if is_image(file.name)]
    except FileNotFoundError:  # a block that is not there is no subset
        names = []
    except OSError as error:
        raise GroundTruthError(f"{escape(str(path / folder))} cannot be read: {error.strerror}") from error
    return [f"{folder}/{name}" for name in sorted(names, key=to_bytes)]


def _base(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]
