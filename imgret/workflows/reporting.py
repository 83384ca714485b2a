"""`write_report`: an evaluation as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from imgret.errors import ImgretError

if TYPE_CHECKING:
    from imgret.evaluation.scores import QueryScore, Scores
    from imgret.ground_truth.judgements import Query
    from imgret.report.evaluation_page import SubsetPart
    from imgret.report.rows import ResultRow
    from imgret.workflows.evaluating import EvalJob

SHOWN_HITS = 12
"""Hits of a query on the page."""
SHOWN_QUERIES = 6
"""Worst and best queries on the page, of each so many."""


def write_report(
    path: Path,
    job: EvalJob,
    scores: Scores,
    subsets: Sequence[SubsetPart],
    protocol: Sequence[tuple[str, str]],
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]],
) -> None:
    """Write the page of an evaluation made with `EvalJob.show`.

    The worst and the best queries are those of lowest and highest AP in `shown_subset`. Their pictures, and those of
    their hits, come from where the images are now; one that is gone leaves a placeholder.
    """
    from imgret import ground_truth
    from imgret.evaluation.evaluate import shown_subset
    from imgret.report.evaluation_page import write_evaluation_page

    truth = ground_truth.load(job.ground_truth, job.format)
    shown = shown_subset(truth)
    queries = {query.name: query for query in truth.queries}
    lines = [line for line in scores.per_query if line.subset == shown and line.ap is not None]
    ranked = sorted(lines, key=lambda line: (line.ap or 0.0, line.query))
    some = min(SHOWN_QUERIES, (len(ranked) + 1) // 2)
    finder = _Finder(job)
    write_evaluation_page(
        path,
        title=title_of(subsets, shown, job.ground_truth),
        subtitle=", ".join(_about(job, scores, len(truth.queries), dict(protocol))),
        subsets=subsets,
        shown=shown,
        worst=[_row(line, queries[line.query], scores, job, finder) for line in ranked[:some]],
        best=[_row(line, queries[line.query], scores, job, finder) for line in ranked[some:][::-1][:some]],
        protocol=protocol,
        notes=_notes(scores),
        tables=tables,
    )


def title_of(subsets: Sequence[SubsetPart], shown: str, ground_truth: Path) -> str:
    """'gnd_roxford5k: mAP (trapezoid) 64.67 % in medium'."""
    part = next(part for part in subsets if part.name == shown)
    label, text = part.measures[0]
    where = "" if len(subsets) == 1 else f" in {shown}"
    return f"{ground_truth.stem}: {label} {text}{where}"


def _about(job: EvalJob, scores: Scores, queries: int, card: Mapping[str, str]) -> Iterator[str]:
    searched = job.index or job.store or job.ranking
    yield f"{queries:,} queries ({scores.format}) in {searched}"
    if card.get("model", "–") != "–":
        yield f"{card['model']} on {card['backbone']} at {card['image_size']} px"
    if "rerank" in card:
        yield f"re-ranked by {card['rerank']}"


def _row(line: QueryScore, query: Query, scores: Scores, job: EvalJob, finder: _Finder) -> ResultRow:
    from imgret.report.rows import ResultHit, ResultRow

    box = None
    if query.box is not None and job.query_crop == "gt":
        x1, y1, x2, y2 = (round(edge) for edge in query.box)
        box = (x1, y1, x2, y2)
    hits = [
        ResultHit(rank, hit.id, hit.score, finder.path(hit.id), hit.verdict)  # type: ignore[arg-type]
        for rank, hit in enumerate(scores.shown.get(line.query, ()), 1)
    ]
    words = f"AP {100 * (line.ap or 0):.1f} %, {line.found} of {line.positives} found"
    path = finder.query_path(query.name, [hit.id for hit in hits])
    return ResultRow(line.query, path, hits, box, note=words)


def _notes(scores: Scores) -> list[str]:
    counts = scores.counts
    notes = list(scores.protocol.get("notes", ()))
    if counts.truncated:
        notes.append(f"{counts.truncated:,} rankings are cut short; positives beyond their end count as never found.")
    if counts.missing:
        notes.append(f"{counts.missing:,} images of the ground truth are not in the index, counted as never found.")
    if counts.missing_queries:
        notes.append(f"{counts.missing_queries:,} queries have no ranking and count as 0.")
    for subset in scores.subsets:
        if skipped := scores.skipped(subset):
            notes.append(f"{len(skipped):,} queries have no positive in {subset} and are left out of its means.")
    return notes


class _Finder:
    """Where the images of an evaluation are now."""

    def __init__(self, job: EvalJob) -> None:
        self._images = [] if job.images is None else [Path(job.images)]
        self._roots: list[Path | str] = []
        with suppress(ImgretError):  # a page without pictures is better than none
            self._roots = _roots(job)

    def path(self, image_id: str) -> str | None:
        """The file of an image that was searched."""
        # the folder of the queries comes last: it may hold another image of that name
        return _located([*self._roots, *self._images], image_id)

    def query_path(self, name: str, hits: Sequence[str]) -> str | None:
        """The file of a query: by name, with the usual extensions where it has none, else the hit that it is itself."""
        from imgret.ground_truth.names import stem, unboxed

        for end in ("", ".jpg", ".jpeg", ".png", ".webp"):
            if (found := _located([*self._images, *self._roots], unboxed(name) + end)) is not None:
                return found
        same = [hit for hit in hits if stem(hit) == stem(name)]
        return self.path(same[0]) if len(same) == 1 else None


def _located(folders: Sequence[Path | str], image_id: str) -> str | None:
    from imgret.store.store import locate_image

    return next((found for folder in folders if (found := locate_image(folder, image_id)) is not None), None)


def _roots(job: EvalJob) -> list[Path | str]:
    from imgret.ids import unescape
    from imgret.store.store import Root, Store

    if job.index is not None:
        from imgret.indexes.parts.files import open_index

        roots = open_index(job.index).about["roots"]
        return [Root(unescape(r["absolute"]), unescape(r["relative"])).locate(job.index) for r in roots]
    if job.store is not None:
        store = Store.open(job.store)
        return [root.locate(store.path) for root in store.roots]
    return []
