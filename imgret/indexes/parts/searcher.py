"""PartSearcher: one part of an INDEX, and `InTurn`: all of them, one after the other, within the memory there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from imgret.errors import IndexFileError
from imgret.ids import IdTable
from imgret.indexes.exact import MANY, exact
from imgret.indexes.files import Index, file_names
from imgret.indexes.parts.merging import Found
from imgret.indexes.scores import cosines, ordered
from imgret.indexes.search import checked_variants, search
from imgret.indexes.tail import whole

# (queries, k, exactly, parameters) -> (number of the part, what it found), every part once, in any order
Ask = Callable[[np.ndarray, int, bool, dict[str, int]], Iterable[tuple[int, Found]]]

FILES = file_names(1)  # a part is written once and never changed


class PartSearcher:
    """A part of an INDEX, which is an INDEX by itself; its FAISS file is opened when it is first searched.

    folder  of the part; everything else is read from there
    ids     id of every row; all rows count
    origin  [N, 3] int32, as in `Index`, with the shards and roots of this part
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).absolute()  # an actor has a working folder of its own

    @cached_property
    def index(self) -> Index:
        """The part as an index. IndexFileError when it is not there or not sound."""
        if not Index.exists(self.folder):
            raise IndexFileError(f"{self.folder} is gone, as when its index was made anew; run the same again")
        return Index.open(self.folder)

    @cached_property
    def ids(self) -> IdTable:
        return IdTable.load(self.folder / FILES["ids"], self.folder / FILES["offsets"])

    @cached_property
    def origin(self) -> np.ndarray:
        return np.load(self.folder / FILES["origin"], mmap_mode="r")

    @cached_property
    def _half(self) -> np.ndarray | None:
        file = self.folder / FILES["vectors"]
        return np.load(file, mmap_mode="r") if file.exists() else None

    def search(
        self, queries: np.ndarray, k: int, *, exactly: bool = False, parameters: dict[str, int] | None = None
    ) -> Found:
        """The k best rows of this part; row numbers are the part's own.

        queries     [Q, D] float32 rows, made unit length here, or [Q, V, D]: V variants of each, of whose scores the
                    highest counts
        exactly     compare with every row, whatever the kind
        parameters  "nprobe" and "candidates"; those that were tuned for the whole INDEX, else

        A query and a row have one score, to the last bit, whichever part the row is in. ValueError as for
        `imgret.indexes.search.search`.
        """
        index = self.index.with_parameters(self.index.parameters if parameters is None else parameters)
        # The best of all parts are few of what each looked at; a part with few of them need not look deeper for more.
        index.serves_all = True
        names = [""] * len(queries)
        if exactly or (index.structure.flat and len(queries) >= MANY):
            blocks = list(exact(index, queries, names, k))
            none = np.zeros((0, min(k, index.count)))
            rows = np.concatenate([none.astype(np.int32), *(block.rows for block in blocks)])
            scores = np.concatenate([none.astype(np.float32), *(block.scores for block in blocks)])
            return Found.of(rows, scores, index.ids)
        found = search(index, queries, names, k)
        rows, scores = found.rows, found.scores
        if index.structure.listed:  # FAISS's own scores, where no two are near each other
            variants = checked_variants(queries, index.dim, names)
            each = [cosines(index, np.ascontiguousarray(variants[:, v]), rows) for v in range(variants.shape[1])]
            rows, scores = ordered(rows, np.max(each, 0), index.ids)
        return Found.of(rows, scores, index.ids)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 [n, D] of the given rows; for lossy kinds from half precision, and FAISS is left closed."""
        return self.index.vectors(rows) if self._half is None else whole(self._half[rows])

    def blocks(self, rows: int = 16384) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All rows in order, some at a time: (row numbers [n], unit float32 descriptors [n, D])."""
        index = self.index if self._half is None else None  # holds what `kept` looks at
        kept = self._half if index is None else index.kept
        assert kept is not None
        for start in range(0, len(kept), rows):
            block = kept[start : start + rows]
            yield np.arange(start, start + len(block)), whole(block)

    def close(self) -> None:
        """Let go of the FAISS index; it is opened again when it is needed."""
        self.__dict__.pop("index", None)


# (all parts, bytes that their FAISS indexes may take) -> what asks every one of them
Asking = Callable[[Sequence[PartSearcher], int], Ask]


class InTurn:
    """Asks one part after the other, in this process. Parts stay open where all of them fit into the memory there is.

    budget  bytes that FAISS indexes may take; files that are mapped are counted as if they were read
    """

    def __init__(self, parts: Sequence[PartSearcher], budget: int) -> None:
        self._parts = parts
        sizes = [(part.folder / FILES["faiss"]).stat().st_size for part in parts]
        self._stay = sum(sizes) <= budget

    def __call__(
        self, queries: np.ndarray, k: int, exactly: bool, parameters: dict[str, int]
    ) -> Iterator[tuple[int, Found]]:
        for number, part in enumerate(self._parts):
            found = part.search(queries, k, exactly=exactly, parameters=parameters)
            if not self._stay:
                part.close()
            yield number, found
