"""Parts: what an INDEX in parts holds, checked; it is asked like an `Index`.

index.json, written last, names the folder of every part below parts/. A part's folder is called after what it was made
of and never changes, so a reader has the old index or the new one, never a mixture.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from imgret.errors import IndexFileError, InputError, WhiteningError
from imgret.ids import unescape
from imgret.indexes.exact import exact
from imgret.indexes.files import INDEX_FILE, Index, load_faiss
from imgret.indexes.kinds import budget_of
from imgret.indexes.parts.merging import Found, merged
from imgret.indexes.parts.searcher import Asking, InTurn, PartSearcher
from imgret.indexes.structure import Structure
from imgret.indexes.tail import JoinedIds
from imgret.ranking import Ranking
from imgret.store.shard import sha256_of
from imgret.store.store import Root, locate_image
from imgret.whitening.transform import Whitening

SCHEMA = "imgret.parts/1"
FOLDER = "parts"
_PLACES = 16_000_000  # of rankings that are held at a time


class Parts:
    """An open INDEX in parts, with what `Index` tells of an undivided one.

    parts       the parts, in order; rows are numbered through all of them, and `starts` [N + 1] is where each begins
    ids         id of every row; all rows count
    count       rows; dim is D, after whitening where it is used
    about       the content of index.json
    parameters  "nprobe" (lists visited in every part) and "candidates" (rows re-scored of every part)
    """

    def __init__(
        self,
        path: Path,
        about: dict[str, Any],
        asking: Asking = InTurn,
    ) -> None:
        """Open what `about` describes. Use `Parts.open` for a folder."""
        self.path = path
        self.about = about
        self.count: int = about["count"]
        self.dim: int = about["dim"]
        self.recipe: dict[str, Any] = about["recipe"]
        self.fingerprint: str = about["fingerprint"]
        self.weights_origin: dict[str, str] = {key: unescape(at) for key, at in about["origin"].items()}
        self.parameters: dict[str, int] = dict(about["parameters"])
        self.deleted = np.zeros(0, np.int64)
        for name, facts in files_of(about).items():
            size = (path / name).stat().st_size
            if size != facts["bytes"]:
                raise IndexFileError(
                    f"{path / name} has {size} bytes, {INDEX_FILE} says {facts['bytes']}; the file is damaged. "
                    f"{_again(path, about)}"
                )
        self.parts = [PartSearcher(path / FOLDER / part["folder"]) for part in about["parts"]]
        self.starts = np.cumsum([0, *(part["count"] for part in about["parts"])])
        if self.count != self.starts[-1]:
            raise IndexFileError(
                f"{path} is damaged: {self.count} images, but {self.starts[-1]} in its parts. {_again(path, about)}"
            )
        self._ask = asking(self.parts, budget_of(about["max_memory"]))

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Whether the folder holds an index in parts, sound or not."""
        try:
            return bool(json.loads((Path(path) / INDEX_FILE).read_bytes()).get("schema") == SCHEMA)
        except (OSError, ValueError, AttributeError):
            return False

    @classmethod
    def open(cls, path: Path, asking: Asking = InTurn) -> Parts:
        """Open a folder: schema, sizes and counts are checked, nothing is hashed, and no part is opened.

        asking  given all parts and a budget in bytes, makes what asks every part of them; an engine has its own

        IndexFileError when it is not a sound index in parts.
        """
        path = Path(path)
        while True:
            about = _read_about(path)
            try:
                return cls(path, about, asking)
            except FileNotFoundError as error:
                if _read_about(path) == about:  # else another build has ended in between
                    raise IndexFileError(f"{error.filename or path} is missing. {_again(path, about)}") from None
            except (KeyError, TypeError, AttributeError, IndexError) as error:
                raise IndexFileError(f"{path / INDEX_FILE} is damaged ({error!r}); make the index again") from error

    def with_parameters(self, parameters: dict[str, int]) -> Parts:
        """The same index searched with other parameters."""
        other = copy.copy(self)
        other.parameters = dict(parameters)
        return other

    @cached_property
    def structure(self) -> Structure:
        """Of the empty index that all parts began with: it tells kind and lists, and holds no row."""
        return Structure(load_faiss(self.path / FOLDER / self.about["trained"]["file"]))

    @cached_property
    def whitening(self) -> Whitening | None:
        """What the descriptors passed through and queries must pass through; None for none."""
        card = self.about["whitening"]
        if card is None:
            return None
        file = self.path / FOLDER / self.about["whitening_file"]["file"]
        found = Whitening.from_bytes(file.read_bytes(), file)
        if found.sha256 != card["sha256"] or found.dim != self.dim:
            raise WhiteningError(f"{file.name} is not the whitening that {INDEX_FILE} names")
        return found

    @property
    def neighbours(self) -> None:
        """There is no graph. InputError, as only what needs one asks for it."""
        raise InputError(
            f"{self.path} is an index in parts, which have no graph of neighbours; make an undivided one with a graph "
            "in a folder of its own: imgret index STORE -o INDEX --graph 50"
        )

    @cached_property
    def ids(self) -> JoinedIds:
        return JoinedIds(*(part.ids for part in self.parts))

    @property
    def live_rows(self) -> np.ndarray:
        """[count] int64, all rows."""
        return np.arange(self.count)

    @property
    def origin(self) -> np.ndarray:
        """[N, 3] int32 for each row, number of its shard in `about`, its row there, number of its root in `about`."""
        shard = root = 0
        found = []
        for part, about in zip(self.parts, self.about["parts"], strict=True):
            found.append(part.origin + np.array([shard, 0, root], np.int32))
            shard, root = shard + about["shards"], root + about["roots"]
        return np.concatenate(found)

    def search(self, queries: np.ndarray, query_ids: Sequence[str], k: int, *, exactly: bool = False) -> Ranking:
        """The k best rows for each query, as `imgret.indexes.search.search` gives them of an undivided index.

        Every part is asked for its k best with the parameters of the whole, and these are merged, so a flat index gives
        the ranking that an undivided one gives. `exactly` compares with every row, whatever the kind.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        best: Found | None = None
        for number, found in self._ask(queries, k, exactly, self.parameters):
            found = found.moved(int(self.starts[number]))
            best = found if best is None else merged([best, found], k)
        assert best is not None
        return Ranking(query_ids, best.rows, best.scores, self.ids)

    def rank(
        self, queries: np.ndarray, query_ids: Sequence[str], depth: int | None, *, exactly: bool = False
    ) -> Iterator[Ranking]:
        """Rankings of some queries each; None is the whole database, which is compared in this process, row by row."""
        if depth is None:
            yield from exact(self, queries, query_ids, None)
            return
        depth = min(depth, self.count)
        step = max(1, _PLACES // depth)
        for start in range(0, len(queries), step):
            some = slice(start, start + step)
            yield self.search(queries[some], query_ids[some], depth, exactly=exactly)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 descriptors [n, D] of the given rows; for lossy kinds from half precision."""
        rows = np.asarray(rows, np.int64)
        found = np.empty((len(rows), self.dim), np.float32)
        where = np.searchsorted(self.starts, rows, "right") - 1
        for number in np.unique(where).tolist():
            here = where == number
            found[here] = self.parts[number].vectors(rows[here] - self.starts[number])
        return found

    def blocks(self, rows: int = 16384) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All rows in order, so many at a time: (row numbers [n], unit float32 descriptors [n, D]).

        Blocks go across the ends of parts: a matrix product has the same last bits only where it has the same shape.
        """
        blocks = (block for part in self.parts for _, block in part.blocks(rows))
        end, held = 0, np.zeros((0, self.dim), np.float32)
        for block in blocks:
            if len(held):
                block = np.concatenate([held, block])
            for start in range(0, len(block) - rows + 1, rows):
                yield np.arange(end, end + rows), block[start : start + rows]
                end += rows
            held = block[len(block) // rows * rows :]
        if len(held):
            yield np.arange(end, end + len(held)), held

    def path_of(self, row: int, images: Path | None = None) -> str | None:
        """Where the image of a row is now, below `images` or its own root; None where there is no such file."""
        number = int(np.searchsorted(self.starts, row, "right")) - 1
        root = int(self.parts[number].origin[row - int(self.starts[number]), 2])
        base = Path(images) if images is not None else self._roots[number][root]
        return locate_image(base, self.ids[row])

    @cached_property
    def _roots(self) -> list[list[Path | str]]:
        """Where the folders of the images of every part are now."""
        roots = [Root(unescape(root["absolute"]), unescape(root["relative"])) for root in self.about["roots"]]
        now = iter([root.locate(self.path) for root in roots])
        return [[next(now) for _ in range(part["roots"])] for part in self.about["parts"]]

    def verify(self) -> list[str]:
        """What is wrong with the files by their full SHA-256, one line each; [] for a sound index."""
        problems = []
        for name, facts in files_of(self.about).items():
            try:
                if sha256_of(self.path / name) != facts["sha256"]:
                    problems.append(f"{name} is damaged: its SHA-256 differs from {INDEX_FILE}")
            except OSError as error:
                problems.append(f"{name} cannot be read: {error.strerror}")
        for part in self.parts:
            try:
                part.index  # noqa: B018
            except IndexFileError as error:
                problems.append(str(error))
            part.close()
        return problems


def open_index(path: Path, asking: Asking = InTurn) -> Index | Parts:
    """An INDEX, undivided or in parts. IndexFileError when it is not a sound one."""
    return Parts.open(path, asking) if Parts.exists(path) else Index.open(path)


def files_of(about: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All files that an index.json of parts names, by path below the INDEX, with their "bytes" and "sha256"."""
    shared = [about["trained"], *([about["whitening_file"]] if about["whitening"] else [])]
    found = {f"{FOLDER}/{facts['file']}": facts for facts in shared}
    for part in about["parts"]:
        found |= {f"{FOLDER}/{part['folder']}/{name}": facts for name, facts in part["files"].items()}
    return found


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((path / INDEX_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IndexFileError(f"{path / INDEX_FILE} cannot be read: {error}; make the index again") from error
    if not isinstance(about, dict) or about.get("schema") != SCHEMA:
        raise IndexFileError(f"{path} is not an index in parts; make one: imgret index STORE -o {path} --parts N")
    return about


def _again(path: Path, about: dict[str, Any]) -> str:
    return (
        f"Remove {path / INDEX_FILE} and make it again, which keeps the parts that are whole: "
        f"imgret index STORE -o {path} --parts {len(about['parts'])}"
    )
