"""The output forms of `imgret search`. All go to stdout; ids and paths are escaped, but for paths0."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from imgret.cli import console
from imgret.ids import escape
from imgret.ranking import SCHEMA
from imgret.workflows.searching import Answer, Hit


def _document(answer: Answer) -> dict[str, Any]:
    if answer.error is not None:
        return {"query": escape(answer.query), "error": answer.error}
    results = [
        {"rank": hit.rank, "id": escape(hit.id), "score": hit.score, "path": hit.path and escape(hit.path)}
        for hit in answer.hits
    ]
    return {"schema": SCHEMA, "query": escape(answer.query), "results": results}


def _json(answers: Sequence[Answer]) -> None:
    json.dump([_document(answer) for answer in answers], sys.stdout, ensure_ascii=False, indent=1)
    print()


def _jsonl(answers: Sequence[Answer]) -> None:
    for answer in answers:
        print(json.dumps(_document(answer), ensure_ascii=False))


def _csv(answers: Sequence[Answer]) -> None:
    lines = csv.writer(sys.stdout, lineterminator="\n")
    lines.writerow(("query", "rank", "id", "score", "path"))
    for answer in answers:
        for hit in answer.hits:
            path = escape(hit.path) if hit.path else ""
            lines.writerow((escape(answer.query), hit.rank, escape(hit.id), f"{hit.score:.6f}", path))


def _place(hit: Hit) -> str:
    return hit.path or hit.id


def _paths(answers: Sequence[Answer]) -> None:
    for answer in answers:
        for hit in answer.hits:
            print(escape(_place(hit)))


def _paths0(answers: Sequence[Answer]) -> None:
    for answer in answers:
        for hit in answer.hits:
            sys.stdout.buffer.write(os.fsencode(_place(hit)) + b"\0")


def _table(answers: Sequence[Answer]) -> None:
    out = console.data()
    for answer in answers:
        if answer.error is not None:
            continue
        shown = console.table("rank", "score", "image", title=escape(answer.query), right=("rank", "score"))
        for hit in answer.hits:
            shown.add_row(str(hit.rank), f"{hit.score:.3f}", console.plain(escape(hit.id)))
        out.print(shown)


WRITERS: dict[str, Callable[[Sequence[Answer]], None]] = {
    "table": _table,
    "json": _json,
    "jsonl": _jsonl,
    "csv": _csv,
    "paths": _paths,
    "paths0": _paths0,
}


def write_html(
    path: Path,
    answers: Sequence[Answer],
    index: Path,
    box: tuple[int, int, int, int] | None,
    rerank: str = "",
) -> None:
    """The result page; `box` is the part of the query that was searched with, `rerank` the chain in words."""
    from imgret.report.page import COSINES, rows_of, write_page

    asked = "1 query" if len(answers) == 1 else f"{len(answers)} queries"
    write_page(
        path,
        title="Search results",
        subtitle=f"{asked} in {index}" + (f", ordered anew by {rerank}" if rerank else ""),
        rows=rows_of(answers, box=box),
        scores="Scores are those of the last stage of re-ranking, higher is better." if rerank else COSINES,
    )
