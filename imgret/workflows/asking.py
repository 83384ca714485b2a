"""The queries of an evaluation: cut from their images, described already, or images that are searched themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret.errors import GroundTruthError
from imgret.ids import escape
from imgret.workflows.queries import Queries, describe_queries, stored_queries

if TYPE_CHECKING:
    from imgret.extraction.job import Say
    from imgret.ground_truth.judgements import GroundTruth, Query
    from imgret.images.files import ImageFile
    from imgret.workflows.evaluating import EvalJob
    from imgret.workflows.searched import Searched


def queries_of(job: EvalJob, truth: GroundTruth, searched: Searched, say: Say) -> tuple[Queries, str]:
    """Query descriptors, and how the queries were cropped."""
    boxed = job.query_crop == "gt" and any(query.box for query in truth.queries)
    crop = "ground-truth box, at the scale of the whole image" if boxed else "none"
    if job.queries is not None:
        ready = stored_queries(job.queries, searched.recipe, searched.fingerprint, job.options)
        return ready.whitened(searched.whitening), "unknown (ready descriptors)"
    if job.images is None:
        return _own_descriptors(job, truth, searched, boxed), crop
    images = _query_images(job, truth.queries, job.images)
    found = describe_queries(
        images, "full", searched.recipe, searched.origin, searched.path, searched.dim, job.options, say
    )
    if found.errors and not job.allow_missing:
        name, why = next(iter(found.errors.items()))
        raise GroundTruthError(
            f"{len(found.errors)} queries cannot be read; the first: {escape(name)}: {why}. "
            "Count them as never found with --allow-missing"
        )
    return found.whitened(searched.whitening), crop


def _own_descriptors(job: EvalJob, truth: GroundTruth, searched: Searched, boxed: bool) -> Queries:
    """Whole-image queries that are searched images themselves have their descriptor there already."""
    import numpy as np

    from imgret.evaluation.spelling import missing_message, nearest
    from imgret.ground_truth.names import match
    from imgret.ids import IdTable

    names = [query.name for query in truth.queries]
    say_where = "say what their names are relative to with --images DIR, or give ready descriptors with --queries STORE"
    if boxed:
        raise GroundTruthError(f"{job.ground_truth}: its queries are cropped, so they must be extracted: {say_where}")
    if searched.index is not None and searched.index.about.get("dba"):
        raise GroundTruthError(
            f"{job.ground_truth}: the rows of {searched.path} are augmented, which queries must not be: give the "
            f"store it was made from with --queries STORE, or {say_where}"
        )
    there = IdTable.of(searched.ids())
    place_of = match(names, there)
    lost = np.flatnonzero(place_of < 0)
    if len(lost) == len(names) and (match(truth.database, there) < 0).all():
        raise GroundTruthError(missing_message(truth.database, "images", truth.database, str(searched.path), there))
    if len(lost) == len(names) or (len(lost) and not job.allow_missing):
        near = nearest(names[lost[0]], there)
        meant = "" if near is None else f" is nearest to {escape(near)}"
        raise GroundTruthError(
            f"{job.ground_truth}: {len(lost)} of its {len(names)} queries are not among the images searched "
            f"({escape(names[lost[0]])}{meant}, ...): {say_where}, or count them as never found with --allow-missing"
        )
    found = [name for name, place in zip(names, place_of.tolist(), strict=True) if place >= 0]
    return Queries(found, [None] * len(found), searched.vectors(place_of[place_of >= 0]))


def _query_images(job: EvalJob, queries: Any, folder: Path) -> list[ImageFile]:
    """The query files: by path below `folder`, else by stem among the images there."""
    from imgret.ground_truth.names import match, unboxed
    from imgret.images import files

    named = [_query_file(query, folder) for query in queries]
    rest = [number for number, image in enumerate(named) if image.missing]
    if rest:
        there = files.find([str(folder)]).images
        # queries may be parts of one image: a.jpg#0,0,10,10 and a.jpg#5,5,20,20
        distinct = list(dict.fromkeys(unboxed(queries[number].name) for number in rest))
        rows = dict(zip(distinct, match(distinct, [image.id for image in there]).tolist(), strict=True))
        for number in rest:
            if (row := rows[unboxed(queries[number].name)]) >= 0:
                named[number] = replace(there[row], id=queries[number].name)
        lost = [image.id for image in named if image.missing]
        if lost and not job.allow_missing:
            raise GroundTruthError(
                f"{len(lost)} of {len(named)} query images are not in {folder}: "
                f"{', '.join(map(escape, lost[:3]))}. Name the right folder with --images DIR"
            )
    if job.query_crop == "none":
        return named
    return [
        image if query.box is None else replace(image, box=tuple(round(edge) for edge in query.box))
        for image, query in zip(named, queries, strict=True)
    ]


def _query_file(query: Query, folder: Path) -> ImageFile:
    from imgret.ground_truth.names import unboxed
    from imgret.images.files import ImageFile

    for name in dict.fromkeys((query.name, unboxed(query.name))):
        path = folder / name
        try:
            status = path.stat()
        except (OSError, ValueError):  # not there, or no name a file can have
            continue
        return ImageFile(query.name, str(path), str(folder), status.st_size, status.st_mtime_ns)
    return ImageFile(query.name, str(folder / query.name), str(folder), -1, 0)
