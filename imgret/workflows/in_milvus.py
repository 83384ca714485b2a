"""What is searched where it is a collection in Milvus."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret.errors import InputError, ServerError
from imgret.extraction.job import Say

if TYPE_CHECKING:
    from imgret.ids import IdTable
    from imgret.milvus.ranked import RankedCollection


@dataclass(frozen=True)
class SearchedCollection:
    """A collection, with what `imgret.workflows.searched.Searched` tells of an index or a store."""

    ranking: RankedCollection
    path: Path
    recipe: dict[str, Any]
    fingerprint: str
    origin: dict[str, Any]
    dim: int
    whitening: None = None

    def ranked(self, exactly: bool) -> RankedCollection:
        """As a ranking is made from it. InputError for `exactly` where its index is not exact."""
        collection = self.ranking.collection
        if exactly and collection.index != "FLAT":
            raise InputError(
                f"{collection} has the index {collection.index}, which finds nearly all; an exact one is made with: "
                f"imgret push STORE --to milvus --uri {collection.server.place} --index FLAT --collection ANOTHER"
            )
        return self.ranking

    def table(self) -> IdTable:
        """What re-ranking wants, and a server has not at hand: InputError."""
        raise InputError(f"{self.path}: --rerank works on an index or a store, not in Milvus; leave it out")

    def path_of(self, ids: Sequence[str], images: Path | None) -> Callable[[int], str | None]:
        """What tells where the image of a row is now, below `images` or where it was extracted from."""
        from imgret.store.store import locate_image

        roots = self.ranking.roots
        return lambda row: locate_image(images or roots[row], ids[row])


def open_collection(named: Path, whitening: Path | None, say: Say) -> Any:
    """The collection that 'milvus:URI' or 'milvus:URI#collection' names: what is searched, as `Searched` is.

    Without a name it is the only one that push has made there; ServerError where there is none, or several.
    """
    from imgret.milvus.collection import Collection, ours
    from imgret.milvus.place import Place
    from imgret.milvus.ranked import RankedCollection
    from imgret.milvus.server import Server

    if whitening is not None:
        raise InputError(f"{named} holds descriptors as they were extracted; leave out --whitening")
    place = Place.named(named)
    server = Server.connect(place)
    try:
        name = place.collection or _only(ours(server), place)
        found = Collection.open(server, name)
        if found is None:
            have = ", ".join(ours(server)) or "none"
            raise ServerError(f"{place} has no collection {name}; those that imgret push made: {have}")
        ranking = RankedCollection(found, say)
        if found.pushed != ranking.count:
            ended = "no push has ended well" if found.pushed is None else f"the last push left {found.pushed:,}"
            say(f"{found} holds {ranking.count:,} images, {ended}: run imgret push again to make sure of it")
    except BaseException:
        server.close()
        raise
    searched = SearchedCollection(ranking, named, found.recipe, found.fingerprint, found.origin, found.dim)
    weakref.finalize(searched, server.close)
    return searched


def _only(names: Sequence[str], place: object) -> str:
    if len(names) == 1:
        return names[0]
    if not names:
        raise ServerError(
            f"{place} has no collection of imgret's; make one: imgret push STORE --to milvus --uri {place}"
        )
    raise ServerError(f"{place} has several collections ({', '.join(names)}); name one: milvus:{place}#{names[0]}")
