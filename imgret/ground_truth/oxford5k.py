"""Original Oxford5k and Paris6k: a folder of text files, four a query.

NAME_query.txt holds `oxc1_all_souls_000013 136.5 34.1 648.5 955.7`, an image and the box asked for;
NAME_good.txt, NAME_ok.txt and NAME_junk.txt hold one image a line. Good and ok images are positives. A query's
image is in the database too, and listed: it counts. Names have no extension; the prefix `oxc1_` stands in the query
files of Oxford alone and is taken off.

Philbin, Chum, Isard, Sivic, Zisserman, "Object retrieval with large vocabularies and fast spatial matching" (CVPR
2007); "Lost in quantization" (CVPR 2008) for Paris.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from imgret.errors import GroundTruthError
from imgret.ground_truth.judgements import Box, GroundTruth, Judgement, Query, Rules
from imgret.ground_truth.listed import Rows
from imgret.ground_truth.sources import sha256_of
from imgret.ids import escape
from imgret.lines import at, fields, read_bytes

LISTS = ("good", "ok", "junk")
PREFIX = "oxc1_"


def read(path: Path) -> GroundTruth:
    """The ground truth in a folder; queries in order of their files' names.

    Queries are named by their images, and by image and box (``name#x1,y1,x2,y2``) where several are cut from
    one. An image that stands twice in one file counts once, and `notes` says so: the published
    all_souls_1_good.txt has one. GroundTruthError for a file that is missing or malformed, and for an image in
    two of a query's lists.
    """
    names = sorted({file.name[: -len(kind) - 5] for kind in ("query", *LISTS) for file in path.glob(f"*_{kind}.txt")})
    if not names:
        raise GroundTruthError(
            f"{escape(str(path))} has no NAME_query.txt, so it is no ground truth of Oxford or Paris"
        )
    rows = Rows()
    notes: list[str] = []
    asked: list[tuple[str, Box]] = []
    judged: list[Judgement] = []
    for name in names:
        asked.append(_query(path / f"{name}_query.txt"))
        lists = {kind: list(_images(path / f"{name}_{kind}.txt", notes)) for kind in LISTS}
        _refuse_overlaps(path, name, lists)
        judged.append(rows.judgement(lists["good"] + lists["ok"], lists["junk"]))
    return GroundTruth(
        database=list(rows),
        queries=_named(path, asked, names),
        subsets={"all": judged.__getitem__},
        format="oxford5k",
        rules=Rules(ap="trapezoid", precision="revisitop"),
        sha256=sha256_of(_files(path, names)),
        notes=tuple(notes),
    )


def _query(path: Path) -> tuple[str, Box]:
    found = list(fields(path, read_bytes(path, GroundTruthError), "IMAGE x1 y1 x2 y2", GroundTruthError))
    if len(found) != 1:
        raise GroundTruthError(f"{escape(str(path))} must be one line, IMAGE x1 y1 x2 y2, but has {len(found)}")
    line, (image, *edges) = found[0]
    try:
        x1, y1, x2, y2 = map(float, edges)
    except ValueError:
        x1 = y1 = x2 = y2 = math.nan
    if not (math.isfinite(x1 + y1 + x2 + y2) and x1 < x2 and y1 < y2):
        raise GroundTruthError(
            f"{at(path, line)}: the box must be x1 y1 x2 y2 with x1 < x2 and y1 < y2, got {escape(' '.join(edges))}"
        )
    return image.removeprefix(PREFIX), (x1, y1, x2, y2)


def _images(path: Path, notes: list[str]) -> Iterator[str]:
    seen: set[str] = set()
    for line, (image,) in fields(path, read_bytes(path, GroundTruthError), "IMAGE", GroundTruthError):
        if image in seen:
            notes.append(f"{escape(path.name)}, line {line}: {escape(image)} stands in it already and counts once")
        else:
            seen.add(image)
            yield image


def _refuse_overlaps(path: Path, name: str, lists: dict[str, list[str]]) -> None:
    list_of: dict[str, str] = {}
    for kind, images in lists.items():
        for image in images:
            other = list_of.setdefault(image, kind)
            if other != kind:
                raise GroundTruthError(
                    f"{escape(str(path / name))}_{kind}.txt: query {escape(name)}: image {escape(image)} is both "
                    f"{other} and {kind}"
                )


def _named(path: Path, asked: list[tuple[str, Box]], names: list[str]) -> list[Query]:
    times = Counter(image for image, _ in asked)
    queries: dict[str, Query] = {}
    for name, (image, box) in zip(names, asked, strict=True):
        query = image if times[image] == 1 else f"{image}#{','.join(f'{edge:.10g}' for edge in box)}"
        if query in queries:
            raise GroundTruthError(
                f"{escape(str(path))}: two queries ask for {escape(query)}, the second {escape(name)}"
            )
        queries[query] = Query(query, box)
    return list(queries.values())


def _files(path: Path, names: list[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        for kind in ("query", *LISTS):
            file = path / f"{name}_{kind}.txt"
            yield file.name, read_bytes(file, GroundTruthError)
