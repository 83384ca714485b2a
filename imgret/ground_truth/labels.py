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
from collections.abc import Iterator
from pathlib import Path

from imgret.errors import GroundTruthError
from imgret.ground_truth.judgements import GroundTruth, Query, Rules
from imgret.ground_truth.same_label import same_label
from imgret.ground_truth.sources import the_file
from imgret.ids import escape
from imgret.lines import Once, at

IN_A_FOLDER = "labels.csv"
SPLITS = ("query", "database", "both")


def read(path: Path, content: bytes | None = None) -> GroundTruth:
    """The ground truth in a CSV file, or in the labels.csv of a folder; with `content`, `path` is only named.

    A query whose label no other database image has is kept: it is left out of the mean, and counted, at
    evaluation. GroundTruthError for missing columns, a repeated path or an unknown split, naming the line.
    """
    path, content = the_file(path, content, IN_A_FOLDER)
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
        raise GroundTruthError(f"{escape(str(path))} has no {what}: check the columns label and split")
    return GroundTruth(
        database=database,
        queries=queries,
        subsets={"all": same_label(database_labels, query_labels, own)},
        format="labels",
        rules=Rules(measures=("r_precision", "map@r")),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _images(path: Path, content: bytes) -> Iterator[tuple[str, str, str]]:
    """(path, label, split) of every line."""
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    once, place = Once(path, GroundTruthError), escape(str(path))
    try:
        if table.fieldnames is None:
            raise GroundTruthError(f"{place} is empty; a labels file begins with the line path,label")
        table.fieldnames = [name.strip().lower() for name in table.fieldnames]
        if len(set(table.fieldnames)) < len(table.fieldnames):
            raise GroundTruthError(f"{place} names a column twice: {', '.join(map(escape, table.fieldnames))}")
        lacking = [name for name in ("path", "label") if name not in table.fieldnames]
        if lacking:
            raise GroundTruthError(
                f"{place} has no column {' and no column '.join(lacking)}; its columns are "
                f"{', '.join(map(escape, table.fieldnames))}"
            )
        for entry in table:
            name, label, split = entry["path"], entry["label"], entry.get("split", "both")
            where = at(path, table.line_num)
            if None in entry:
                raise GroundTruthError(f"{where}: more fields than columns; put a path with a comma in quotes")
            if not name or label is None or split is None:
                raise GroundTruthError(f"{where}: a field is missing")
            once.add(table.line_num, name)
            if split.strip().lower() not in SPLITS:
                raise GroundTruthError(f"{where}: split {escape(split)!r} is none of {', '.join(SPLITS)}")
            if split.strip().lower() == "query" and not label.strip():
                raise GroundTruthError(f"{where}: query {escape(name)} has no label")
            yield name, label.strip(), split.strip().lower()
    except csv.Error as error:
        raise GroundTruthError(f"{at(path, table.line_num)}: not a CSV line ({error})") from error
