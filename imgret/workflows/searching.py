"""`search`: ranked images for query images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imgret.errors import InputError
from imgret.extraction.job import Say, quiet
from imgret.places import member_of
from imgret.workflows.queries import (
    Queries,
    QueryOptions,
    describe_queries,
    find_queries,
    stored_queries,
)
from imgret.workflows.searched import Searched, asked_on

if TYPE_CHECKING:
    from imgret.indexes.parts.searcher import Asking
    from imgret.ranking import Ranking
    from imgret.rerank import Step


@dataclass(frozen=True)
class Hit:
    """One result: 1-based rank, id, cosine (or the score of re-ranking), and where the file is (None if unknown)."""

    rank: int
    id: str
    score: float
    path: str | None


@dataclass(frozen=True)
class Answer:
    """The results of one query, or why there are none."""

    query: str
    path: str | None
    hits: list[Hit]
    error: str | None = None


def search(
    path: Path,
    queries: Sequence[str],
    *,
    k: int = 10,
    exactly: bool = False,
    box: tuple[int, int, int, int] | None = None,
    exclude_self: bool = False,
    min_score: float | None = None,
    images: Path | None = None,
    whitening: Path | None = None,
    rerank: Sequence[Step] = (),
    options: QueryOptions | None = None,
    say: Say = quiet,
) -> list[Answer]:
    """Search an index or a store with images (files, folders) or a STORE of query descriptors; best first.

    `exactly` compares every row of an index, whatever its kind; a store is always searched so. `images` says where
    the collection is now. `exclude_self` leaves out the query's own image: the same id, or the same file. Queries
    pass through the index's own whitening, and `whitening` only makes sure that it is this one; a store is whitened
    by it. `rerank` are stages as `imgret.rerank.parse_chain` gives them; scores are then those of the last.
    """
    from imgret.workflows.ranked import rankings

    options = options or QueryOptions()
    with asked_on(options.engine, options.ray_address) as asking:
        searched = _searched(Path(path), whitening, quiet if exactly else say, asking, options.offline)
        asked = _queries(searched, queries, box, options, say).whitened(searched.whitening)
        own = _own_ids(searched, asked, images) if rerank else {}
        answers: dict[str, Answer] = {}
        depth = k + exclude_self
        pending = list(range(len(asked.ids)))
        database = searched.ranked(exactly)
        while pending:
            blocks = rankings(
                database,
                asked.descriptors[pending],
                [own.get(asked.ids[number], asked.ids[number]) for number in pending],
                min(depth, max(database.count, 1)),
                variants=None if asked.variants is None else asked.variants[pending],
                rerank=rerank,
            )
            short = []
            numbers = iter(pending)
            for ranking in blocks:
                path_of = searched.path_of(ranking.database, images)
                for line, number in zip(range(len(ranking.queries)), numbers, strict=False):
                    name, file = asked.ids[number], asked.paths[number]
                    hits, full = _hits(path_of, ranking, line, k, name, file, exclude_self, min_score)
                    answers[name] = Answer(name, file, hits)
                    if not full:
                        short.append(number)
            # what was left out of an answer (the query itself, other crops of its file) makes room for more
            pending = short if exclude_self and depth < database.count else []
            depth *= 4
        return [answers.get(name) or Answer(name, None, [], asked.errors[name]) for name in asked.order]


def _searched(path: Path, whitening: Path | None, say: Say, asking: Asking | None, offline: bool) -> Searched:
    from imgret.indexes.files import Index
    from imgret.remote_path import RemotePath, as_place, check_place
    from imgret.store.store import Store

    if str(path).startswith("milvus:"):
        from imgret.workflows.in_milvus import open_collection

        return open_collection(path, whitening, say)
    where = as_place(path)
    check_place(where, offline)
    if isinstance(where, RemotePath) and asking is None:
        say(f"{where} is a store: all of it is read. Ask oftener: imgret index {where} -o INDEX")
        return Searched.open_store(where, whitening)
    if Index.exists(path) or not Store.exists(path) or asking is not None:
        return Searched.open_index(path, whitening, asking)
    say(f"{path} is a store: every image is compared. An index answers sooner: imgret index {path} -o INDEX")
    return Searched.open_store(path, whitening)


def _hits(
    path_of: Callable[[int], str | None],
    ranking: Ranking,
    line: int,
    k: int,
    query: str,
    query_path: str | None,
    exclude_self: bool,
    min_score: float | None,
) -> tuple[list[Hit], bool]:
    """The hits of one query, and whether no deeper ranking could add to them."""
    hits: list[Hit] = []
    for row, score in ranking.hits(line):
        if len(hits) == k or (min_score is not None and score < min_score):
            return hits, True
        found, path = ranking.database[row], path_of(row)
        if exclude_self and _same_image(query, query_path, found, path):
            continue
        hits.append(Hit(len(hits) + 1, found, score, path))
    return hits, len(hits) == k


def _own_ids(searched: Searched, asked: Queries, images: Path | None) -> dict[str, str]:
    """query -> id of its own image where it is searched by another id: a single file's is its name."""
    from imgret.ground_truth.names import stem
    from imgret.ground_truth.stems import possible

    queries: dict[str, list[tuple[str, str | None]]] = {}
    for name, path in zip(asked.ids, asked.paths, strict=True):
        queries.setdefault(stem(name), []).append((name, path))
    own: dict[str, str] = {}
    ids = searched.table()
    path_of = searched.path_of(ids, images)
    for row, image_id in possible(queries, ids):
        for name, path in queries.get(stem(image_id), ()):
            if _same_image(name, path, image_id, path_of(row)):
                own[name] = image_id
    return own


def _same_image(query: str, query_path: str | None, found: str, path: str | None) -> bool:
    """Whether a result is the query: the same id, or the same file (of an archive, the same member)."""
    if query == found:
        return True
    if not _same_file(query_path, path):
        return False
    return member_of(query) == member_of(found)


def _same_file(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return False
    try:
        return one == other or os.path.samefile(one, other)  # URLs are compared as they are
    except OSError:
        return False


def _queries(
    searched: Searched, given: Sequence[str], box: tuple[int, int, int, int] | None, options: QueryOptions, say: Say
) -> Queries:
    from imgret.images.image_file import is_image
    from imgret.places import is_url
    from imgret.remote_path import as_place, check_place
    from imgret.store.store import Store

    places = [as_place(name) for name in given if not (is_url(name) and is_image(name))]
    for place in places:
        check_place(place, options.offline)
    stores = [place for place in places if Store.exists(place)]
    if stores:
        if len(given) > 1 or box is not None:
            raise InputError("give one store of query descriptors, or images; --box goes with one image")
        return stored_queries(stores[0], searched.recipe, searched.fingerprint, options)
    images, errors = find_queries(given, offline=options.offline)
    if box is not None:
        if len(images) + len(errors) != 1:
            raise InputError(f"--box goes with one query image, {len(images)} are given")
        images = [replace(image, box=box) for image in images]
    crop = "full" if box else "own"
    found = describe_queries(images, crop, searched.recipe, searched.origin, searched.path, searched.dim, options, say)
    return replace(found, errors={**errors, **found.errors}, order=[*(image.id for image in images), *errors])
