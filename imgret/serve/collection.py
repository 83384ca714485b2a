"""Collection: what is served, by row and by printed id, and where its files are now."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgret.errors import InputError
from imgret.ids import escape, to_bytes, unescape
from imgret.images.image_file import Box, ImageFile
from imgret.images.located import Located
from imgret.places import is_url
from imgret.report.rows import box_of

if TYPE_CHECKING:
    from imgret.workflows.searched import Searched


class Collection:
    """An index or a store, opened once.

    searched  as a search sees it
    images    where the collection is now; None: where it was
    name      of the folder, for people
    ids       of all rows; those that are no longer searched are in it, but are not found
    """

    def __init__(self, searched: Searched, images: Path | None = None) -> None:
        self.searched = searched
        self.images = images
        self.name = escape(_name(searched))
        self.ids = searched.table()
        self.ranked = searched.ranked(exactly=False)
        self.count = self.ranked.count
        self.dim = searched.database.dim
        self._path_of = searched.path_of(self.ids, images)
        self._located = Located()

    @classmethod
    def open(cls, path: Path, images: Path | None = None, whitening: Path | None = None) -> Collection:
        """Open an index, or a store, which is searched exactly; the errors of both.

        InputError for a collection in Milvus, and for a store at a URL, which would be read whole for every search.
        """
        from imgret.indexes.files import Index
        from imgret.remote_path import RemotePath, as_place
        from imgret.store.store import Store
        from imgret.workflows.searched import Searched

        if str(path).startswith("milvus:"):
            raise InputError(
                f"{path} is answered by its own server; imgret serve wants the folder of an index or store"
            )
        where = as_place(path)
        if isinstance(where, RemotePath):
            raise InputError(
                f"{where} would be read whole for every search; make an index here: imgret index {where} -o INDEX"
            )
        is_store = Store.exists(where) and not Index.exists(where)
        found = Searched.open_store(where, whitening) if is_store else Searched.open_index(where, whitening)
        return cls(found, images)

    @cached_property
    def live(self) -> np.ndarray:
        """[count] int64, the rows that are searched, rising."""
        return np.arange(self.count) if self.searched.index is None else self.searched.index.live_rows

    @cached_property
    def _by_id(self) -> np.ndarray:
        """[N] int32, rows in order of their ids."""
        from imgret.indexes.id_order import id_places

        order = np.empty(len(self.ids), np.int32)
        order[id_places(self.ids)] = np.arange(len(self.ids), dtype=np.int32)
        return order

    def prepare(self) -> None:
        """Put the ids in order, so that no request waits for that."""
        self._by_id  # noqa: B018

    def row_of(self, printed: str) -> int | None:
        """The row of an id as it is printed; None for one that is not searched."""
        wanted, order = to_bytes(unescape(printed)), self._by_id
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if self.ids.raw(int(order[middle])) < wanted:
                low = middle + 1
            else:
                high = middle
        for place in range(low, len(order)):
            row = int(order[place])
            if self.ids.raw(row) != wanted:
                return None
            if self.is_live(row):  # a changed image has an old row and a new one
                return row
        return None

    def is_live(self, row: int) -> bool:
        """Whether a row is searched."""
        place = int(np.searchsorted(self.live, row))
        return place < len(self.live) and int(self.live[place]) == row

    def id_of(self, row: int) -> str:
        """The id of a row, as it is printed."""
        return escape(self.ids[row])

    def path_of(self, row: int) -> str | None:
        """Where the file of a row is now; None where there is none."""
        return self._path_of(row)

    def box_of(self, row: int) -> Box | None:
        """The box of a row that is a crop of its file."""
        return box_of(self.ids[row], self._path_of(row))

    def file_of(self, row: int, box: Box | None = None) -> ImageFile | str:
        """The image of a row to decode, or why there is none; `box` is looked at in place of the row's own."""
        path = self._path_of(row)
        if path is None:
            return "file not found"
        if is_url(path):
            return "elsewhere, not fetched for this page"
        image_id = self.ids[row]
        own = box_of(image_id, path)
        image = self._located.file(path, image_id, own)
        if image is None:
            return "not in its archive"
        if box is None:
            return image
        from dataclasses import replace

        return replace(image, box=box)

    def vector(self, row: int) -> np.ndarray | None:
        """[D] the descriptor of a row as queries are, None where the index keeps only mixtures of them (--dba)."""
        if self.searched.index is not None and self.searched.index.about.get("dba"):
            return None
        found: np.ndarray = self.ranked.vectors(np.array([row]))[0]
        return found

    def matching(self, text: str, most: int, after: int = -1) -> list[int]:
        """The first `most` live rows after `after` whose printed id holds a text, in any case, in order of rows."""
        found: list[int] = []
        for row in self._holding(text.strip(), after + 1):
            if self.is_live(row):
                found.append(row)
                if len(found) == most:
                    break
        return found

    def _holding(self, text: str, start: int) -> Iterator[int]:
        """Rows from `start` on whose ids hold a text."""
        wanted = to_bytes(unescape(text)).lower()
        for first, blob, edges in self.ids.blocks():
            begin, count = max(start - first, 0), len(edges) - 1
            if begin >= count:
                continue
            if not wanted:
                yield from range(first + begin, first + count)
                continue
            names, at = blob.tobytes().lower(), int(edges[begin])
            while (at := names.find(wanted, at)) >= 0:
                row = int(np.searchsorted(edges, at, "right")) - 1
                if at + len(wanted) > edges[row + 1]:  # across the end of an id
                    at += 1
                    continue
                yield first + row
                at = int(edges[row + 1])

    def sample(self, most: int, seed: int = 0) -> list[int]:
        """Some rows by chance, the same on every call."""
        if self.count <= most:
            return [int(row) for row in self.live]
        places = np.random.default_rng(seed).choice(self.count, most, replace=False)
        return [int(self.live[place]) for place in places]

    def about(self) -> dict[str, Any]:
        """What `/api/info` says of it."""
        index, recipe = self.searched.index, self.searched.recipe
        weights = recipe["weights"]
        found: dict[str, Any] = {
            "name": self.name,
            "images": self.count,
            "dimension": int(self.dim),
            "kind": "store" if index is None else str(index.about.get("kind", "parts")),
            "model": {
                "name": recipe["model"],
                "backbone": recipe.get("backbone"),
                "weights": weights["source"],
                "trained": weights["source"] != "none",
                "image_size": recipe["image_size"],
                "scales": list(recipe["scales"]),
            },
            "whitened": self.searched.whitening is not None,
            "recall": None,
        }
        if index is not None and isinstance(index.about.get("recall"), dict):
            recall = index.about["recall"]
            found["recall"] = {key: value for key, value in recall.items() if isinstance(value, (int, float))}
        return found

    def stores(self) -> list[Path]:
        """The stores the rows come from that are where they were."""
        from imgret.store.store import Root, Store

        searched = self.searched
        if searched.store is not None:
            return [Path(str(searched.path))]
        assert searched.index is not None
        found = []
        for place in searched.index.about.get("stores", []):
            where = Root(unescape(place["absolute"]), unescape(place["relative"])).locate(searched.index.path)
            if not is_url(str(where)) and Store.exists(Path(where)):
                found.append(Path(where))
        return found


def _name(searched: Searched) -> str:
    """What people call the collection: the folder of its images where there is one, else that of the index."""
    if searched.store is not None:
        roots = {root.absolute for root in searched.store.roots}
    else:
        assert searched.index is not None
        roots = {unescape(root["absolute"]) for root in searched.index.about["roots"]}
    name = Path(next(iter(roots))).name if len(roots) == 1 else ""
    return name or Path(str(searched.path)).resolve().name
