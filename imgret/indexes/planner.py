"""Planner: kinds of index tried on a sample of the user's own vectors, and the quickest that finds enough.

Trials on a sample choose a kind and promise something; the index that is built is tuned and measured
again, on all of its rows, and only that is its certificate. A sample of 20,000 still says too much for
lists and graphs of 10,000,000 rows (see sample.py for what is done about it).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from imgret.indexes.kinds import INDEX_KINDS, Choice, coarse, fitting, spell
from imgret.indexes.rows import Progress
from imgret.indexes.sample import Sample
from imgret.indexes.structure import one_thread
from imgret.indexes.trials import Trial, attempt

SAMPLE = 20_000  # vectors to try kinds on; more are left aside
TIME = 30  # seconds for all trials; what has not begun by then is not tried
ORDER = ("flat", "fp16", "sq8", "ivf", "ivfsq8", "ivfpq", "rabitq", "ivfrabitq", "hnswsq8")
_NUMBERS = 10_240_000  # in the sample: 20,000 vectors of dimension 512
_NOT_FELT = 1.0  # milliseconds of a query, or seconds of a build
_ALIKE = 1.25  # times as long is as long, when a sample is timed


@dataclass(frozen=True)
class Planned:
    """The kind to build, and what every kind promised, in the order of the table."""

    choice: Choice
    trials: tuple[Trial, ...]


def plan(
    sample: np.ndarray,
    count: int,
    budget: int,
    target: float,
    seed: int,
    progress: Progress | None = None,
    *,
    graphs: bool = True,
) -> Planned:
    """Choose a kind for `count` vectors, by trying kinds on some of them.

    sample    [n, D] unit float32 rows; SAMPLE of them are enough
    budget    bytes that the index may take as searched
    target    of recall@10, above 0 and at most 1
    progress  called as progress(what, done, total)
    graphs    whether a graph may be chosen

    Chosen is the quickest for a query asked by itself; among kinds as quick but for a millisecond or a
    quarter, the one that is built soonest. Trials run on one core, so that a busy machine does not spoil them; builds
    and batches are taken to spread over all. Where none reaches the target, the one that comes nearest.
    Kinds that do not fit are not tried, and IndexFileError, naming the nearest feasible budget, comes at
    once where none does. Takes half a minute at most for 512 dimensions on two cores. The choice depends
    on timings, and so on the machine. ValueError for an empty sample.
    """
    if sample.ndim != 2 or not len(sample):
        raise ValueError(f"sample must be [n, D] with at least one row, got {list(sample.shape)}")
    dim = sample.shape[1]
    possible = fitting(count, dim, budget)
    tried = [kind for kind in ORDER if kind in possible and (graphs or not INDEX_KINDS[kind].graph)]
    if not tried or len(sample) < 2:  # hnsw alone fits where nothing smaller does, so this is a sample of one
        kind = possible[0]
        return Planned(Choice(kind, INDEX_KINDS[kind].factory(count, dim), "there is nothing to try it on"), ())
    trials: list[Trial] = []
    with one_thread() as threads:
        start, known = time.perf_counter(), Sample(sample[: min(SAMPLE, _NUMBERS // dim)], count, seed)
        for number, kind in enumerate(ORDER):
            if progress is not None:
                progress("trying kinds of index", number, len(ORDER))
            late = time.perf_counter() - start > TIME and any(trial.recall is not None for trial in trials)
            trials.append(_trial(kind, known, possible, budget, target, threads, late=late, graphs=graphs))
    if progress is not None:
        progress("trying kinds of index", len(ORDER), len(ORDER))
    chosen = _best([trial for trial in trials if trial.recall is not None], target)
    trials = [_judged(trial, chosen, target) for trial in trials]
    why = (
        f"of {sum(trial.recall is not None for trial in trials)} kinds tried on {len(known.rows):,} of the vectors, "
        f"it promises recall {chosen.recall:.3f} in {chosen.latency:.2g} ms a query"
    )
    return Planned(Choice(chosen.kind, chosen.factory, why), tuple(trials))


def _trial(
    kind: str,
    sample: Sample,
    possible: list[str],
    budget: int,
    target: float,
    threads: int,
    *,
    late: bool,
    graphs: bool,
) -> Trial:
    row, dim = INDEX_KINDS[kind], sample.rows.shape[1]
    untried = Trial(kind, row.factory(sample.count, dim), row.memory(sample.count, dim))
    if min(sample.count, len(sample.rows)) < row.least:
        return replace(untried, left_out=f"learns from {row.least} vectors at least")
    if row.graph and not graphs:
        return replace(untried, left_out="a graph cannot be put together of parts")
    if coarse(kind, dim):
        return replace(untried, left_out=f"its codes are too coarse for dimension {dim}")
    if kind not in possible:
        return replace(untried, left_out=f"does not fit in {spell(budget)}")
    if late:
        return replace(untried, left_out="not tried, the time was up")
    return attempt(kind, sample, target, threads)


def _best(trials: list[Trial], target: float) -> Trial:
    """The trial to follow, of those that were tried."""

    enough = [trial for trial in trials if (trial.recall or 0) >= target]
    if not enough:
        return max(trials, key=lambda trial: (trial.recall or 0, -(trial.latency or 0)))
    quick = _about_the_least(enough, lambda trial: trial.latency or 0)
    soon = _about_the_least(quick, lambda trial: trial.build or 0)
    return min(soon, key=lambda trial: trial.memory)


def _about_the_least(trials: list[Trial], cost: Callable[[Trial], float]) -> list[Trial]:
    most = max(min(map(cost, trials)) + _NOT_FELT, min(map(cost, trials)) * _ALIKE)
    return [trial for trial in trials if cost(trial) <= most]


def _judged(trial: Trial, chosen: Trial, target: float) -> Trial:
    """A trial with the reason why its kind cannot be chosen, where there is one."""
    if trial.recall is None or trial is chosen or trial.recall >= target:
        return trial
    return replace(trial, left_out=f"finds less than {target:g}")
