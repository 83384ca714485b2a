"""Extraction on Ray: decode tasks anywhere, models that stay, and one process that lists, orders and writes.

The driver goes through the images in order, has them decoded a few at a time, and puts together the very batches that
one machine would describe, of references in place of pixels. Descriptors come back to it in order, and it alone writes
the store. So a store comes out the same whatever the workers do, and a lost worker costs what it had in hand.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

import imgret
from imgret.engines import remote
from imgret.engines.cluster import RETRIES, Cluster, WorkerLostError
from imgret.errors import EngineError
from imgret.extraction.job import ExtractJob, Say, quiet
from imgret.extraction.loading import LoadedDescriber
from imgret.extraction.plan import Work
from imgret.extraction.stream import Clock, Described, describe_stream
from imgret.ids import escape
from imgret.images.decode import Decoded, DecodeRule, Undecodable
from imgret.images.files import ImageFile

if TYPE_CHECKING:
    import torch

_CHUNK = 16  # images a task, at most
_QUEUED = 3  # tasks for each that can run at once: running, waiting, and done before the one in front of them
_AHEAD = 4  # batches for each model


@dataclass(frozen=True)
class RemotePixels:
    """Pixels [H, W, 3] that lie in a worker's memory."""

    reference: Any
    shape: tuple[int, ...]


class RayEngine:
    """An `Engine` on a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def load_for_job(self, job: ExtractJob, say: Say) -> LoadedDescriber:
        """One worker loads the model to say what it is; those that describe are started from the recipe then."""
        _check_job(job)
        from imgret.extraction import recipe as recipes

        first = Models(self._cluster, job, None, {}, None, most=1)
        with closing(first):
            facts = first.facts(say)
        recipe = recipes.build(job, facts.identity, facts.image_size, facts.precision)
        return self._loaded(job, recipe, facts.origin, None, quiet)

    def load_for_recipe(
        self, job: ExtractJob, recipe: Mapping[str, Any], origin: Mapping[str, Any], weights: str | None, say: Say
    ) -> LoadedDescriber:
        _check_job(replace(job, decode=recipe["decode"]))
        return self._loaded(job, recipe, origin, weights, say)

    def _loaded(
        self, job: ExtractJob, recipe: Mapping[str, Any], origin: Mapping[str, Any], weights: str | None, say: Say
    ) -> LoadedDescriber:
        models = Models(self._cluster, job, recipe, origin, weights)
        facts = models.facts(say)
        return LoadedDescriber(
            describer=models,  # type: ignore[arg-type]  # it begins batches as a Describer does
            identity=facts.identity,
            origin=facts.origin,
            dim=facts.dim,
            image_size=facts.image_size,
            precision=facts.precision,
            trained=facts.trained,
        )

    def stream(
        self, job: ExtractJob, work: Work, rule: DecodeRule, loaded: LoadedDescriber, clock: Clock
    ) -> Iterator[tuple[ImageFile, Described | Undecodable]]:
        decoder = Decoder(self._cluster, rule, job.workers, len(work))
        models = loaded.describer
        return describe_stream(
            work,
            rule,
            models,
            workers=1,  # which ones there are is the decoder's affair
            batch_size=job.batch_size or models.batch_size(rule.size),
            clock=clock,
            expected=len(work),
            decode=decoder,
            finish=_references,
        )


def _check_job(job: ExtractJob) -> None:
    if job.decode == "device":
        raise EngineError(
            "--decode device is for --engine local; leave it out, Ray's workers decode on their processors"
        )


def _references(images: Sequence[tuple[ImageFile, Decoded]]) -> tuple[list[RemotePixels], dict[int, Undecodable]]:
    return [one.pixels for _, one in images], {}  # type: ignore[misc]


class Decoder:
    """Stands in for `decode_stream`: tasks of a few images each, results in order, their pixels left where they are.

    workers  tasks at once; None: as many as the cluster has processors, also while machines come and go
    """

    def __init__(self, cluster: Cluster, rule: DecodeRule, workers: int | None, expected: int) -> None:
        self._cluster = cluster
        self._rule = rule
        self._workers = workers
        self._expected = expected
        ray = cluster.ray
        self._task = ray.remote(num_cpus=1, max_retries=RETRIES)(remote.decode_some)

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
                unfinished = self._cluster.some_unfinished(unfinished)
                continue
            some, references = pending.popleft()
            for image, answer, pixels in self._answers(some, references):
                spent(answer.seconds)
                if isinstance(answer.result, Decoded):
                    there = RemotePixels(pixels, answer.shape)
                    yield image, replace(answer.result, pixels=there)  # type: ignore[arg-type]
                else:
                    _check_seen(image, answer)
                    yield image, answer.result

    def _slots(self) -> int:
        return self._workers or max(1, int(self._cluster.count("CPU")))

    def _limit(self) -> int:
        """Tasks that may be unfinished: some wait for a processor, unless there are more of those than asked for."""
        slots = self._slots()
        return slots if slots < self._cluster.count("CPU") else 2 * slots

    def _submit(self, images: list[ImageFile]) -> list[Any]:
        task = self._task.options(num_returns=len(images) + 1)
        return task.remote(images, self._rule, imgret.__version__)

    def _answers(
        self, images: list[ImageFile], references: list[Any]
    ) -> Iterator[tuple[ImageFile, remote.Answer, Any]]:
        try:
            answers = self._cluster.get(references[0])
        except WorkerLostError:
            if len(images) == 1:
                why = "decoding it ended the worker process (a crash, or out of memory)"
                yield images[0], remote.Answer(Undecodable("unreadable", why), (), 0.0, ""), None
                return
            for image in images:  # alone, it shows which one it was
                yield from self._answers([image], self._submit([image]))
            return
        yield from zip(images, answers, references[1:], strict=True)


def _check_seen(image: ImageFile, answer: remote.Answer) -> None:
    """EngineError when a worker found nothing where this process sees a file: that says nothing of the image."""
    assert isinstance(answer.result, Undecodable)
    if answer.result.reason == "missing" and not image.missing and os.path.exists(image.path):
        raise EngineError(
            f"{answer.machine} does not see {escape(image.path)}, this machine does; mount the images at the same path "
            "on every machine of the cluster, or name them by URL"
        )


class Models:
    """Stands in for a Describer: models on the cluster's workers, batches to whichever has least to do.

    With GPUs, as many as have room for `gpus_per_worker` each; else one a machine, with all of its processors.
    """

    settled = True

    def __init__(
        self,
        cluster: Cluster,
        job: ExtractJob,
        recipe: Mapping[str, Any] | None,
        origin: Mapping[str, Any],
        weights: str | None,
        most: int | None = None,
    ) -> None:
        self._cluster = cluster
        model = cluster.ray.remote(max_restarts=RETRIES, max_task_retries=RETRIES)(remote.Model)
        # A worker's own GPU is the first that it sees, whatever its number on the machine.
        job = replace(job, images=(), device="cpu" if job.device == "cpu" else "auto")
        # Nor is its folder this one.
        job = replace(job, model=_absolute(job.model), weights=_absolute(job.weights))
        weights = _absolute(weights)
        self._models = [
            model.options(num_cpus=0, **place).remote(job, recipe, origin, weights, threads, imgret.__version__)
            for place, threads in _places(cluster, job)[:most]
        ]
        self._under_way: dict[Any, int] = {}
        self._device = "cpu"

    @property
    def ahead(self) -> int:
        return _AHEAD * len(self._models)

    @property
    def device(self) -> torch.device:
        import torch

        return torch.device(self._device)

    def batch_size(self, side: int) -> int:
        from imgret.extraction.describe import batch_size_on

        return batch_size_on(self._device, side)

    def facts(self, say: Say) -> remote.Facts:
        """What the models are, once all of them are there."""
        found = [self._cluster.get(one) for one in [model.facts.remote() for model in self._models]]
        for text in dict.fromkeys(text for facts in found for text in facts.said):
            say(text)
        self._device = found[0].device
        return found[0]

    def begin(self, pixels: list[RemotePixels]) -> Callable[[], np.ndarray]:
        for done in self._cluster.finished(self._under_way):
            del self._under_way[done]
        busy = list(self._under_way.values())
        number = min(range(len(self._models)), key=busy.count)
        rows = self._models[number].describe.remote(*(one.reference for one in pixels))
        self._under_way[rows] = number

        def wait() -> np.ndarray:
            return self._cluster.get(rows)

        return wait

    def close(self) -> None:
        for model in self._models:
            self._cluster.ray.kill(model)


def _absolute(name: str | None) -> str | None:
    """A file's name from everywhere; other names as they are."""
    return os.path.abspath(name) if name and os.path.isfile(name) else name


def _places(cluster: Cluster, job: ExtractJob) -> list[tuple[dict[str, Any], int]]:
    """Options of Ray for each model, and its threads."""
    gpus = 0 if job.device == "cpu" else cluster.count("GPU")
    if gpus:
        share = job.gpus_per_worker
        if share > 1 and share != int(share):
            raise EngineError(f"--gpus-per-worker {share:g}: above 1 it must be a whole number")
        whole = [int(node["Resources"].get("GPU", 0)) for node in cluster.nodes()]
        # Ray gives a share of one GPU, never of two.
        count = sum(number // int(share) if share > 1 else number * int(1 / share + 1e-9) for number in whole)
        if not count:
            raise EngineError(f"no machine of the cluster has {share:g} GPUs; give --gpus-per-worker less")
        return [({"num_gpus": share}, 1)] * count
    if job.device not in ("auto", "cpu"):
        raise EngineError(f"the cluster has no GPU for --device {job.device}; use --device cpu")
    places = [
        ({"scheduling_strategy": cluster.on(node)}, int(node["Resources"]["CPU"]))
        for node in cluster.nodes()
        if node["Resources"].get("CPU", 0) >= 1
    ]
    if not places:
        raise EngineError("the cluster has no machine with processors or GPUs; add one with `ray start --address`")
    return places
