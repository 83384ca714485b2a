"""What is searched: an index or a store, opened, with what both can tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret.errors import IndexFileError
from imgret.workflows.queries import check_whitening

if TYPE_CHECKING:
    import numpy as np

    from imgret.ids import IdTable
    from imgret.indexes.files import Index
    from imgret.indexes.parts.files import Parts
    from imgret.indexes.parts.searcher import Asking
    from imgret.remote_path import Place
    from imgret.store.store import Store
    from imgret.whitening.transform import Whitening
    from imgret.workflows.ranked import IndexSearched, PartsSearched, StoreSearched


@dataclass(frozen=True)
class Searched:
    """An index or a store, with what both can tell."""

    database: Any  # Index | Parts | Store | WhitenedStore
    path: Place
    recipe: dict[str, Any]
    fingerprint: str
    origin: dict[str, Any]
    whitening: Whitening | None
    index: Index | Parts | None
    store: Store | None

    @classmethod
    def open_index(cls, path: Path, whitening: Path | None, asking: Asking | None = None) -> Searched:
        """An index, undivided or in parts; WhiteningError when `whitening` is not its own.

        `asking` asks the parts on an engine; IndexFileError where there are none.
        """
        from imgret.indexes.parts.files import Parts, open_index
        from imgret.indexes.parts.searcher import InTurn

        if asking is not None and not Parts.exists(path):
            raise IndexFileError(
                f"{path} is not an index in parts, which is what an engine searches; leave out --engine, or make one: "
                "imgret index STORE -o FOLDER --parts N"
            )
        index = open_index(path, asking or InTurn)
        check_whitening(index, whitening)
        return cls(index, path, index.recipe, index.fingerprint, index.weights_origin, index.whitening, index, None)

    @classmethod
    def open_store(cls, path: Place, whitening: Path | None) -> Searched:
        """A store, whitened as it is read where a `whitening` is given."""
        from imgret.store.store import Store
        from imgret.whitening.stores import WhitenedStore
        from imgret.whitening.transform import Whitening

        store = Store.open(path)
        path = store.path
        about = (path, store.recipe, store.fingerprint, store.origin)
        if whitening is None:
            return cls(store, *about, None, None, store)
        white = Whitening.load(whitening)
        white.check_recipe(store.recipe, store.fingerprint, store.dim, path)
        return cls(WhitenedStore(store, white), *about, white, None, store)

    def ranked(self, exactly: bool) -> IndexSearched | PartsSearched | StoreSearched:
        """As re-ranking sees it. `exactly` compares with every row, which a store does always."""
        from imgret.indexes.parts.files import Parts
        from imgret.workflows.ranked import IndexSearched, PartsSearched, StoreSearched

        if isinstance(self.index, Parts):
            return PartsSearched(self.index, exactly)
        if self.index is not None:
            return IndexSearched(self.index, exactly)
        assert self.store is not None
        return StoreSearched(self.store, self.whitening)

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

    def table(self) -> IdTable:
        """Ids by row: of an index all that it holds, also those that are no longer searched."""
        from imgret.ids import IdTable

        return IdTable.of(self.ids()) if self.index is None else self.index.ids

    def path_of(self, ids: Sequence[str], images: Path | None) -> Callable[[int], str | None]:
        """What tells where the image of a row is now, below `images` or its own root; `ids` are those of the rows."""
        if self.index is not None:
            return partial(self.index.path_of, images=images)
        from imgret.indexes.store_ids import StoreIds
        from imgret.store.store import locate_image

        assert self.store is not None
        read = ids if isinstance(ids, StoreIds) else StoreIds(self.store)
        roots = [root.locate(self.store.path) for root in self.store.roots]
        return lambda row: locate_image(images or roots[read.root(row)], ids[row])

    def vectors(self, places: np.ndarray) -> np.ndarray:
        """Unit float32 [n, D] of the images with the given places in `ids`."""
        rows = places if self.index is None else self.index.live_rows[places]
        return self.ranked(exactly=True).vectors(rows)


@contextmanager
def asked_on(engine: str, ray_address: str | None) -> Iterator[Asking | None]:
    """What asks the parts of an index on an engine, for as long as it is needed; None for this machine."""
    if engine == "local":
        yield None
        return
    from imgret.engines.cluster import connected
    from imgret.engines.parts import Actors
    from imgret.extraction.threads import cores

    with connected(ray_address, cores()) as cluster:
        yield partial(Actors, cluster)
