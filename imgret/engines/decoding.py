"""Decoding on Ray: tasks of a few images each, wherever a processor is free. Pixels stay where they were made."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import imgret
from imgret.engines import remote
from imgret.engines.cluster import Cluster, WorkerLostError
from imgret.errors import EngineError
from imgret.ids import escape
from imgret.images.decode import Decoded, DecodeRule, Undecodable
from imgret.images.files import ImageFile

_CHUNK = 16  # images a task, at most
_QUEUED = 3  # tasks for each that can run at once: running, waiting, and done before the one in front of them
_LOOK, _PATIENCE = 2.0, 60.0  # seconds between looks for processors, and until their absence ends the run
_RETRIES = 5  # of a task, whose images are tried one by one after that


@dataclass(frozen=True)
class RemotePixels:
    """Pixels [H, W, 3] that lie in a worker's memory, at a place of the chunk they were decoded with."""

    chunk: Any
    place: int
    shape: tuple[int, ...]
    sha256: bytes


class Decoder:
    """Stands in for `decode_stream`: tasks of a few images each, results in order, of RemotePixels.

    workers  tasks at once; None: as many as the cluster has processors, also while machines come and go
    """

    def __init__(self, cluster: Cluster, rule: DecodeRule, workers: int | None, expected: int) -> None:
        self._cluster = cluster
        self._rule = rule
        self._workers = workers
        self._expected = expected
        self._task = cluster.ray.remote(num_cpus=1, num_returns=2, max_retries=_RETRIES)(remote.decode_some)

    def __call__(
        self, images: Iterable[ImageFile], spent: Callable[[float], object]
    ) -> Iterator[tuple[ImageFile, Decoded | Undecodable]]:
        iterator = iter(images)
        pending: deque[tuple[list[ImageFile], list[Any]]] = deque()
        unfinished: list[Any] = []
        chunk = max(1, min(_CHUNK, self._expected // (_QUEUED * self._slots())))
        while True:
            slots, limit = self._slots(), self._limit()
            while (
                len(unfinished) < limit and len(pending) < _QUEUED * slots and (some := list(islice(iterator, chunk)))
            ):
                pending.append((some, self._submit(some)))
                unfinished.append(pending[-1][1][0])
            if not pending:
                return
            if pending[0][1][0] in unfinished:
                unfinished = self._some_unfinished(unfinished)
                continue
            some, references = pending.popleft()
            for image, answer, chunk_of_it, place in self._answers(some, references):
                spent(answer.seconds)
                if isinstance(answer.result, Decoded):
                    there = RemotePixels(chunk_of_it, place, answer.shape, answer.result.sha256)
                    yield image, replace(answer.result, pixels=there)  # type: ignore[arg-type]
                else:
                    _check_seen(image, answer)
                    yield image, answer.result

    def _some_unfinished(self, unfinished: list[Any]) -> list[Any]:
        """Wait for one or more tasks; EngineError when for a while no machine has a processor to do them."""
        last = time.monotonic()
        while len(left := self._cluster.some_unfinished(unfinished, within=_LOOK)) == len(unfinished):
            if self._cluster.count("CPU") >= 1:
                last = time.monotonic()
            elif time.monotonic() - last > _PATIENCE:
                raise EngineError(
                    f"no machine of the cluster had a processor to decode on for {_PATIENCE:.0f} s; add one with "
                    "`ray start --address`, or give --num-cpus where machines are started without"
                )
        return left

    def _slots(self) -> int:
        return self._workers or max(1, int(self._cluster.count("CPU")))

    def _limit(self) -> int:
        """Tasks that may be unfinished: some wait for a processor, unless there are more of those than asked for."""
        slots = self._slots()
        return slots if slots < self._cluster.count("CPU") else 2 * slots

    def _submit(self, images: list[ImageFile]) -> list[Any]:
        references: list[Any] = self._task.remote(images, self._rule, imgret.__version__)
        return references

    def _answers(
        self, images: list[ImageFile], references: list[Any]
    ) -> Iterator[tuple[ImageFile, remote.Answer, Any, int]]:
        try:
            answers = self._cluster.get(references[0])
        except WorkerLostError:
            if len(images) == 1:
                why = "decoding it ended the worker process (a crash, or out of memory)"
                # it may have been another's doing: the next run tries again
                yield images[0], remote.Answer(Undecodable("unreadable", why, retry=True), (), 0.0, ""), None, 0
                return
            for image in images:  # alone, it shows which one it was
                yield from self._answers([image], self._submit([image]))
            return
        for place, (image, answer) in enumerate(zip(images, answers, strict=True)):
            yield image, answer, references[1], place


def _check_seen(image: ImageFile, answer: remote.Answer) -> None:
    """EngineError when a worker found nothing where this process sees a file: that says nothing of the image."""
    assert isinstance(answer.result, Undecodable)
    if answer.result.reason == "missing" and not image.missing and os.path.exists(image.path):
        raise EngineError(
            f"{answer.machine} does not see {escape(image.path)}, this machine does; mount the images at the same path "
            "on every machine of the cluster, or name them by URL"
        )
