"""`evaluate`: scores of a search against a ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret.errors import GroundTruthError, InputError
from imgret.extraction.job import Say, quiet
from imgret.ids import escape, from_bytes
from imgret.workflows.queries import Queries, QueryOptions, check_whitening, describe_queries, stored_queries

if TYPE_CHECKING:
    import numpy as np

    from imgret.evaluation.scores import Scores
    from imgret.ground_truth.judgements import GroundTruth, Query
    from imgret.images.files import ImageFile
    from imgret.indexes.files import Index
    from imgret.ranking import Ranking
    from imgret.store.store import Store
    from imgret.whitening.transform import Whitening


@dataclass(frozen=True)
class EvalJob:
    """One evaluation: what is searched (an index, a store or a ready ranking) and with which queries.

    images       what the names in the ground truth are relative to; queries are extracted from there.
                 Without it, and without `queries`, whole-image queries take their descriptor from what is
                 searched, which must then hold them
    queries      a store of ready query descriptors
    whitening    what a store and its queries pass through; with an index, its own is used, and this must be it
    query_crop   'gt': crop queries to the ground truth's boxes; 'none': use whole images
    depth        None ranks the whole database exactly; a number takes that many places of the search
    """

    ground_truth: Path
    index: Path | None = None
    store: Path | None = None
    ranking: Path | None = None
    images: Path | None = None
    queries: Path | None = None
    whitening: Path | None = None
    format: str = "auto"
    query_crop: str = "gt"
    depth: int | None = None
    allow_missing: bool = False
    options: QueryOptions = field(default_factory=QueryOptions)


_RECIPE_KEYS = ("model", "backbone", "image_size", "scales", "exif", "decode", "precision", "store_dtype")
_SEARCH_KEYS = ("weights", "weights_sha256", "search", "index_recall", "whitening", "recipe_sha256", "store_sha256")


def evaluate(job: EvalJob, *, say: Say = quiet) -> tuple[Scores, dict[str, Any]]:
    """Score a search: (scores, protocol), the protocol for the card and the JSON document."""
    from imgret import ground_truth, ranking
    from imgret.evaluation.evaluate import evaluate as judge

    if sum(given is not None for given in (job.index, job.store, job.ranking)) != 1:
        raise InputError("give one of --index, --store and --ranking")
    truth = ground_truth.load(job.ground_truth, job.format)
    if job.ranking is not None:
        ready = ranking.load(job.ranking)
        scores = judge(truth, [ready], allow_missing=job.allow_missing, depth=job.depth, whole_database=False)
        unknown = dict.fromkeys(_RECIPE_KEYS + _SEARCH_KEYS)
        return scores, {"query_crop": "unknown", **unknown, "search": "unknown", "ranking": str(job.ranking)}
    searched = _Searched.open(job)
    queries, crop = _queries(job, truth, searched, say)
    rankings = _rankings(job, searched, queries)
    scores = judge(truth, rankings, allow_missing=job.allow_missing, depth=job.depth)
    return scores, {"query_crop": crop, **_recipe_card(searched.recipe), **_search_card(job, searched, queries.ids)}


@dataclass(frozen=True)
class _Searched:
    """An index or a store, with what both can tell."""

    database: Any  # Index | Store | WhitenedStore
    path: Path
    recipe: dict[str, Any]
    fingerprint: str
    origin: dict[str, Any]
    whitening: Whitening | None
    index: Index | None
    store: Store | None

    @classmethod
    def open(cls, job: EvalJob) -> _Searched:
        if job.index is not None:
            from imgret.indexes.files import Index

            index = Index.open(job.index)
            check_whitening(index, job.whitening)
            about = (job.index, index.recipe, index.fingerprint, index.weights_origin)
            return cls(index, *about, index.whitening, index, None)
        from imgret.store.store import Store
        from imgret.whitening.stores import WhitenedStore
        from imgret.whitening.transform import Whitening

        assert job.store is not None
        store = Store.open(job.store)
        about = (job.store, store.recipe, store.fingerprint, store.origin)
        if job.whitening is None:
            return cls(store, *about, None, None, store)
        whitening = Whitening.load(job.whitening)
        whitening.check_recipe(store.recipe, store.fingerprint, store.dim, job.store)
        return cls(WhitenedStore(store, whitening), *about, whitening, None, store)

    @property
    def dim(self) -> int:
        """D of the descriptors as extracted."""
        return int(self.database.dim if self.whitening is None else self.whitening.dim_in)

    def content_sha256(self) -> str:
        """One hash of the rows that are searched, the same for stores and for an index over them."""
        import numpy as np

        from imgret.store.store import content_sha256

        if self.store is not None:
            return self.store.content_sha256
        assert self.index is not None
        origin = np.asarray(self.index.origin)[self.index.live_rows]
        shards = enumerate(self.index.about["shards"])
        return content_sha256({sha: origin[origin[:, 0] == number, 1] for number, sha in shards})

    def ids(self) -> Iterator[bytes]:
        """Ids of everything that is searched."""
        if self.store is not None:
            return self.store.ids()
        assert self.index is not None
        return map(self.index.ids.raw, self.index.live_rows.tolist())

    def blocks(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """Ids and unit descriptors of everything that is searched, some rows at a time."""
        if self.index is not None:
            for rows, descriptors in self.index.blocks():
                yield [self.index.ids[row] for row in rows.tolist()], descriptors
        else:
            for block in self.database.blocks():
                yield [from_bytes(raw) for raw in block.ids], block.descriptors


def _rankings(job: EvalJob, searched: _Searched, queries: Queries) -> Iterator[Ranking]:
    index = searched.index
    if index is not None and job.depth is not None:
        from imgret.indexes.search import search

        found = iter([search(index, queries.descriptors, queries.ids, job.depth + 1)])
    else:
        from imgret.indexes.exact import exact

        found = exact(searched.database, queries.descriptors, queries.ids, depth=job.depth and job.depth + 1)
    if index is None or not len(index.deleted):
        return found
    return _without_deleted(index, found)


def _without_deleted(index: Index, rankings: Iterator[Ranking]) -> Iterator[Ranking]:
    """Rankings whose database is the live images alone: a removed image must count as missing."""
    import numpy as np

    from imgret.ids import IdTable
    from imgret.ranking import Ranking

    live = index.live_rows
    ids = IdTable.of(index.ids.raw(row) for row in live.tolist())
    place = np.full(len(index.ids) + 1, -1, np.int32)  # the last entry answers row -1
    place[live] = np.arange(len(live))
    for ranking in rankings:
        yield Ranking(ranking.queries, place[ranking.rows], ranking.scores, ids)


def _queries(job: EvalJob, truth: GroundTruth, searched: _Searched, say: Say) -> tuple[Queries, str]:
    """Query descriptors, and how the queries were cropped."""
    boxed = job.query_crop == "gt" and any(query.box for query in truth.queries)
    crop = "ground-truth box, at the scale of the whole image" if boxed else "none"
    if job.queries is not None:
        ready = stored_queries(job.queries, searched.recipe, searched.fingerprint)
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


def _own_descriptors(job: EvalJob, truth: GroundTruth, searched: _Searched, boxed: bool) -> Queries:
    """Whole-image queries that are searched images themselves have their descriptor there already."""
    import numpy as np

    from imgret.ground_truth.names import match

    names = [query.name for query in truth.queries]
    say_where = "say what their names are relative to with --images DIR, or give ready descriptors with --queries STORE"
    if boxed:
        raise GroundTruthError(f"{job.ground_truth}: its queries are cropped, so they must be extracted: {say_where}")
    place_of = match(names, [name for ids, _ in searched.blocks() for name in ids])
    lost = np.flatnonzero(place_of < 0)
    if len(lost) == len(names) or (len(lost) and not job.allow_missing):
        raise GroundTruthError(
            f"{job.ground_truth}: {len(lost)} of its {len(names)} queries are not among the images searched "
            f"({escape(names[lost[0]])}, ...): {say_where}, or count them as never found with --allow-missing"
        )
    wanted = np.unique(place_of[place_of >= 0])
    kept, end = [], 0
    for ids, descriptors in searched.blocks():
        here = wanted[(wanted >= end) & (wanted < end + len(ids))] - end
        kept.append(descriptors[here])
        end += len(ids)
    rows = np.concatenate(kept)[np.searchsorted(wanted, place_of[place_of >= 0])]
    found = [name for name, place in zip(names, place_of.tolist(), strict=True) if place >= 0]
    return Queries(found, [None] * len(found), rows)


def _query_images(job: EvalJob, queries: Any, folder: Path) -> list[ImageFile]:
    """The query files: by path below `folder`, else by stem among the images there."""
    from imgret.ground_truth.names import match
    from imgret.images import files

    named = [_query_file(query, folder) for query in queries]
    rest = [number for number, image in enumerate(named) if image.missing]
    if rest:
        there = files.find([str(folder)]).images
        rows = match([queries[number].name for number in rest], [image.id for image in there])
        for number, row in zip(rest, rows.tolist(), strict=True):
            if row >= 0:
                named[number] = replace(there[row], id=queries[number].name)
        lost = [image.id for image in named if image.missing]
        if lost and not job.allow_missing:
            raise GroundTruthError(
                f"{len(lost)} of {len(named)} query images are not in {folder}: "
                f"{', '.join(lost[:3])}. Name the right folder with --images DIR"
            )
    if job.query_crop == "none":
        return named
    return [
        image if query.box is None else replace(image, box=tuple(round(edge) for edge in query.box))
        for image, query in zip(named, queries, strict=True)
    ]


def _query_file(query: Query, folder: Path) -> ImageFile:
    from imgret.images.files import ImageFile

    path = folder / query.name
    try:
        status = path.stat()
    except (OSError, ValueError):  # not there, or no name a file can have
        return ImageFile(query.name, str(path), str(folder), -1, 0)
    return ImageFile(query.name, str(path), str(folder), status.st_size, status.st_mtime_ns)


def _recipe_card(recipe: Mapping[str, Any]) -> dict[str, Any]:
    weights = recipe["weights"]
    return {
        **{key: recipe[key] for key in _RECIPE_KEYS},
        "weights": weights["source"],
        "weights_sha256": weights["sha256"],
        "untrained": weights["source"] == "none",
    }


def _search_card(job: EvalJob, searched: _Searched, queries: Sequence[str]) -> dict[str, Any]:
    index = searched.index
    whole = job.depth is None or index is None
    about = index.about if index is not None else {}
    return {
        "search": "exact" if whole else about["kind"],
        "index_recall": None if whole else (about["recall"] or {}).get("recall@10"),
        "whitening": _whitening_card(searched, queries),
        "recipe_sha256": searched.fingerprint,
        "store_sha256": searched.content_sha256(),
    }


def _whitening_card(searched: _Searched, queries: Sequence[str]) -> dict[str, Any] | None:
    """The whitening, and how many of the images searched and asked for it was fitted on."""
    from imgret.ids import to_bytes
    from imgret.whitening.overlap import shared

    if searched.whitening is None:
        return None
    card = searched.whitening.card()
    images = shared(searched.whitening.ids, {*searched.ids(), *map(to_bytes, queries)})
    same = card["store_sha256"] == searched.content_sha256()
    return {**card, "shared_images": images, "fitted_on_scored_set": same or images > 0}
