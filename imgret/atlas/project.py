"""Project: a layout of images in two dimensions in which the nearest of each lie beside it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from imgret.atlas.forces import Edges, attraction, repulsion
from imgret.atlas.fuzzy import fuzzy_graph
from imgret.atlas.square import unit_square

Progress = Callable[[str, int, int], object]
EPOCHS = 500
"""Steps of the descent. The authors take 200 for many images; at 50,000 that kept a quarter fewer neighbours near."""

_GATHERED = 30  # times that every image moves towards its neighbours before the descent begins
_EXTENT = 10.0  # of the positions at the beginning, as in the authors' code
_JITTER = 0.01  # by which equal positions are told apart then
_OTHERS = 5  # images that push each image in a step, the paper's n_neg_samples
_GAMMA = 4.0  # weight of repulsion: with the paper's 1 clusters of hundreds of images are specks on a page
_RATE = 0.1  # length of the first steps; the last is nearly 0
_MOMENTUM, _MEMORY = 0.5, 0.9  # decay of the means of forces and of their squares: uwot's for whole batches
_TOLD = 10  # steps between two words of progress


def project(
    neighbours: np.ndarray,
    cosines: np.ndarray,
    start: np.ndarray,
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    progress: Progress | None = None,
) -> np.ndarray:
    """[N, 2] float32 in the unit square, from the nearest others of every image: a layout like UMAP's.

    neighbours  [N, k] int32, each at most once in a row; -1 for none
    cosines     [N, k] float32, those of the neighbours
    start       [N, 2], where to begin, at any scale: of clusters that nothing joins it decides which are beside which

    The same input gives the same bits, whatever the number of threads: nothing here asks a threaded library. Images
    without any neighbour stay about where they started. ValueError for shapes that do not fit, a start that is not
    finite, or negative epochs. About 2 KB are held for an image with 15 neighbours.

    McInnes, Healy, Melville, "UMAP" (arXiv:1802.03426). Differs from the authors' code: every step moves all images at
    once, by all edges with their weights instead of some drawn by their weights, along Adam's direction as uwot does
    with batch = TRUE, but with one mean square for both axes, so that no direction is favoured; repulsion weighs 4; and
    it starts from positions that were averaged over the graph, instead of its eigenvectors.
    """
    count = len(start)
    if neighbours.ndim != 2 or len(neighbours) != count or cosines.shape != neighbours.shape or start.shape[1:] != (2,):
        shapes = ", ".join(str(list(one.shape)) for one in (neighbours, cosines, start))
        raise ValueError(f"neighbours and cosines must be [N, k] and start [N, 2], got {shapes}")
    if not np.isfinite(start).all():
        raise ValueError("start must be finite")
    if epochs < 0:
        raise ValueError(f"epochs must be 0 or more, got {epochs}")
    if not count:
        return np.zeros((0, 2), np.float32)
    rng = np.random.default_rng(seed)
    graph = fuzzy_graph(neighbours, cosines)
    at = _gathered(graph, start)
    at += rng.normal(scale=_JITTER, size=at.shape)
    moved = _descent(np.ascontiguousarray(at.T, np.float32), Edges.of(graph), rng, epochs, progress)
    return unit_square(moved.T)


def _gathered(graph: sparse.csr_array, start: np.ndarray) -> np.ndarray:
    """[N, 2], the start with every image drawn towards its neighbours, centred and scaled to `_EXTENT`.

    Images that belong together thus begin in one place: the descent alone leaves them torn where the start had them
    apart.
    """
    at = np.asarray(start, np.float64)
    at = at - np.median(at, axis=0)
    degree = np.asarray(graph.sum(1)).reshape(-1, 1)
    alone = degree == 0
    for _ in range(_GATHERED):
        at = np.where(alone, at, (at + graph @ at / np.where(alone, 1, degree)) / 2)
    at -= np.median(at, axis=0)
    extent = np.percentile(np.abs(at), 99) or np.abs(at).max()
    if extent > 0:
        at *= _EXTENT / extent
    return np.clip(at, -1.5 * _EXTENT, 1.5 * _EXTENT)


def _descent(
    at: np.ndarray, edges: Edges, rng: np.random.Generator, epochs: int, progress: Progress | None
) -> np.ndarray:
    """Positions [2, N] float32 after all steps. Adam: Kingma, Ba (arXiv:1412.6980), algorithm 1."""
    count = at.shape[1]
    mean, square = np.zeros_like(at), np.zeros(count, np.float32)
    weight = _GAMMA * edges.degree  # an edge is followed by `_OTHERS` images that push, so one weighs a degree
    for epoch in range(epochs):
        forces = attraction(at, edges)
        for _ in range(_OTHERS):
            forces += weight * repulsion(at, rng.integers(0, count, count, np.int32))
        mean = _MOMENTUM * mean + (1 - _MOMENTUM) * forces
        square = _MEMORY * square + (1 - _MEMORY) * (forces * forces).mean(0)
        rate = _RATE * (1 - epoch / epochs) / (1 - _MOMENTUM ** (epoch + 1))
        at += rate * mean / (np.sqrt(square / (1 - _MEMORY ** (epoch + 1))) + 1e-7)
        if progress is not None and ((epoch + 1) % _TOLD == 0 or epoch + 1 == epochs):
            progress("laying out the map", epoch + 1, epochs)
    return at
