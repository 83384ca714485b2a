"""`evaluate`: scores of a search against a ground truth."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret.errors import GroundTruthError, InputError, RankingError
from imgret.extraction.job import Say, quiet
from imgret.ids import escape
from imgret.remote_path import as_place, check_place
from imgret.workflows.asking import queries_of
from imgret.workflows.queries import Queries, QueryOptions
from imgret.workflows.reconciling import asked_variants, with_intervals, with_other_crop
from imgret.workflows.searched import Searched, asked_on

if TYPE_CHECKING:
    from imgret.evaluation.scores import Scores
    from imgret.ground_truth.judgements import GroundTruth
    from imgret.indexes.files import Index
    from imgret.indexes.parts.files import Parts
    from imgret.indexes.parts.searcher import Asking
    from imgret.ranking import Ranking
    from imgret.rerank import Step


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
    rerank       stages that order each ranking anew, as `imgret.rerank.parse_chain` gives them
    reconcile    score the same rankings under every known variant of the protocol too
    published    a figure to look for among all combinations of variants, a fraction
    show         hits to keep of every query for a report
    options      how queries are described: `scales` and `robust` are of the queries alone
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
    ranking_format: str = "auto"
    rerank: Sequence[Step] = ()
    reconcile: bool = False
    published: float | None = None
    show: int = 0
    options: QueryOptions = field(default_factory=QueryOptions)


_RECIPE_KEYS = ("model", "backbone", "image_size", "scales", "exif", "decode", "precision", "store_dtype")
_SOMETIMES = ("refine", "scale_pooling")  # in a recipe only where used
_ROBUST = {
    False: "upright, turned and mirrored; the highest score of the 8 counts",
    True: "of upright, turned and mirrored the one whose best image, its own left out, scores highest",
}
_SEARCH_KEYS = ("weights", "weights_sha256", "search", "index_recall", "whitening", "recipe_sha256", "store_sha256")


def evaluate(job: EvalJob, *, say: Say = quiet) -> tuple[Scores, dict[str, Any]]:
    """Score a search: (scores, protocol), the protocol for the card and the JSON document."""
    from imgret import ground_truth, ranking_files

    if sum(given is not None for given in (job.index, job.store, job.ranking)) != 1:
        raise InputError("give one of --index, --store and --ranking")
    if job.options.engine != "local" and job.depth is None:
        raise InputError(
            f"--engine {job.options.engine} asks the parts for their best: add --depth N, or leave out --engine, as "
            "this process ranks a whole database"
        )
    truth = ground_truth.load(job.ground_truth, job.format)
    ways: dict[str, Any] = {"depth": job.depth, "allow_missing": job.allow_missing, "show": job.show}
    ways["variants"] = asked_variants(truth.rules, job)
    boxed = any(query.box for query in truth.queries)
    if ways["variants"] and boxed and job.images is None:
        say("Whether queries are cropped is not reconciled: that needs their images, with --images DIR")
    if job.ranking is not None:
        ready = ranking_files.load(job.ranking, job.ranking_format)
        scores = _judged(job, truth, [ready], whole_database=False, **ways)
        return with_intervals(scores), _ready_card(job.ranking)
    if "gap" in truth.rules.measures:
        raise InputError(
            f"{job.ground_truth}: landmarks answer its queries, not images, so it judges a result file of "
            f"id,landmarks: imgret eval {job.ground_truth} --ranking FILE.csv"
        )
    with asked_on(job.options.engine, job.options.ray_address) as asking:
        searched = _searched(job, asking)
        queries, crop = queries_of(job, truth, searched, say)
        scores = _judged(job, truth, _rankings(job, searched, queries), **ways)
        if scores.variants and job.images is not None and boxed:
            other = replace(job, query_crop="none" if job.query_crop == "gt" else "gt")
            say(f"Scoring once more with --query-crop {other.query_crop}")
            again, _ = queries_of(other, truth, searched, say)
            rescored = _judged(other, truth, _rankings(other, searched, again), **ways)
            scores = with_other_crop(scores, rescored, other.query_crop)
        protocol = {"query_crop": crop, **_recipe_card(searched.recipe), **_search_card(job, searched, queries.ids)}
        return with_intervals(scores), protocol


def _judged(job: EvalJob, truth: GroundTruth, rankings: Iterable[Ranking], **ways: Any) -> Scores:
    """Scores of rankings; what is wrong with them, or with the ground truth, is told with the name of the file."""
    from imgret.evaluation.evaluate import evaluate as judge

    try:
        scores = judge(truth, rankings, **ways)
        if not any(means["queries"] or means.get("pairs") for means in scores.subsets.values()):
            raise GroundTruthError("no query has a positive image, so there is nothing to score")
        return scores
    except GroundTruthError as error:
        raise GroundTruthError(f"{job.ground_truth}: {error}") from error
    except RankingError as error:
        raise RankingError(f"{job.ranking or job.index or job.store}: {error}") from error


def _ready_card(ranking: Path) -> dict[str, Any]:
    """The protocol of a ranking that was made elsewhere: its hash, and nothing else that is known."""
    unknown = dict.fromkeys(_RECIPE_KEYS + _SEARCH_KEYS)
    sha256 = hashlib.sha256(ranking.read_bytes()).hexdigest() if ranking.is_file() else None  # a pipe is read once
    return {
        "query_crop": "unknown",
        **unknown,
        "search": "unknown",
        "ranking": escape(str(ranking)),
        "ranking_sha256": sha256,
    }


def _searched(job: EvalJob, asking: Asking | None) -> Searched:
    if job.index is not None:
        return Searched.open_index(job.index, job.whitening, asking)
    assert job.store is not None
    if asking is not None:
        raise InputError("--engine ray searches an index in parts; give --index INDEX, or leave out --engine")
    store = as_place(job.store)
    check_place(store, job.options.offline)
    return Searched.open_store(store, job.whitening)


def _rankings(job: EvalJob, searched: Searched, queries: Queries) -> Iterator[Ranking]:
    from imgret.workflows.ranked import rankings

    found = rankings(
        searched.ranked(exactly=job.depth is None),
        queries.descriptors,
        queries.ids if not job.rerank else _own_ids(searched, queries.ids),
        job.depth and job.depth + 1,
        variants=queries.variants,
        rerank=job.rerank,
    )
    if job.rerank:
        found = _renamed(found, queries.ids)
    if searched.index is None:
        return found if job.depth is None else _named(searched, found)
    return _without_deleted(searched.index, found) if len(searched.index.deleted) else found


def _own_ids(searched: Searched, names: Sequence[str]) -> list[str]:
    """The ids of the queries' own images where they are searched, by which query expansion leaves them out."""
    from imgret.ground_truth.names import ByStem, stem, unboxed
    from imgret.ground_truth.stems import possible
    from imgret.ids import IdTable

    ids, by_stem = IdTable.of(searched.ids()), ByStem()
    known: set[str] = set()
    for row, image_id in possible(map(stem, names), ids):
        known.add(image_id)
        by_stem.add(stem(image_id), row, image_id)
    own = []
    for name in names:
        same = [] if {name, unboxed(name)} & known else by_stem.rows(stem(name), name)
        own.append(ids[same[0]] if len(same) == 1 else name)
    return own


def _renamed(rankings: Iterator[Ranking], names: Sequence[str]) -> Iterator[Ranking]:
    """Rankings of some queries each, their queries called by `names` in their order."""
    end = 0
    for ranking in rankings:
        start, end = end, end + len(ranking.queries)
        yield replace(ranking, queries=names[start:end])


def _named(searched: Searched, rankings: Iterator[Ranking]) -> Iterator[Ranking]:
    """Rankings with a table of all ids in place of one that reads those asked for: a ground truth asks for all."""
    from imgret.ids import IdTable

    ids = IdTable.of(searched.ids())
    return (replace(ranking, database=ids) for ranking in rankings)


def _without_deleted(index: Index | Parts, rankings: Iterator[Ranking]) -> Iterator[Ranking]:
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


def _recipe_card(recipe: Mapping[str, Any]) -> dict[str, Any]:
    weights = recipe["weights"]
    return {
        **{key: recipe[key] for key in _RECIPE_KEYS},
        **{key: recipe[key] for key in _SOMETIMES if key in recipe},
        "weights": weights["source"],
        "weights_sha256": weights["sha256"],
        "untrained": weights["source"] == "none",
    }


def _search_card(job: EvalJob, searched: Searched, queries: Sequence[str]) -> dict[str, Any]:
    index = searched.index
    whole = job.depth is None or index is None
    about = index.about if index is not None else {}
    from imgret.rerank import chain_text

    options = job.options
    return {
        **({"query_scales": list(options.scales)} if options.scales is not None else {}),
        **({"queries": _ROBUST[bool(job.rerank)]} if options.robust else {}),
        **({"dba": about["dba"]} if about.get("dba") else {}),
        **({"rerank": chain_text(job.rerank)} if job.rerank else {}),
        "search": "exact" if whole else about["kind"],
        "index_recall": None if whole else (about["recall"] or {}).get("recall@10"),
        "whitening": _whitening_card(searched, queries),
        "recipe_sha256": searched.fingerprint,
        "store_sha256": searched.content_sha256(),
    }


def _whitening_card(searched: Searched, queries: Sequence[str]) -> dict[str, Any] | None:
    """The whitening, and how many of the images searched and asked for it was fitted on."""
    from imgret.ids import to_bytes
    from imgret.whitening.overlap import shared

    if searched.whitening is None:
        return None
    card = searched.whitening.card()
    images = shared(searched.whitening.ids, {*searched.ids(), *map(to_bytes, queries)})
    same = card["store_sha256"] == searched.content_sha256()
    return {**card, "shared_images": images, "fitted_on_scored_set": same or images > 0}
