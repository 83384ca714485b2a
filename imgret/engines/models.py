"""Models on Ray: actors that hold one each, wherever there is room, and batches given to them as long as they live."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

import imgret
from imgret.engines import remote
from imgret.engines.cluster import ActorLostError, Cluster, WorkerLostError
from imgret.engines.decoding import RemotePixels
from imgret.engines.placing import Place, Placing
from imgret.errors import EngineError, ImgretError
from imgret.extraction.job import ExtractJob, Say, quiet

if TYPE_CHECKING:
    import torch

_AHEAD = 4  # batches for each model
_TRIES = 3  # of a batch whose models went away, and of loading in one place
_LOOK = 2.0  # seconds between looks for room for more models
_TELL, _AGAIN = 10.0, 60.0  # seconds of waiting until it is told, and until it is told again
_PATIENCE = 300.0  # seconds for a model to come when all went away


@dataclass(eq=False)
class _Batch:
    """Images of one size on their way: who describes them, and how many models went away over them."""

    number: int
    pixels: list[RemotePixels]
    model: _Model
    rows: Any = None
    lost: int = 0


@dataclass(eq=False)
class _Model:
    """An actor, what it answers once its worker runs and once it has loaded, and its batches, the oldest first."""

    place: Place
    actor: Any
    runs: Any
    loaded: Any
    batches: list[_Batch] = field(default_factory=list)


class Models:
    """Stands in for a Describer: models on the cluster's workers (see Placing), batches to whichever has least to do.

    A model that goes away is left out, its batches are given to others, and another is started in its place, as on
    machines that join. Rows depend on the batch alone, so it does not matter who describes it.
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
        self._placing = Placing(cluster, job)
        self._most = most
        # Batches are given anew here, and models started anew: an actor of Ray's would wait for a machine like its own.
        self._actor = cluster.ray.remote(max_restarts=0, max_task_retries=0, num_cpus=0)(remote.Model)
        # A worker's own GPU is the first that it sees, whatever its number on the machine.
        job = replace(job, images=(), device="cpu" if job.device == "cpu" else "auto")
        # Nor is its folder this one.
        job = replace(job, model=_absolute(job.model), weights=_absolute(job.weights))
        self._load = job, recipe, origin, _absolute(weights)
        self._coming: list[_Model] = []
        self._ready: list[_Model] = []
        self._refused: list[_Model] = []
        self._fallen: Counter[str] = Counter()  # workers that went away while they loaded, by place
        self._nodes: frozenset[str] = frozenset()
        self._facts: remote.Facts | None = None
        self._say: Say = quiet
        self._begun = 0
        self._looked = self._started = time.monotonic()
        self._told = False
        self._note_machines()
        self._start()

    @property
    def ahead(self) -> int:
        return _AHEAD * max(1, len(self._ready))

    @property
    def device(self) -> torch.device:
        import torch

        return torch.device("cpu" if self._facts is None else self._facts.device)

    def batch_size(self, side: int) -> int:
        from imgret.extraction.describe import batch_size_on

        return batch_size_on(self.device.type, side)

    def facts(self, say: Say, said: Sequence[str] = ()) -> remote.Facts:
        """What the models are, once the first of them is there; the others are used as they come.

        said  what need not be said again
        """
        self._say = say
        self._wait_for_one()
        assert self._facts is not None
        for text in self._facts.said:
            if text not in said:
                say(text)
        return self._facts

    def begin(self, pixels: list[RemotePixels]) -> Callable[[], np.ndarray]:
        self._look()
        model = self._least_busy()
        self._begun += 1
        batch = _Batch(self._begun, pixels, model)
        self._give(batch, model)
        return lambda: self._rows(batch)

    def close(self) -> None:
        for model in self._coming + self._ready + self._refused:
            self._cluster.ray.kill(model.actor)

    def _give(self, batch: _Batch, model: _Model) -> None:
        numbers = {chunk: number for number, chunk in enumerate(dict.fromkeys(one.chunk for one in batch.pixels))}
        wanted = [remote.Wanted(numbers[one.chunk], one.place, one.sha256) for one in batch.pixels]
        batch.model, batch.rows = model, model.actor.describe.remote(wanted, *numbers)
        model.batches.append(batch)

    def _rows(self, batch: _Batch) -> np.ndarray:
        while True:
            try:
                rows: np.ndarray = self._cluster.get(batch.rows)
            except ActorLostError as error:
                self._leave_out(batch.model, error)
            except WorkerLostError as error:  # the pixels were lost, and could not be made again
                self._count(batch, error)
                batch.model.batches.remove(batch)
                self._give(batch, self._living())
            else:
                batch.model.batches.remove(batch)
                return rows

    def _count(self, batch: _Batch, error: WorkerLostError) -> None:
        """One more that went away over these images. EngineError when it is not worth another."""
        batch.lost += 1
        if batch.lost == _TRIES:
            raise EngineError(
                f"describing the same {len(batch.pixels)} images failed {_TRIES} times: {error}; "
                "run the same again, with a smaller --batch-size if memory was short"
            ) from error

    def _least_busy(self) -> _Model:
        if not self._ready:
            self._wait_for_one(_PATIENCE)
        if len(self._ready) == 1:
            return self._ready[0]
        done = set(self._cluster.finished(batch.rows for model in self._ready for batch in model.batches))
        return min(self._ready, key=lambda model: sum(batch.rows not in done for batch in model.batches))

    def _living(self) -> _Model:
        """One to give lost batches to.

        An idle one is asked first whether it is there: a machine has several models, and one that fell with another
        must not count as lost over the batch that it is given.
        """
        while True:
            model = self._least_busy()
            if model.batches:
                return model
            try:
                self._cluster.get(model.actor.machine.remote())
            except ActorLostError as error:
                self._leave_out(model, error)
            else:
                return model

    def _leave_out(self, model: _Model, error: ActorLostError) -> None:
        """Give the batches that a model took with it to others."""
        self._ready.remove(model)
        self._cluster.ray.kill(model.actor)
        left = len(self._ready)
        self._say(f"A worker with the model went away; its batches are given to another, of {left} that are there.")
        lost = [batch for batch in model.batches if not self._is_there(batch)]
        if lost:
            self._count(lost[0], error)  # calls are done in order, so this is the one that it was at
        for batch in sorted(lost, key=lambda one: one.number):
            model.batches.remove(batch)
            self._give(batch, self._living())

    def _is_there(self, batch: _Batch) -> bool:
        """Whether a model that went away had described a batch before."""
        try:
            self._cluster.get(batch.rows)
        except WorkerLostError:
            return False
        return True

    def _wait_for_one(self, patience: float | None = None) -> None:
        """Until a model is there. EngineError when none can be, or none came within `patience` seconds."""
        began = told = time.monotonic()
        if patience is not None:
            self._say(f"No worker with the model is left; waiting for one, {patience:.0f} s at most.")
        every = _TELL
        while True:
            self._look()
            if self._ready:
                return
            now = time.monotonic()
            if patience is not None and now - began > patience:
                raise EngineError(
                    f"no worker with the model is left, and none came within {patience:.0f} s; what was described is "
                    "kept: add machines with `ray start --address`, and run the same again"
                )
            if now - told > every:
                self._say(self._waiting())
                told, every = now, _AGAIN
            if self._coming:
                self._cluster.finished((model.loaded for model in self._coming), within=0.5)
            else:
                time.sleep(0.5)

    def _waiting(self) -> str:
        """For what, in words."""
        waiting = self._without_room()
        if waiting and waiting == len(self._coming):
            return f"Still waiting for {self._placing.amount(waiting)}, which others hold; Ctrl-C ends it."
        return "Still waiting for the model to be loaded." if self._coming else "Still waiting for a machine to join."

    def _without_room(self) -> int:
        """How many models have no GPU yet; a processor has always room for one."""
        if not self._placing.gpus:
            return 0
        return len(self._coming) - len(self._cluster.finished(model.runs for model in self._coming))

    def _look(self) -> None:
        """Take the models that came, and start some where there is room for more."""
        done = set(self._cluster.finished(model.loaded for model in self._coming))
        fell: set[str] = set()
        for model in [model for model in self._coming if model.loaded in done]:
            self._coming.remove(model)
            self._take(model, fell)
        now = time.monotonic()
        if now - self._looked >= _LOOK:
            self._looked = now
            self._note_machines()
            self._start()
            if self._ready and not self._told and now - self._started > _TELL:
                self._told = True
                if waiting := self._without_room():
                    amount = self._placing.amount(waiting)
                    self._say(
                        f"Describing with {len(self._ready)}; {amount}, which others hold, are taken as they come."
                    )

    def _note_machines(self) -> None:
        """Where machines came or went, what is known of places is known no more: GPUs have one name together."""
        nodes = frozenset(node["NodeID"] for node in self._cluster.nodes())
        if nodes != self._nodes:
            self._nodes = nodes
            self._fallen.clear()
            for model in self._refused:
                self._cluster.ray.kill(model.actor)
            self._refused.clear()

    def _start(self) -> None:
        most = None if self._most is None else max(0, self._most - len(self._taken()))
        for place in self._free()[:most]:
            options = self._actor.options(**place.options)
            actor = options.remote(*self._load, place.threads, imgret.__version__)
            self._coming.append(_Model(place, actor, actor.machine.remote(), actor.load.remote()))

    def _taken(self) -> list[Place]:
        return [model.place for model in self._ready + self._coming + self._refused]

    def _free(self) -> list[Place]:
        """Where a model may be started, the places first where none went away as it was loaded."""
        places = sorted(self._placing.missing(self._taken()), key=lambda place: self._fallen[place.name])
        return [place for place in places if self._fallen[place.name] < _TRIES]

    def _take(self, model: _Model, fell: set[str]) -> None:
        """Use a model that has loaded, if it is what the first one is. ImgretError when there is none and cannot be.

        fell  places where one fell in this look: models of one machine go away together, which counts once
        """
        try:
            facts: remote.Facts = self._cluster.get(model.loaded)
        except WorkerLostError as error:
            self._fallen[model.place.name] += model.place.name not in fell
            fell.add(model.place.name)
            if self._fallen[model.place.name] >= _TRIES and not (self._ready or self._coming or self._free()):
                raise EngineError(f"loading the model failed {_TRIES} times, the last time: {error}") from error
            return
        except ImgretError as error:
            if self._facts is None:
                raise
            self._refuse(model, str(error))
            return
        self._fallen[model.place.name] = 0
        if self._facts is None:
            self._facts = facts
        elif (different := facts.other_than(self._facts)) is not None:
            self._refuse(model, different)
            return
        self._ready.append(model)

    def _refuse(self, model: _Model, why: str) -> None:
        """It keeps its place, so that no other is started there."""
        self._refused.append(model)
        try:
            machine = self._cluster.get(model.runs)
        except ImgretError:  # its worker could not even begin
            machine = "a machine"
        self._say(f"The model of {machine} is not used: {why}")


def _absolute(name: str | None) -> str | None:
    """A file's name from everywhere; other names as they are."""
    return os.path.abspath(name) if name and os.path.isfile(name) else name
