"""`search`: ranked images for query images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imgret.errors import InputError
from imgret.extraction.job import Say, quiet
from imgret.workflows.queries import Queries, QueryOptions, describe_queries, stored_queries

if TYPE_CHECKING:
    from imgret.images.files import ImageFile
    from imgret.indexes.files import Index
    from imgret.ranking import Ranking


@dataclass(frozen=True)
class Hit:
    """One result: 1-based rank, id, cosine, and where the file is now (None if unknown)."""

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
    index_path: Path,
    queries: Sequence[str],
    *,
    k: int = 10,
    box: tuple[int, int, int, int] | None = None,
    exclude_self: bool = False,
    min_score: float | None = None,
    images: Path | None = None,
    options: QueryOptions | None = None,
    say: Say = quiet,
) -> list[Answer]:
    """Search an index with images (files, folders) or a STORE of query descriptors; best first.

    `images` says where the collection is now. `exclude_self` leaves out the query's own image: the same
    id, or the same file.
    """
    from imgret.indexes.files import Index
    from imgret.indexes.search import search as search_index

    index = Index.open(Path(index_path))
    asked = _queries(index, queries, box, options or QueryOptions(), say)
    # the query itself may stand in the answer under its id and, elsewhere, under its file's name
    ranking = search_index(index, asked.descriptors, asked.ids, k + 2 * exclude_self)
    answers = {
        name: Answer(name, path, _hits(index, ranking, line, k, path, exclude_self, min_score, images))
        for line, (name, path) in enumerate(zip(asked.ids, asked.paths, strict=True))
    }
    order = dict.fromkeys([*asked.ids, *asked.errors])
    return [answers.get(name) or Answer(name, None, [], asked.errors[name]) for name in order]


def _hits(
    index: Index,
    ranking: Ranking,
    line: int,
    k: int,
    query_path: str | None,
    exclude_self: bool,
    min_score: float | None,
    images: Path | None,
) -> list[Hit]:
    hits: list[Hit] = []
    for row, score in ranking.hits(line):
        if len(hits) == k or (min_score is not None and score < min_score):
            break
        found, path = index.ids[row], index.path_of(row, images)
        if exclude_self and (found == ranking.queries[line] or _same_file(path, query_path)):
            continue
        hits.append(Hit(len(hits) + 1, found, score, path))
    return hits


def _same_file(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return False
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _queries(
    index: Index, given: Sequence[str], box: tuple[int, int, int, int] | None, options: QueryOptions, say: Say
) -> Queries:
    from imgret.store.store import Store

    stores = [name for name in given if Store.exists(Path(name))]
    if not stores:
        crop = "full" if box else "own"
        return describe_queries(
            _query_images(given, box), crop, index.recipe, index.weights_origin, index.path, options, say
        )
    if len(given) > 1 or box is not None:
        raise InputError("give one store of query descriptors, or images; --box goes with one image")
    return stored_queries(Path(stores[0]), index.recipe, index.fingerprint)


def _query_images(given: Sequence[str], box: tuple[int, int, int, int] | None) -> list[ImageFile]:
    """Query images with their ids: a single file's id is its name, a folder's as in extract."""
    from dataclasses import replace

    from imgret.images import files

    images: list[ImageFile] = []
    for name in given:
        if os.path.isfile(name) and not name.lower().endswith(".tar"):
            images += files.find([name], root=Path(os.path.dirname(os.path.abspath(name)))).images
        else:
            images += files.find([name]).images
    if box is not None:
        if len(images) != 1:
            raise InputError(f"--box goes with one query image, {len(images)} are given")
        images = [replace(images[0], box=box)]
    names = [image.id for image in images]
    if len(set(names)) < len(names):  # two files of one name from different folders: say which is which
        images = [replace(image, id=os.path.relpath(image.path).replace(os.sep, "/")) for image in images]
    return images
