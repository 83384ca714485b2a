"""Whitening: a projection of descriptors, what it was fitted on, and its file.

The file is safetensors: `mean` [D] and `projection` [d, D] in float64, `ids` (see overlap.py), and JSON in the
metadata. Float64 because a projection divides by the roots of small variances: what float32 rounds off the mean or
P is then seen in the cosines, and the file would not give the fit's own.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from imgret import atomic
from imgret.errors import WhiteningError
from imgret.ids import escape
from imgret.remote_path import Place

SCHEMA = "imgret.whitening/1"
SUFFIX = ".safetensors"
EPS = 1e-6
MAX_HEADER = 100_000_000  # bytes; safetensors' own limit
KINDS = ("pca", "learned")
_AT_ONCE = 4096  # rows in float64 at a time
_TYPES = {"mean": np.float64, "projection": np.float64, "ids": np.uint64}
# What the metadata must say, and as what.
_ABOUT: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "power": (int, float, type(None)),
    "count": (int,),
    "pairs": (int, type(None)),
    "rank": (int,),
    "floor": (int, float),
    "alpha": (int, float),
    "variance": (int, float),
    "recipe": (dict,),
    "fingerprint": (str,),
    "store": (str,),
    "store_sha256": (str,),
    "date": (str,),
    "imgret": (str,),
}


@dataclass(frozen=True)
class Whitening:
    """y = P (x - mean), made unit length.

    mean        [D] float64
    projection  [d, D] float64, P
    ids         [n] uint64, hashes of the ids it was fitted on, rising
    about       kind ("pca" or "learned"), power (of PCA), count (descriptors), pairs (of learned), rank, floor,
                alpha and variance (see fit.Fit), the recipe of the store it was fitted on and its fingerprint, the
                store's path and content hash, date (UTC) and version
    """

    mean: np.ndarray
    projection: np.ndarray
    ids: np.ndarray
    about: Mapping[str, Any]

    @property
    def dim_in(self) -> int:
        """D, of the descriptors it takes."""
        return int(self.projection.shape[1])

    @property
    def dim(self) -> int:
        """d, of the descriptors it gives."""
        return int(self.projection.shape[0])

    @functools.cached_property
    def sha256(self) -> str:
        """Over mean and projection: equal exactly when descriptors are whitened alike."""
        state = hashlib.sha256(f"{self.dim} {self.dim_in}".encode())
        for array in (self.mean, self.projection):
            state.update(np.ascontiguousarray(array, "<f8").data)
        return state.hexdigest()

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """y / (|y| + 1e-6) with y = P (x - mean), in float64: rows [N, D] -> [N, d] float32.

        The mean itself becomes zeros, which no cosine likes or dislikes. ValueError for rows of another dimension.
        """
        if rows.ndim != 2 or rows.shape[1] != self.dim_in:
            raise ValueError(f"rows must be [N, {self.dim_in}], got {list(rows.shape)}")
        made = np.empty((len(rows), self.dim), np.float32)
        for start in range(0, len(rows), _AT_ONCE):
            y = (rows[start : start + _AT_ONCE].astype(np.float64) - self.mean) @ self.projection.T
            made[start : start + _AT_ONCE] = y / (np.linalg.norm(y, axis=1, keepdims=True) + EPS)
        return made

    def check_recipe(self, recipe: Mapping[str, Any], fingerprint: str, dim: int, where: Place) -> None:
        """WhiteningError unless it was fitted on descriptors made as those of the store or index at `where`."""
        ours = self.about["recipe"]
        if self.about["fingerprint"] != fingerprint:
            key = next((key for key in recipe if recipe[key] != ours.get(key)), "recipe")
            raise WhiteningError(
                f"the whitening was fitted on descriptors of another recipe than {escape(str(where))}: {key} is "
                f"{ours.get(key)!r} there and {recipe.get(key)!r} here. Fit one: imgret whiten STORE -o FILE{SUFFIX}"
            )
        if self.dim_in != dim:
            raise WhiteningError(
                f"the whitening takes descriptors of dimension {self.dim_in}, those of {escape(str(where))} have {dim}"
            )

    def card(self) -> dict[str, Any]:
        """What index.json and the protocol of an evaluation say of it."""
        told = {key: self.about[key] for key in ("kind", "power", "count", "pairs", "store", "store_sha256")}
        return {**told, "dim_in": self.dim_in, "dim": self.dim, "sha256": self.sha256}

    def to_bytes(self) -> bytes:
        """The content of its file."""
        arrays = {
            "mean": np.ascontiguousarray(self.mean, np.float64),
            "projection": np.ascontiguousarray(self.projection, np.float64),
            "ids": np.ascontiguousarray(self.ids, np.uint64),
        }
        about = {key: json.dumps(value, sort_keys=True, allow_nan=False) for key, value in self.about.items()}
        return _in_order(safetensors.numpy.save(arrays, {"schema": SCHEMA, "sha256": self.sha256, **about}))

    def save(self, path: Path) -> None:
        """Write its file, whole or not at all."""
        atomic.write_bytes(Path(path), self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> Whitening:
        """Read and check a file that `save` wrote; WhiteningError when it is not one, or damaged."""
        try:
            return cls.from_bytes(Path(path).read_bytes(), path)
        except OSError as error:
            raise WhiteningError(
                f"{escape(str(path))} cannot be read: {error.strerror or error}. Make one: "
                f"imgret whiten STORE -o FILE{SUFFIX}"
            ) from error

    @classmethod
    def from_bytes(cls, content: bytes, path: Path) -> Whitening:
        """As `load`, from what was read of `path`, which is only named in messages."""
        name = escape(str(path))
        metadata = _metadata(io.BytesIO(content))
        if metadata.get("schema") != SCHEMA:
            raise WhiteningError(
                f"{name} is not a whitening: {_instead(metadata)}, expected schema {SCHEMA!r}. "
                f"Make one: imgret whiten STORE -o FILE{SUFFIX}"
            )
        try:
            arrays = safetensors.numpy.load(content)
            about = {key: json.loads(metadata[key]) for key in _ABOUT}
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise WhiteningError(f"{name} is damaged ({type(error).__name__}: {error}); fit it again") from error
        problem = _problem(arrays, about)
        if problem is None:
            made = cls(arrays["mean"], arrays["projection"], arrays["ids"], about)
            if made.sha256 == metadata.get("sha256"):
                return made
            problem = "its numbers do not match its own digest"
        raise WhiteningError(f"{name} is damaged: {problem}; copy it again, or fit it again")


def is_whitening(path: Path) -> bool:
    """Whether a file says it is a whitening, sound or not."""
    try:
        with open(path, "rb") as file:
            return _metadata(file).get("schema", "").startswith("imgret.whitening/")
    except OSError:
        return False


def words(card: Mapping[str, Any]) -> str:
    """A `card` for people: 'pca, power 1, 512 -> 128 dimensions, fitted on 900 descriptors of store (1a2b3c...)'."""
    how = f"power {card['power']:g}" if card["kind"] == "pca" else f"from {card['pairs']:,} pairs"
    return (
        f"{card['kind']}, {how}, {card['dim_in']} -> {card['dim']} dimensions, fitted on {card['count']:,} descriptors "
        f"of {card['store']} (sha256 {card['sha256'][:12]}...)"
    )


def _in_order(content: bytes) -> bytes:
    """The same file with the keys of its header in order: safetensors leaves them to chance, and files differ."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # the arrays stay aligned
    return len(header).to_bytes(8, "little") + header + content[end:]


def _metadata(file: BinaryIO) -> dict[str, str]:
    """The texts in the header of a safetensors file; {} for anything else."""
    length = int.from_bytes(file.read(8), "little")
    try:
        found = json.loads(file.read(length) if length <= MAX_HEADER else b"")["__metadata__"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    texts = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    return found if texts else {}


def _instead(metadata: Mapping[str, str]) -> str:
    schema = metadata.get("schema")
    if schema is None:
        return "it has no schema of imgret"
    return "it holds the weights of a model" if schema.startswith("imgret.weights/") else f"it has schema {schema!r}"


def _problem(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> str | None:
    """What is wrong with the content of a file, or None."""
    for key, kinds in _ABOUT.items():
        if type(about[key]) not in kinds:
            return f"{key} is {about[key]!r}"
    if about["kind"] not in KINDS or (about["kind"] == "pca") != (about["pairs"] is None):
        return f"kind is {about['kind']!r} with {about['pairs']} pairs"
    if (about["kind"] == "pca") != (about["power"] is not None):
        return f"kind is {about['kind']!r} with power {about['power']}"
    for key, kind in _TYPES.items():
        if key not in arrays or arrays[key].dtype != kind:
            return f"it lacks {key} as {kind.__name__}"
    mean, projection, ids = (arrays[key] for key in _TYPES)
    shapes = f"mean {list(mean.shape)}, projection {list(projection.shape)}, ids {list(ids.shape)}"
    if mean.ndim != 1 or ids.ndim != 1 or projection.ndim != 2 or projection.shape[1:] != mean.shape:
        return f"{shapes} do not fit together"
    if not 1 <= len(projection) <= len(mean):
        return f"{shapes} are not those of a projection"
    if not (np.isfinite(mean).all() and np.isfinite(projection).all()):
        return "it holds NaN or infinity"
    return None
