"""Index: what an INDEX folder holds, checked and mapped; `writing.py` is how it comes to be.

index.json names the files of one generation. A new generation is written beside the old one and
index.json is renamed over last, so a reader has the old index or the new one, never a mixture.
"""

# faiss ships type stubs that do not know the Python layer it adds to its own classes.
# mypy: disable-error-code="attr-defined,call-arg,arg-type"

from __future__ import annotations

import copy
import functools
import json
import os
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from imgret.errors import IndexFileError, WhiteningError
from imgret.ids import IdTable, unescape
from imgret.indexes.candidates import Candidates
from imgret.indexes.structure import Structure
from imgret.indexes.tail import JoinedIds, Tail, selector_of, whole
from imgret.store.shard import sha256_of
from imgret.store.store import Root, locate_image
from imgret.whitening.transform import Whitening

SCHEMA = "imgret.index/1"
INDEX_FILE = "index.json"


def file_names(generation: int, base: int | None = None) -> dict[str, str]:
    """The files of a generation by role; `base` is the generation whose base it keeps, itself by default.

    "vectors" is there for lossy kinds only, "whitening" where it is used, "neighbours" and "similarities" where
    there is a graph, the last four where rows came after the base.
    """
    base = generation if base is None else base
    return {
        "faiss": f"index-{base}.faiss",
        "ids": f"ids-{base}.bin",
        "offsets": f"ids-{base}.npy",
        "origin": f"origin-{base}.npy",
        "deleted": f"deleted-{generation}.npy",
        "vectors": f"vectors-{base}.npy",
        "whitening": f"whitening-{base}.safetensors",
        "neighbours": f"neighbours-{base}.npy",
        "similarities": f"similarities-{base}.npy",
        "tail": f"tail-{generation}.npy",
        "tail_ids": f"tail-ids-{generation}.bin",
        "tail_offsets": f"tail-ids-{generation}.npy",
        "tail_origin": f"tail-origin-{generation}.npy",
    }


class Index:
    """An open INDEX folder: a base, and perhaps a tail of the rows that came after it was written.

    ids         id of every row, rows left out included
    count       live rows; dim is D, after whitening where it is used
    recipe      what made the descriptors; `fingerprint` is its hash
    about       the content of index.json
    weights_origin  where the model's weights were found
    parameters  "nprobe" (lists visited) and "candidates" (rows re-scored), where the kind has them
    deleted     [n] int64, rows that no longer count, rising
    base_rows   rows of the base, the first ones; the others are those of the `tail`, None where there is none
    serves_all  whether a level of a search serves all rows of the lists it visited (imgret.indexes.search)
    kept        vectors of the base [base_rows, D]: float32, or float16 for a lossy kind
    whitening   what the descriptors passed through and queries must pass through; None for none
    neighbours  the graph: (rows [N, K] int32, their cosines [N, K] float32), the K nearest other rows of every
                row, best first, equal ones in order of their ids; -1 and 0 where there are fewer, as for all
                of a row that no longer counts. None where the index was made without
    """

    serves_all = False

    def __init__(self, path: Path, about: dict[str, Any], *, mapped: bool = True) -> None:
        """Open the generation that `about` describes. Use `Index.open` for a folder."""
        self.path = path
        self.about = about
        self.count: int = about["count"]
        self.dim: int = about["dim"]
        self.recipe: dict[str, Any] = about["recipe"]
        self.fingerprint: str = about["fingerprint"]
        self.weights_origin: dict[str, str] = {key: unescape(at) for key, at in about["origin"].items()}
        self.parameters: dict[str, int] = dict(about["parameters"])
        files = file_names(about["generation"], about.get("base"))  # an index made before there were tails has none
        for name, facts in about["files"].items():
            size = (path / name).stat().st_size
            if size != facts["bytes"]:
                raise IndexFileError(
                    f"{path / name} has {size} bytes, {INDEX_FILE} says {facts['bytes']}; "
                    f"the file is damaged. {_again(path)}"
                )
        try:
            self.ids = IdTable.load(path / files["ids"], path / files["offsets"])
            self._origin = np.load(path / files["origin"], mmap_mode="r")
            self.deleted: np.ndarray = np.load(path / files["deleted"])
            half = np.load(path / files["vectors"], mmap_mode="r") if files["vectors"] in about["files"] else None
            self.whitening = self._whitening(path / files["whitening"])
            self.neighbours: tuple[np.ndarray, np.ndarray] | None = None
            if about.get("graph"):  # an index made before there were graphs does not say
                near, similar = (np.load(path / files[role], mmap_mode="r") for role in ("neighbours", "similarities"))
                self.neighbours = near, similar
            self.faiss = map_faiss(path / files["faiss"]) if mapped else load_faiss(path / files["faiss"])
            self.base_rows = len(self.ids)
            live = np.ones(self.base_rows + about.get("tail", 0), bool)
            live[self.deleted] = False
            self.tail: Tail | None = None
            if about.get("tail"):
                self.tail = Tail(
                    IdTable.load(path / files["tail_ids"], path / files["tail_offsets"]),
                    np.load(path / files["tail_origin"]),
                    np.load(path / files["tail"], mmap_mode="r"),
                    live[self.base_rows :],
                )
        except (ValueError, RuntimeError, EOFError, SyntaxError, tokenize.TokenError, MemoryError) as error:
            # numpy reads headers with the tokenizer, and a damaged one may promise any shape
            reason = str(error).partition("\n")[0]
            raise IndexFileError(f"{path} is damaged ({reason}). {_again(path)}") from error
        except WhiteningError as error:
            raise IndexFileError(f"{path} is damaged ({error}). {_again(path)}") from error
        self.structure = Structure(self.faiss)
        none = np.zeros((0, 0), np.float32)
        found = (part for part in (half, self.structure.matrix, self.structure.half_matrix, none) if part is not None)
        self.kept: np.ndarray = next(found)
        self._check_counts()
        if self.tail is not None:
            self.ids = JoinedIds(self.ids, self.tail.ids)
        self.selector: Any = None
        if not live[: self.base_rows].all():
            self._bits, self.selector = selector_of(live)

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Whether the folder holds an index, sound or not."""
        return (Path(path) / INDEX_FILE).exists()

    @classmethod
    def open(cls, path: Path, *, mapped: bool = True) -> Index:
        """Open a folder: schema, sizes and counts are checked, the files are mapped, nothing is hashed.

        IndexFileError when it is not a sound index. With mapped=False the FAISS index is loaded whole.
        """
        path = Path(path)
        while True:
            about = _read_about(path)
            try:
                return cls(path, about, mapped=mapped)
            except FileNotFoundError as error:
                # A writer may have finished in between and removed the generation we were told of.
                if _read_about(path)["generation"] == about["generation"]:
                    raise IndexFileError(f"{error.filename or path} is missing. {_again(path)}") from None
            except (KeyError, TypeError, AttributeError, IndexError) as error:
                raise IndexFileError(f"{path / INDEX_FILE} is damaged ({error!r}). {_again(path)}") from error

    def _whitening(self, file: Path) -> Whitening | None:
        card = self.about["whitening"]
        if card is None:
            return None
        found = Whitening.from_bytes(file.read_bytes(), file)
        if found.sha256 != card["sha256"] or found.dim != self.dim:
            raise WhiteningError(f"{file.name} is not the whitening that {INDEX_FILE} names")
        return found

    def _check_counts(self) -> None:
        rows, tail = self.base_rows, self.about.get("tail", 0)
        counts = {
            "the FAISS index": (rows, self.structure.rows),
            "origins": (rows, len(self._origin)),
            "vectors": (rows, len(self.kept)),
            "live and deleted rows": (rows + tail, self.count + len(self.deleted)),
        }
        if self.tail is not None:
            counts["the ids of its tail"] = tail, len(self.tail)
            counts["the origins of its tail"] = tail, len(self.tail.origin)
            counts["the vectors of its tail"] = tail, len(self.tail.stored)
        for what, (wanted, found) in counts.items():
            if found != wanted:
                raise IndexFileError(
                    f"{self.path} is damaged: {wanted} ids, but {found} in {what}. {_again(self.path)}"
                )
        late = self.kept if self.tail is None else self.tail.stored
        if not self.faiss.d == self.dim == self.kept.shape[1] == late.shape[1]:
            raise IndexFileError(
                f"{self.path} is damaged: its vectors are not of dimension {self.dim}. {_again(self.path)}"
            )
        for part, kind in zip(self.neighbours or (), (np.int32, np.float32), strict=False):
            if part.shape != (rows, self.about["graph"]) or part.dtype != kind:
                raise IndexFileError(
                    f"{self.path} is damaged: its graph is not {self.about['graph']} neighbours of {rows} rows. "
                    f"{_again(self.path)}"
                )

    def with_parameters(self, parameters: dict[str, int]) -> Index:
        """The same index searched with other parameters."""
        other = copy.copy(self)
        other.parameters = dict(parameters)
        return other

    @property
    def base(self) -> Index:
        """The same index without its tail."""
        if self.tail is None:
            return self
        base = copy.copy(self)
        base.tail = None
        base.count -= self.tail.count
        base.deleted = self.deleted[self.deleted < self.base_rows]
        return base

    @property
    def origin(self) -> np.ndarray:
        """[N, 3] int32: for each row that counts, number of its shard in `about`, its row there, number of its root."""
        return self._origin if self.tail is None else np.concatenate([self._origin, self.tail.origin])

    @functools.cached_property
    def candidates(self) -> Candidates:
        """What the FAISS index proposes, for kinds that do not compare with every row in full precision."""
        return Candidates(self.structure, self.kept)

    @property
    def live_rows(self) -> np.ndarray:
        """[count] int64, rows that count, rising."""
        live = np.ones(len(self.ids), bool)
        live[self.deleted] = False
        return np.flatnonzero(live)

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """What is kept of the given rows, [n, D] float32, or float16 for lossy kinds."""
        if self.tail is None:
            return self.kept[rows]
        found = np.empty((len(rows), self.dim), self.kept.dtype)
        late = rows >= self.base_rows
        found[~late] = self.kept[rows[~late]]
        found[late] = self.tail.stored[rows[late] - self.base_rows]
        return found

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 descriptors [n, D] of the given rows; for lossy kinds from half precision."""
        return whole(self.stored(rows))

    def blocks(self, rows: int = 16384) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All live rows in order, some at a time: (row numbers [n], unit float32 descriptors [n, D])."""
        live = self.live_rows
        for start in range(0, len(live), rows):
            chosen = live[start : start + rows]
            if self.tail is None and chosen[-1] - chosen[0] == len(chosen) - 1:
                yield chosen, whole(self.kept[chosen[0] : chosen[-1] + 1])  # a slice is quicker to copy
            else:
                yield chosen, self.vectors(chosen)

    def path_of(self, row: int, images: Path | None = None) -> str | None:
        """Where the image of a row is now, below `images` or its own root; None where there is no such file.

        A crop box in the id is left out; for a tar member the answer is the archive.
        """
        late = self.tail is not None and row >= self.base_rows
        origin = self.tail.origin[row - self.base_rows] if self.tail is not None and late else self._origin[row]
        base = Path(images) if images is not None else self._roots[int(origin[2])]
        return locate_image(base, self.ids[row])

    @functools.cached_property
    def _roots(self) -> list[Path | str]:
        """Where the folders of the images are now; looked up once, not for each of a million results."""
        roots = [Root(unescape(root["absolute"]), unescape(root["relative"])) for root in self.about["roots"]]
        return [root.locate(self.path) for root in roots]

    def verify(self) -> list[str]:
        """What is wrong with the files by their full SHA-256, one line each; [] for a sound index."""
        problems = []
        for name, facts in self.about["files"].items():
            try:
                if sha256_of(self.path / name) != facts["sha256"]:
                    problems.append(f"{name} is damaged: its SHA-256 differs from {INDEX_FILE}")
            except OSError as error:
                problems.append(f"{name} cannot be read: {error.strerror}")
        return problems


def map_faiss(path: Path) -> Any:
    """A FAISS index mapped from its file, so opening costs nothing and processes share the memory.

    FAISS cannot open every file name, so Python opens the file and FAISS is given the descriptor's
    name. IO_FLAG_MMAP_IFC maps every kind; IO_FLAG_MMAP would silently load most of them whole.
    """
    if os.name != "posix" or not Path("/dev/fd").is_dir():
        return load_faiss(path)
    with open(path, "rb") as file:
        return faiss.read_index(f"/dev/fd/{file.fileno()}", faiss.IO_FLAG_MMAP_IFC)


def load_faiss(path: Path) -> Any:
    """A FAISS index read into memory, where it can be added to."""
    with open(path, "rb") as file:
        return faiss.read_index(faiss.PyCallbackIOReader(file.read))


def _read_about(path: Path) -> dict[str, Any]:
    file = path / INDEX_FILE
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (path / "store.json").exists():
            raise IndexFileError(f"{path} is a store; make an index of it: imgret index {path} -o INDEX") from None
        raise IndexFileError(
            f"{path} is not an index: it has no {INDEX_FILE}. Make one: imgret index STORE -o {path}"
        ) from None
    except (OSError, ValueError) as error:
        raise IndexFileError(f"{file} cannot be read: {error}. {_again(path)}") from error
    found = about.get("schema") if isinstance(about, dict) else None
    if found == "imgret.parts/1":
        raise IndexFileError(
            f"{path} is an index in parts, which only index, search, eval and info know; give the undivided index a "
            "folder of its own, or say --parts N"
        )
    if found != SCHEMA:
        raise IndexFileError(
            f"{file} has schema {found!r}, this imgret reads {SCHEMA!r}. "
            "Use the imgret that wrote it, or remove the folder and index anew"
        )
    return about


def _again(path: Path) -> str:
    return f"Remove the folder and make it again: imgret index STORE -o {path}"
