"""Ground truths: which images answer a query. One file per format, one row per format below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from imgret.errors import GroundTruthError
from imgret.tables import look_up, resolve

if TYPE_CHECKING:
    from imgret.ground_truth.judgements import GroundTruth

AUTO = "auto"


class Format(NamedTuple):
    """A row of `FORMATS`.

    reader  "module:function", called with (path) of a folder, or (path, content) of a file
    looks   what a path of the format can look like: "pickle or JSON", "CSV", "text", "folder"
    """

    reader: str
    looks: tuple[str, ...]
    summary: str


FORMATS = {
    "revisitop": Format(
        "imgret.ground_truth.revisitop:read",
        ("pickle or JSON",),
        "revisited Oxford/Paris: easy, hard and junk lists, as the published pickle or as JSON",
    ),
    "oxford5k": Format(
        "imgret.ground_truth.oxford5k:read",
        ("folder",),
        "original Oxford5k/Paris6k: a folder of NAME_query.txt, NAME_good.txt, NAME_ok.txt and NAME_junk.txt",
    ),
    "gldv2": Format(
        "imgret.ground_truth.gldv2:read",
        ("CSV",),
        "Google Landmarks v2 retrieval solution: CSV with id,images and optionally Usage",
    ),
    "gldv2-recognition": Format(
        "imgret.ground_truth.gldv2:read_recognition",
        ("CSV",),
        "Google Landmarks v2 recognition solution: CSV with id,landmarks and optionally Usage",
    ),
    "holidays": Format(
        "imgret.ground_truth.holidays:read",
        ("folder", "text"),
        "INRIA Holidays: a folder of images named 100000.jpg, 100001.jpg, ..., or a list of them",
    ),
    "ukbench": Format(
        "imgret.ground_truth.ukbench:read",
        ("folder", "text"),
        "UKBench: a folder of ukbench00000.jpg, ukbench00001.jpg, ..., or a list of them",
    ),
    "copydays": Format(
        "imgret.ground_truth.copydays:read",
        ("folder",),
        "INRIA Copydays: a folder with original, strong, jpegqual/75, crops/50, ...",
    ),
    "disc21": Format(
        "imgret.ground_truth.disc21:read",
        ("CSV",),
        "DISC21 (ISC2021): CSV of query_id,reference_id, without a reference for a distractor query",
    ),
    "sop": Format(
        "imgret.ground_truth.sop:read",
        ("text", "folder"),
        "Stanford Online Products: Ebay_test.txt, or a folder with it",
    ),
    "cub": Format(
        "imgret.ground_truth.cub:read",
        ("folder",),
        "CUB-200-2011: the folder with images.txt and image_class_labels.txt; classes 101 to 200",
    ),
    "inshop": Format(
        "imgret.ground_truth.inshop:read",
        ("text", "folder"),
        "DeepFashion In-shop: list_eval_partition.txt, or a folder with it",
    ),
    "labels": Format(
        "imgret.ground_truth.labels:read",
        ("CSV", "folder"),
        "CSV with path,label and optionally split: images of one label answer each other; or a folder with labels.csv",
    ),
    "trec": Format(
        "imgret.ground_truth.trec:read",
        ("text",),
        "TREC qrels: lines of query, iteration, document, relevance",
    ),
    "hloc": Format(
        "imgret.ground_truth.hloc:read",
        ("text",),
        "pairs of hloc: lines of query, database image; each pair is right",
    ),
}


def load(path: str | Path, format: str = AUTO) -> GroundTruth:
    """Read a ground truth, a file or a folder; `format` is a name of `FORMATS`, or "auto" to tell from what is there.

    GroundTruthError when it cannot be read, is malformed, asks for nothing, or "auto" cannot tell;
    UnknownNameError for a format that is in no row.
    """
    from imgret.ground_truth.detect import detect, look
    from imgret.lines import read_bytes

    path = Path(path)
    if format != AUTO:
        look_up(FORMATS, "ground-truth format", format)
    content = None if path.is_dir() else read_bytes(path, GroundTruthError)
    name = detect(path, content) if format == AUTO else format
    try:
        return _read(path, content, name)
    except GroundTruthError as error:
        if format != AUTO:
            raise
        alike = [other for other, row in FORMATS.items() if look(path, content) in row.looks and other != name]
        others = f"say --format {'|'.join(alike)}" if alike else "name it with --format"
        raise GroundTruthError(f"{error} (read as {name}; if it is something else, {others})") from error


def _read(path: Path, content: bytes | None, name: str) -> GroundTruth:
    from imgret.ids import escape

    row = FORMATS[name]
    if content is None and "folder" not in row.looks:
        raise GroundTruthError(f"{escape(str(path))} is a folder, but {name} is a file: {row.summary}")
    if content is not None and row.looks == ("folder",):
        raise GroundTruthError(f"{escape(str(path))} is a file, but {name} is a folder: {row.summary}")
    read = resolve(row.reader)
    truth: GroundTruth = read(path) if content is None else read(path, content)
    if not truth.queries:
        raise GroundTruthError(f"{escape(str(path))} has no query. {name} is {row.summary}")
    return truth
