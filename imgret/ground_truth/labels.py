"""Labelled images: a CSV with the columns `path`, `label` and optionally `split`; other columns are ignored.

UTF-8, with or without a byte order mark, commas, quotes where a field needs them. `split` is `query`,
`database` or `both`; without the column every image is both, as in metric learning. The positives of a query
are the database images of the same label, never the image itself. An empty label makes an image a distractor:
it answers no query and asks none.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from imgret.errors import GroundTruthError
from imgret.ground_truth.judgements import GroundTruth, Judgement, Query
from imgret.ids import escape

SPLITS = ("query", "database", "both")


def read(path: Path, content: bytes) -> GroundTruth:
    """The ground truth in a file's content; `path` is only named in messages.

    A query whose label no other database image has is kept: it is left out of the mean, and counted, at
    evaluation. GroundTruthError for missing columns, a repeated path or an unknown split, naming the line.
    """
    database: list[str] = []
    database_labels: list[str] = []
    queries: list[Query] = []
    query_labels: list[str] = []
    own: list[int] = []  # the query's own row of the database, or -1
    for name, label, split in _images(path, content):
        if split != "query":
            database.append(name)
            database_labels.append(label)
        if split != "database" and label:
            queries.append(Query(name))
            query_labels.append(label)
            own.append(len(database) - 1 if split == "both" else -1)
    if not queries or not database:
        what = "query" if not queries else "database image"
        raise GroundTruthError(f"{path} has no {what}: check the columns label and split")
    return GroundTruth(
        database=database,
        queries=queries,
        subsets={"all": _same_label(database_labels, query_labels, own)},
        format="labels",
        ap="finite",
        precision="plain",
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _images(path: Path, content: bytes) -> Iterator[tuple[str, str, str]]:
    """(path, label, split) of every line."""
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    line_of: dict[str, int] = {}
    try:
        if table.fieldnames is None:
            raise GroundTruthError(f"{path} is empty; a labels file begins with the line path,label")
        table.fieldnames = [name.strip().lower() for name in table.fieldnames]
        lacking = [name for name in ("path", "label") if name not in table.fieldnames]
        if lacking:
            raise GroundTruthError(
                f"{path} has no column {' and no column '.join(lacking)}; its columns are "
                f"{', '.join(map(escape, table.fieldnames))}"
            )
        for entry in table:
            name, label, split = entry["path"], entry["label"], entry.get("split", "both")
            where = f"{path}, line {table.line_num}"
            if not name or label is None or split is None:
                raise GroundTruthError(f"{where}: a field is missing")
            if name in line_of:
                raise GroundTruthError(f"{where}: {escape(name)} stands on line {line_of[name]} already")
            if split.strip().lower() not in SPLITS:
                raise GroundTruthError(f"{where}: split {escape(split)!r} is none of {', '.join(SPLITS)}")
            if split.strip().lower() == "query" and not label.strip():
                raise GroundTruthError(f"{where}: query {escape(name)} has no label")
            line_of[name] = table.line_num
            yield name, label.strip(), split.strip().lower()
    except csv.Error as error:
        raise GroundTruthError(f"{path}, line {table.line_num}: not a CSV line ({error})") from error


def _same_label(database_labels: list[str], query_labels: list[str], own: list[int]) -> Callable[[int], Judgement]:
    """The judgement of a query, made when asked for: rows of one label lie side by side in `by_label`."""
    code_of: dict[str, int] = {}
    codes = np.array([code_of.setdefault(label, len(code_of)) for label in database_labels], np.int32)
    by_label = np.argsort(codes, kind="stable").astype(np.int32)
    edges = np.searchsorted(codes[by_label], np.arange(len(code_of) + 1))
    nothing = np.zeros(0, np.int32)

    def judge(query: int) -> Judgement:
        code = code_of.get(query_labels[query])
        if code is None:
            return Judgement(nothing, nothing)
        same = by_label[edges[code] : edges[code + 1]]
        return Judgement(same[same != own[query]], nothing)

    return judge
