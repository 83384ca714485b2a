"""The loop: from images with labels and a recipe to a trained model, stopped and resumed at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from imgret import atomic
from imgret.datasets.labelled import LabelledImages
from imgret.errors import ImgretError
from imgret.models.base import DescriptorModel
from imgret.store.failures import Failure
from imgret.training import checkpoints, failures, journal, spread
from imgret.training.batches.loading import load
from imgret.training.batches.plans import for_rank
from imgret.training.batches.samples import TrainBatch
from imgret.training.batches.tuple_loading import TrainTuples
from imgret.training.batches.tuples import TuplePlan
from imgret.training.checkpoints import Progress
from imgret.training.curves import write_curves
from imgret.training.forward import EveryShape
from imgret.training.mining import Miner
from imgret.training.objective import Objective
from imgret.training.processes import ALONE, Processes
from imgret.training.recipe import Recipe, deciding, shareable
from imgret.training.recipe_file import to_toml
from imgret.training.start import (
    classifier_note,
    data_digest,
    need_still_batch_norms,
    start_loss,
    start_model,
    start_optimiser,
    start_plan,
    start_schedule,
    start_tutor,
)

Validate = Callable[[DescriptorModel], float]
Say = Callable[[str], object]
Show = Callable[[int, int, float, float], object]


@dataclass(frozen=True)
class TrainReport:
    """What a run has come to.

    folder       holds metrics.jsonl, curves.png, recipe.toml, last.pt, best.safetensors and, if any, failures.csv
    progress     epochs and steps done, best score and its epoch
    failed       images that could not be read, by id, in the whole run
    images       shown to the model in this call, over all processes
    seconds      of this call that were spent on batches
    stopped      why it ended: "done", or "no better for N validations"
    """

    folder: Path
    progress: Progress
    failed: dict[str, Failure]
    images: int
    seconds: float
    stopped: str


@dataclass
class Trainer:
    """One run. `validate` gives the score (a fraction, higher is better) of a model in eval mode.

    `pairs` [P, 2] are rows of matching images, for a loss on tuples; None: any two of a class match.
    """

    recipe: Recipe
    folder: Path
    images: LabelledImages
    device: torch.device
    precision: str
    workers: int = 0
    validate: Validate | None = None
    processes: Processes = ALONE
    say: Say = print
    show: Show | None = None
    pairs: np.ndarray | None = None
    failed: dict[str, Failure] = field(default_factory=dict)

    def run(self) -> TrainReport:
        """Train to the end, from the last checkpoint if the folder has one."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self.recipe.run.seed + self.processes.rank)
            self._start()
            return self._epochs()

    def _start(self) -> None:
        recipe, processes = self.recipe, self.processes
        talk = self.say if processes.first else _quiet
        self.model = start_model(recipe).to(self.device)
        self.loss = start_loss(recipe, self.model.dim, self.images).to(self.device)
        note = classifier_note(self.loss, recipe, processes.world)
        if note is not None:
            talk(f"note: {note}")
        if recipe.loss.map_weight and not hasattr(self.model, "attentions"):
            raise ImgretError(f"loss.map_weight supervises attentions, and {recipe.model.name} has none; gala has")
        self.plan = start_plan(recipe, self.images, self.workers, talk, self._note, self.pairs)
        accumulate = recipe.batches.accumulate
        self.steps_per_epoch = -(-len(self.plan) // accumulate)
        where = self.device, self.precision
        self.tutor = start_tutor(recipe, self.model, self.images, self.folder, *where, processes.rank)
        learned = self.loss if self.tutor is None else nn.ModuleList([self.loss, self.tutor.lesson])
        self.optimiser = start_optimiser(self.model, learned, recipe.optimiser)
        self.schedule = start_schedule(self.optimiser, recipe.schedule, self.steps_per_epoch)
        self.scaler = spread.gradient_scaler(self.device, self.precision == "fp16", self.loss)
        self.parts: dict[str, Any] = {
            "model": self.model,
            **spread.stateful(self.loss, self.optimiser),
            "schedule": self.schedule,
            "scaler": self.scaler,
        }
        if self.tutor is not None:
            self.parts["lesson"] = self.tutor.lesson
        self.miner: Miner | None = None
        describer: nn.Module = self.model
        if isinstance(self.plan, TuplePlan):
            need_still_batch_norms(recipe, self.model)
            how = *where, self.workers, processes
            self.miner = self.parts["tuples"] = Miner(self.plan, self.images, *how, self.folder, talk, self._note)
            describer = EveryShape(self.model)
        learning = self.model, describer, self.loss, self.tutor
        self.objective = Objective(recipe, *learning, *where, processes)
        decay = recipe.optimiser.ema
        self.average = None
        if decay is not None:
            average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
            self.average = self.parts["ema"] = average
        self.identity = {
            **deciding(recipe),
            "images": data_digest(self.images, self.pairs),
            "precision": self.precision,
        }
        self.progress = Progress()
        last = self.folder / checkpoints.LAST
        if processes.share(last.exists()):
            found = checkpoints.load(last, self.identity)
            found.restore(self.parts, processes.rank, processes.world)
            self.progress = found.progress
            self.failed.update({**failures.known(self.folder), **self.failed})
            if self.progress.epoch == recipe.schedule.epochs:
                talk(f"{self.folder} has been trained to its end; name a new folder with -o to train again")
            else:
                talk(f"going on from epoch {self.progress.epoch + 1}, batch {self.progress.batch + 1}")
        elif processes.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic.write_text(self.folder / "recipe.toml", to_toml(recipe))

    def _epochs(self) -> TrainReport:
        recipe, schedule = self.recipe, self.recipe.schedule
        self.shown, self.seconds, stopped = 0, 0.0, "done"
        self.saved = time.monotonic()
        with self._journal() as self.journal:
            for epoch in range(self.progress.epoch, schedule.epochs):
                patience = recipe.validation.patience
                if patience and self.progress.stale >= patience:
                    stopped = f"no better for {patience} validations"
                    break
                self._epoch(epoch)
                last = epoch + 1 == schedule.epochs
                due = self.validate is not None and (last or (epoch + 1) % recipe.validation.every == 0)
                better = self._judge() if due else last and self.validate is None
                self.progress = replace(self.progress, epoch=epoch + 1, batch=0)
                self._save(best=better)
                if self.processes.first:
                    metrics = journal.read(self.folder / journal.METRICS)
                    write_curves(self.folder / "curves.png", metrics, recipe.model.name)
        return TrainReport(self.folder, self.progress, self.failed, self.shown, self.seconds, stopped)

    def _epoch(self, epoch: int) -> None:
        """The rest of an epoch, from the batch that progress names."""
        recipe, processes, batches = self.recipe, self.processes, self.recipe.batches
        if self.miner is not None:
            self.miner.mine(epoch, self.model)
        self._set_modes(frozen=epoch < recipe.optimiser.frozen_epochs)
        self.objective.begin()
        done = self.progress.batch
        # An accumulated step is begun anew: its batches before the checkpoint left gradients that are not kept.
        done -= done % batches.accumulate
        source: Any = self._source(epoch, done)
        self.optimiser.zero_grad(set_to_none=True)
        begun, values = time.monotonic(), []
        with closing(source):  # its workers end with it
            for batch in source:
                for row, why in batch.failed:
                    self._note(row, why)
                place = done + batch.number + 1
                value = self.objective.of(batch, self.progress.step) / batches.accumulate
                values.append(value)
                self.scaler.scale(value).backward()
                self.shown += len(batch.rows) * processes.world
                if place % batches.accumulate and place != len(self.plan):
                    continue
                total = torch.stack([one.detach() for one in values]).sum()
                values.clear()
                # Whose clock says so first, decides for all.
                due = time.monotonic() - self.saved > 60 * recipe.run.save_minutes
                loss, save = processes.mean(torch.stack([total, total.new_tensor(due)]))
                if not _finite(loss):
                    raise self._diverged(f"the loss is {loss}", epoch, place)
                self._step(epoch, place, loss)
                self.seconds += time.monotonic() - begun
                begun = time.monotonic()
                if self.show is not None:
                    self.show(epoch * len(self.plan) + place, recipe.schedule.epochs * len(self.plan), loss, self._rate)
                if save:
                    self._check_weights(epoch)
                    self._save()
        if self.progress.batch == 0:
            self._write_failures()
            raise ImgretError(
                f"no step was made in epoch {epoch + 1}: no batch has an image that can be decoded; "
                f"{self.folder / failures.FAILURES} says why"
            )
        self._check_weights(epoch)

    def _source(self, epoch: int, done: int) -> Iterator[TrainBatch] | Iterator[TrainTuples]:
        """This process's share of an epoch's batches, from the batch `done` on."""
        recipe, batches = self.recipe, self.recipe.batches
        if self.miner is not None:
            return self.miner.load(done, batches.augment, recipe.run.seed)
        assert not isinstance(self.plan, TuplePlan)
        rank, world = self.processes.rank, self.processes.world
        heat_maps = recipe.data.maps if recipe.loss.map_weight else None
        return load(
            self.images.images,
            self.images.labels,
            [for_rank(batch, rank, world) for batch in self.plan.batches(epoch)[done:]],
            batches.augment,
            workers=self.workers,
            seed=recipe.run.seed,
            heat_maps=None if heat_maps is None else Path(heat_maps),
            views=batches.views,
            windows=0 if self.tutor is None else recipe.teacher.windows,
            turn=epoch,
            plain=None if self.tutor is None else self.tutor.asks,
            say=self.say,
            note=self._note,
        )

    def _step(self, epoch: int, place: int, loss: float) -> None:
        clip = self.recipe.optimiser.clip
        if clip is not None:
            self.scaler.unscale_(self.optimiser)
            spread.clip_gradients(self.optimiser, clip, self.loss)
        groups = self.optimiser.param_groups  # gem under a loss without weights has no head
        rate = max((group["lr"] for group in groups if group["part"] == "head"), default=groups[0]["lr"])
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.schedule.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.model)
        step = self.progress.step + 1
        self.progress = replace(self.progress, step=step, batch=place)
        self.journal.write(step, epoch=epoch + place / len(self.plan), loss=loss, lr=rate)

    def _judge(self) -> bool:
        """Validate, write the score down; whether it is the best so far."""
        assert self.validate is not None
        kept = self._kept()
        score = self.validate(kept) if self.processes.first else 0.0
        score = self.processes.share(score)
        self.progress = self.progress.judged(score)
        self.journal.write(self.progress.step, epoch=float(self.progress.epoch + 1), score=score)
        if self.processes.first:
            self.say(f"epoch {self.progress.epoch + 1}: score {100 * score:.2f} %")
        return self.progress.stale == 0

    def _check_weights(self, epoch: int) -> None:
        """A step that spoilt the weights must reach neither validation nor a checkpoint."""
        every = [parameter.detach() for group in self.optimiser.param_groups for parameter in group["params"]]
        (norm,) = self.processes.mean(nn.utils.get_total_norm(every).view(1))
        if not _finite(norm):
            raise self._diverged("the weights are not finite", epoch, self.progress.batch)

    def _diverged(self, what: str, epoch: int, place: int) -> ImgretError:
        return checkpoints.diverged(self.folder, f"{what} in epoch {epoch + 1}, batch {place} of {len(self.plan)}")

    def _note(self, row: int, why: str) -> None:
        """An image that could not be read."""
        image = self.images.images[row]
        self.failed[image.id] = failures.failure(image, why)

    def _write_failures(self) -> None:
        for theirs in self.processes.gather(self.failed):
            self.failed.update(theirs)
        if self.processes.first:
            failures.note(self.folder, self.failed.values())

    def _kept(self) -> DescriptorModel:
        """What is validated and kept: the moving average where there is one."""
        kept = self.model if self.average is None else self.average.module
        assert isinstance(kept, DescriptorModel)
        return kept.eval()

    def _save(self, best: bool = False) -> None:
        self._write_failures()
        if self.tutor is not None:
            self.tutor.answers.save()
        self.journal.sync()
        self.progress = replace(self.progress, lines=self.processes.share(self.journal.lines))
        randoms = self.processes.gather(checkpoints.random_state())
        provenance = {
            "recipe": shareable(deciding(self.recipe)),
            "images": self.identity["images"],
            "count": len(self.images.images),
            "classes": len(self.images.classes),
            "epochs": self.progress.epoch,
            "score": self.progress.best_score,
        }
        kept, first = self._kept() if best else None, self.processes.first
        checkpoints.save(self.folder, self.parts, self.progress, self.identity, randoms, kept, provenance, first)
        self.saved = time.monotonic()

    def _set_modes(self, frozen: bool) -> None:
        """Training mode; the trunk's batch norms, or all of it, held still where the recipe says so."""
        self.model.train()
        self.loss.train()
        if self.tutor is not None:
            self.tutor.lesson.train()
        for group in self.optimiser.param_groups:
            if group["part"] == "trunk":
                for parameter in group["params"]:
                    parameter.requires_grad_(not frozen)
        trunk = getattr(self.model, "trunk", None)
        if self.recipe.optimiser.freeze_batch_norm and trunk is not None:
            for part in trunk.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval().requires_grad_(False)

    @property
    def _rate(self) -> float:
        return self.shown / max(self.seconds, 1e-9)

    def _journal(self) -> AbstractContextManager[journal.Journal | journal.Unwritten]:
        if not self.processes.first:
            return nullcontext(journal.Unwritten())
        return journal.Journal(self.folder, self.say, self.progress.lines, self.progress.step)


def _finite(value: float) -> bool:
    return abs(value) < float("inf")


def _quiet(text: str) -> None:
    """Only rank 0 talks."""
