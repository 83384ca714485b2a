"""Attribution: what each cell of an image brings to the cosine between its descriptor and another.

A descriptor that is a sum over places (`DescriptorModel.parts`), made unit length, whitened, made unit length again, is
still one, for the lengths are those of the whole. So is its cosine with any descriptor, and nothing is estimated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from imgret.extraction.describe import Decomposed, Describer
from imgret.extraction.seeing import Places


class Whitens(Protocol):
    """A `Whitening`: y = projection (x - mean), made unit length. mean [D], projection [d, D]."""

    @property
    def mean(self) -> np.ndarray: ...
    @property
    def projection(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Attribution:
    """A cosine, by the cells of one of the two images: cells.sum() + rest is the score.

    cells   [h, w] float32, of either sign: what each cell brings; below 0 it draws the two apart
    rest    what belongs to no cell: biases, a class token, the mean that a whitening takes away
    score   the cosine of the whole descriptors, at one scale and in float32; that of a store may differ in its last
            digits, for it may be of half precision
    places  (first centre, step) of the rows of cells and of the columns, as parts of the image's sides
    """

    cells: np.ndarray
    rest: float
    score: float
    places: Places


@dataclass(frozen=True)
class NoAttribution:
    """Why a score cannot be shared out among cells exactly, in words that end a sentence."""

    reason: str


@dataclass(frozen=True)
class Between:
    """A cosine of two images, shared out among the cells of each, and among the pairs of both.

    query, hit  Attributions of the same score
    matrix      [h1 w1, h2 w2] float32, rows of cells one after another: what cell i of the query and cell j of the hit
                bring together; None unless asked for. A row sums to the query's cell but for what that cell brings with
                the hit's rest, a column likewise
    apart       what is in no pair, a cell and the other's rest or both rests: matrix.sum() + apart is the score. Often
                far below 0: what all images have in common is in every pair, and the rests take it away again
    """

    query: Attribution
    hit: Attribution
    matrix: np.ndarray | None
    apart: float


def attribute(
    describer: Describer, pixels: np.ndarray, other: np.ndarray, whitening: Whitens | None = None
) -> Attribution | NoAttribution:
    """The cosine between one image [H, W, 3] uint8 RGB and a descriptor `other`, by the image's cells.

    Of `other` [D] the direction counts alone. With a whitening the image is whitened, and `other` [d] must have been.
    NoAttribution where the descriptor is no sum over places, or of several scales. ValueError for another dimension.
    """
    found = describer.decompose(pixels)
    if isinstance(found, str):
        return NoAttribution(found)
    return _towards(_Unit(found, whitening), np.asarray(other, np.float64))


def between(
    describer: Describer,
    query: np.ndarray,
    hit: np.ndarray,
    whitening: Whitens | None = None,
    matrix: bool = False,
) -> Between | NoAttribution:
    """The cosine between two images, each [H, W, 3] uint8 RGB, by the cells of both; NoAttribution as in `attribute`.

    `matrix` asks for the pairs of cells, which for two maps of 1024 cells are a million numbers.
    """
    sides = []
    for pixels in (query, hit):
        found = describer.decompose(pixels)
        if isinstance(found, str):
            return NoAttribution(found)
        sides.append(_Unit(found, whitening))
    ours, theirs = sides
    pairs = (ours.parts @ theirs.parts.T).astype(np.float32) if matrix else None
    apart = ours.rest @ theirs.whole + (ours.whole - ours.rest) @ theirs.rest
    return Between(_towards(ours, theirs.whole), _towards(theirs, ours.whole), pairs, float(apart))


def spread(attribution: Attribution) -> tuple[np.ndarray, np.ndarray]:
    """(what draws the two together, what draws them apart): two maps [h, w], not negative, to be drawn.

    Their difference is `cells`. The rest is in neither: it has no place, and is to be told beside them.
    """
    return attribution.cells.clip(min=0), (-attribution.cells).clip(min=0)


class _Unit:
    """A unit descriptor, whitened if there is a whitening, as a sum over cells, in float64.

    parts [h w, d], rest [d], and their sum, `whole` [d].
    """

    def __init__(self, found: Decomposed, whitening: Whitens | None) -> None:
        self.grid, self.places = found.parts.shape[:2], found.places
        # float64, for a whitening divides by the roots of small variances.
        self.parts = found.parts.reshape(-1, found.parts.shape[2]).astype(np.float64)
        self.rest = found.rest.astype(np.float64)
        self._to_unit_length()
        if whitening is not None:
            P = whitening.projection
            self.parts, self.rest = self.parts @ P.T, P @ (self.rest - whitening.mean)
            self._to_unit_length()
        self.whole = self.parts.sum(0) + self.rest

    def _to_unit_length(self) -> None:
        length = np.linalg.norm(self.parts.sum(0) + self.rest) or 1.0  # a zero stays zero
        self.parts, self.rest = self.parts / length, self.rest / length


def _towards(image: _Unit, other: np.ndarray) -> Attribution:
    if other.shape != image.whole.shape:
        raise ValueError(f"the other descriptor must be [{len(image.whole)}], got {list(other.shape)}")
    other = other / (np.linalg.norm(other) or 1.0)
    cells = (image.parts @ other).reshape(image.grid)
    return Attribution(cells.astype(np.float32), float(image.rest @ other), float(image.whole @ other), image.places)
