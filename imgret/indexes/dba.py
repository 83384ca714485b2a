"""DBA: database-side augmentation, every row moved towards its neighbours before it is indexed."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgret.atomic import PARTIAL
from imgret.errors import IndexFileError
from imgret.store.store import unit

if TYPE_CHECKING:
    from imgret.indexes.files import Index
    from imgret.indexes.rows import Rows

_PLAIN = "plain" + PARTIAL
_FORM = "write it like k=10,alpha=3, or none"


@dataclass(frozen=True)
class Dba:
    """How rows are augmented; ValueError for numbers outside their range.

    k      neighbours, from 1; more than there are means all
    alpha  power of their cosines, from 0, where all weigh the same, to 100
    """

    k: int = 10
    alpha: float = 3

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")
        if not 0 <= self.alpha <= 100:
            raise ValueError(f"alpha must be from 0 to 100, got {self.alpha:g}")

    def __str__(self) -> str:
        return f"k={self.k},alpha={self.alpha}"


def parse_dba(text: str) -> Dba | None:
    """'k=10,alpha=3' -> Dba, with the default for what is not said; 'none' -> None; IndexFileError otherwise."""
    if text.strip() == "none":
        return None
    said: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in ("k", "alpha"):
            raise IndexFileError(f"--dba {text!r}: {part.strip()!r} is no setting of it; {_FORM}")
        if name in said:
            raise IndexFileError(f"--dba {text!r} says {name} twice; {_FORM}")
        said[name] = value
    k, alpha = (_number(text, name, said.get(name, str(getattr(Dba, name)))) for name in ("k", "alpha"))
    if k != int(k):
        raise IndexFileError(f"--dba {text!r}: k must be a whole number, got {said['k']}; {_FORM}")
    try:
        return Dba(int(k), int(alpha) if alpha == int(alpha) else alpha)
    except ValueError as error:
        raise IndexFileError(f"--dba {text!r}: {error}; {_FORM}") from None


def _number(text: str, name: str, value: str) -> float:
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(value)):
            return number
    raise IndexFileError(f"--dba {text!r}: {name} must be a number, got {value!r}; {_FORM}")


def dba_of(about: dict[str, Any]) -> Dba | None:
    """The augmentation that an index.json tells of; those made before there was one do not say.

    IndexFileError for one that is none.
    """
    card = about.get("dba")
    try:
        return None if card is None else Dba(**card)
    except (TypeError, ValueError) as error:
        raise IndexFileError(
            f"index.json is damaged: dba is {str(card)[:80]} ({error}); make the index again"
        ) from None


def augmented(rows: Rows, plain: Index, alpha: float) -> Rows:
    """The same rows, read as their augmented descriptors:

        x' = L2( x + sum over its neighbours j of max(x . x_j, 0)^alpha x_j )

    `plain` is an index over the rows as they are, in the same order, with the neighbours that count. With
    alpha = 0 this is the average; a negative cosine weighs nothing otherwise. Where the sum is zero, x stays.

    Gordo, Almazán, Revaud, Larlus, "End-to-end learning of deep visual representations for image retrieval"
    (arXiv:1610.07940), with the weights of Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no
    human annotation" (arXiv:1711.02512).
    """
    assert plain.neighbours is not None
    near, cosines = plain.neighbours

    def augment(numbers: np.ndarray, block: np.ndarray) -> np.ndarray:
        neighbours = near[numbers]  # [n, k]
        weights = np.where(neighbours >= 0, np.maximum(cosines[numbers], 0) ** alpha, 0).astype(np.float32)
        total = block.copy()
        for j, weight in zip(neighbours.T, weights.T, strict=True):
            # A neighbour of -1 is "nothing here"; row 0 stands in for it and weighs nothing.
            total += weight[:, None] * plain.vectors(np.maximum(j, 0))
        nothing = np.einsum("nd,nd->n", total, total) < 1e-12
        total[nothing] = block[nothing]
        return unit(total)

    return replace(rows, augment=augment)


@contextlib.contextmanager
def plain_folder(output: Path) -> Iterator[Path]:
    """A folder inside an INDEX for the index over rows that are not augmented yet; gone afterwards."""
    folder = output / _PLAIN
    folder.mkdir()
    try:
        yield folder
    finally:
        remove_plain_folder(output)


def remove_plain_folder(output: Path) -> None:
    """Remove what a build that was killed has left. What cannot be removed waits for the next build."""
    shutil.rmtree(output / _PLAIN, ignore_errors=True)
