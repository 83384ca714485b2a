"""Index: what an INDEX folder holds, checked and mapped; `writing.py` is how it comes to be.

index.json names the files of one generation. A new generation is written beside the old one and
index.json is renamed over last, so a reader has the old index or the new one, never a mixture.
"""

# faiss ships type stubs that do not know the Python layer it adds to its own classes.
# mypy: disable-error-code="attr-defined,call-arg,arg-type"

from __future__ import annotations

import copy
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
from imgret.indexes.structure import Structure
from imgret.store.shard import sha256_of
from imgret.store.store import Root, locate_image, unit
from imgret.whitening.transform import Whitening

SCHEMA = "imgret.index/1"
INDEX_FILE = "index.json"


def file_names(generation: int) -> dict[str, str]:
    """The files of a generation by role.

    "vectors" is there for lossy kinds only, "whitening" where it is used, the last two where there is a graph.
    """
    return {
        "faiss": f"index-{generation}.faiss",
        "ids": f"ids-{generation}.bin",
        "offsets": f"ids-{generation}.npy",
        "origin": f"origin-{generation}.npy",
        "deleted": f"deleted-{generation}.npy",
        "vectors": f"vectors-{generation}.npy",
        "whitening": f"whitening-{generation}.safetensors",
        "neighbours": f"neighbours-{generation}.npy",
        "similarities": f"similarities-{generation}.npy",
    }


class Index:
    """An open INDEX folder.

    ids         id of every row, rows left out included
    count       live rows; dim is D, after whitening where it is used
    recipe      what made the descriptors; `fingerprint` is its hash
    about       the content of index.json
    weights_origin  where the model's weights were found
    parameters  "nprobe" (lists visited) and "candidates" (rows re-scored), where the kind has them
    deleted     [n] int64, rows that no longer count, rising
    origin      [N, 3] int32 per row: number of its shard and root in `about`, its row in the shard between
                them; -1 for rows that no longer count
    half        [N, D] float16 vectors of a lossy kind, else None
    whitening   what the descriptors passed through and queries must pass through; None for none
    neighbours  the graph: (rows [N, K] int32, their cosines [N, K] float32), the K nearest other rows of every
                row, best first, equal ones in order of their ids; -1 and 0 where there are fewer, as for all
                of a row that no longer counts. None where the index was made without
    """

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
        files = file_names(about["generation"])
        for name, facts in about["files"].items():
            size = (path / name).stat().st_size
            if size != facts["bytes"]:
                raise IndexFileError(
                    f"{path / name} has {size} bytes, {INDEX_FILE} says {facts['bytes']}; "
                    f"the file is damaged. {_again(path)}"
                )
        try:
            self.ids = IdTable.load(path / files["ids"], path / files["offsets"])
            self.origin = np.load(path / files["origin"], mmap_mode="r")
            self.deleted: np.ndarray = np.load(path / files["deleted"])
            self.half = np.load(path / files["vectors"], mmap_mode="r") if files["vectors"] in about["files"] else None
            self.whitening = self._whitening(path / files["whitening"])
            self.neighbours: tuple[np.ndarray, np.ndarray] | None = None
            if about.get("graph"):  # an index made before there were graphs does not say
                near, similar = (np.load(path / files[role], mmap_mode="r") for role in ("neighbours", "similarities"))
                self.neighbours = near, similar
            self.faiss = map_faiss(path / files["faiss"]) if mapped else load_faiss(path / files["faiss"])
        except (ValueError, RuntimeError, EOFError, SyntaxError, tokenize.TokenError, MemoryError) as error:
            # numpy reads headers with the tokenizer, and a damaged one may promise any shape
            reason = str(error).partition("\n")[0]
            raise IndexFileError(f"{path} is damaged ({reason}). {_again(path)}") from error
        except WhiteningError as error:
            raise IndexFileError(f"{path} is damaged ({error}). {_again(path)}") from error
        self.structure = Structure(self.faiss)
        self._check_counts()
        self.selector: Any = None
        if len(self.deleted):
            live = np.ones(len(self.ids), bool)
            live[self.deleted] = False
            self._live = np.packbits(live, bitorder="little")  # FAISS keeps a pointer to it
            self.selector = faiss.IDSelectorBitmap(self._live)

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
        rows = len(self.ids)
        counts = {
            "the FAISS index": self.structure.rows,
            "origins": len(self.origin),
            "live and deleted rows": self.count + len(self.deleted),
        }
        if self.half is not None:
            counts["half-precision vectors"] = len(self.half)
        for what, found in counts.items():
            if found != rows:
                raise IndexFileError(f"{self.path} is damaged: {rows} ids, but {found} in {what}. {_again(self.path)}")
        if self.faiss.d != self.dim or (self.half is None and self.structure.matrix is None):
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
    def live_rows(self) -> np.ndarray:
        """[count] int64, rows that count, rising."""
        return np.setdiff1d(np.arange(len(self.ids)), self.deleted, assume_unique=True)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 descriptors [n, D] of the given rows; for lossy kinds from half precision."""
        if self.half is None:
            assert self.structure.matrix is not None  # checked when the index was opened
            return self.structure.matrix[rows]
        return unit(self.half[rows])

    def blocks(self, rows: int = 16384) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All live rows in order, some at a time: (row numbers [n], unit float32 descriptors [n, D])."""
        live = self.live_rows
        for start in range(0, len(live), rows):
            chosen = live[start : start + rows]
            yield chosen, self.vectors(chosen)

    def path_of(self, row: int, images: Path | None = None) -> str | None:
        """Where the image of a row is now, below `images` or its own root; None where there is no such file.

        A crop box in the id is left out; for a tar member the answer is the archive.
        """
        base = Path(images) if images is not None else self._root(int(self.origin[row, 2]))
        return locate_image(base, self.ids[row])

    def _root(self, number: int) -> Path:
        root = self.about["roots"][number]
        return Root(unescape(root["absolute"]), unescape(root["relative"])).locate(self.path)

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
    if found != SCHEMA:
        raise IndexFileError(
            f"{file} has schema {found!r}, this imgret reads {SCHEMA!r}. "
            "Use the imgret that wrote it, or remove the folder and index anew"
        )
    return about


def _again(path: Path) -> str:
    return f"Remove the folder and make it again: imgret index STORE -o {path}"
