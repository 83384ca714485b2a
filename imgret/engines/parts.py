"""An index in parts on Ray: parts made by tasks, and searched by actors that hold one each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import imgret
from imgret.engines import remote
from imgret.engines.cluster import RETRIES, Cluster
from imgret.errors import EngineError

if TYPE_CHECKING:
    import numpy as np

    from imgret.indexes.parts.merging import Found
    from imgret.indexes.parts.part import PartDone, PartJob
    from imgret.indexes.parts.searcher import PartSearcher

Progress = Callable[[str, int, int], None]


class Makers:
    """What `build_parts` takes for `run`: a task for each part, done again where a worker went away."""

    def __init__(self, cluster: Cluster, progress: Progress | None = None) -> None:
        self._cluster = cluster
        self._progress = progress
        self._task = cluster.ray.remote(num_cpus=1, max_retries=RETRIES)(remote.make_part)

    def __call__(self, jobs: Sequence[PartJob]) -> Iterator[PartDone]:
        unfinished = [self._task.remote(job, imgret.__version__) for job in jobs]
        while unfinished:
            left = self._cluster.some_unfinished(unfinished)
            for done in set(unfinished) - set(left):
                yield self._cluster.get(done)
            unfinished = left
            if self._progress is not None:
                self._progress("making parts", len(jobs) - len(left), len(jobs))


class Actors:
    """An `Ask`: every part held by an actor, which is started anew where its worker goes away."""

    def __init__(self, cluster: Cluster, parts: Sequence[PartSearcher], budget: int) -> None:  # noqa: ARG002
        self._cluster = cluster
        held = cluster.ray.remote(max_restarts=RETRIES, max_task_retries=RETRIES)(remote.HeldPart)
        nodes = [node for node in cluster.nodes() if node["Resources"].get("CPU", 0) >= 1]
        if not nodes:
            raise EngineError("the cluster has no machine with processors; add one with `ray start --address`")
        self._actors = [
            held.options(num_cpus=0, scheduling_strategy=cluster.on(nodes[number % len(nodes)])).remote(
                str(part.folder), imgret.__version__
            )
            for number, part in enumerate(parts)
        ]

    def __call__(
        self, queries: np.ndarray, k: int, exactly: bool, parameters: dict[str, int]
    ) -> Iterator[tuple[int, Found]]:
        asked: Any = self._cluster.ray.put(queries)
        numbers = {actor.search.remote(asked, k, exactly, parameters): n for n, actor in enumerate(self._actors)}
        unfinished = list(numbers)
        while unfinished:
            left = self._cluster.some_unfinished(unfinished)
            for done in set(unfinished) - set(left):
                yield numbers[done], self._cluster.get(done)
            unfinished = left
