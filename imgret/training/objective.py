"""What is made small: a loss on labels or tuples, the supervision of attentions, and what a teacher has to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from imgret.models.base import DescriptorModel
from imgret.nn.map_supervision import map_supervision
from imgret.nn.recording import recorded
from imgret.training.batches.samples import TrainBatch
from imgret.training.batches.tuple_loading import TrainTuples
from imgret.training.forward import as_images, autocast
from imgret.training.processes import Processes
from imgret.training.recipe import Recipe
from imgret.training.teaching.tutor import Tutor


@dataclass
class Objective:
    """The value of one batch for the model, gradients attached; `describer` is what calls the model on images.

    `begin` must be called after parameters were frozen or freed: gradients are exchanged for those that have one.
    """

    recipe: Recipe
    model: DescriptorModel
    describer: nn.Module
    loss: nn.Module
    tutor: Tutor | None
    device: torch.device
    precision: str
    processes: Processes

    def begin(self) -> None:
        """Get ready for an epoch."""
        wrapped = self.processes.wrapped
        self._describe = wrapped(self.describer, self.device)
        self._score = self.loss if getattr(self.loss, "shards", None) else wrapped(self.loss, self.device)
        self._teach = None if self.tutor is None else wrapped(self.tutor.lesson, self.device)

    def of(self, batch: TrainBatch | TrainTuples, step: int) -> Tensor:
        """A scalar in float32; what is drawn at random for a teacher's bank is decided by the step."""
        images = [as_images(pixels, self.device) for pixels in batch.parts]
        asked, model = self.recipe.loss, self.model
        attentions: Any = getattr(model, "attentions", ()) if asked.map_weight else ()
        trunk: Any = [model.trunk] if self.tutor is not None and self.recipe.teacher.map_weight else []
        with autocast(self.device, self.precision), recorded(attentions) as maps, recorded(trunk) as features:
            rows = self._describe(*images)
        value: Tensor = rows.sum() * 0
        if asked.weight:
            value = asked.weight * self._score(rows, batch.target.to(self.device))
        if not isinstance(batch, TrainBatch):
            return value
        if asked.map_weight and batch.maps is not None:
            clicks = batch.maps.to(self.device), batch.has_map.to(self.device)
            value = value + asked.map_weight * map_supervision(maps, *clicks)
        if self.tutor is not None and self._teach is not None:
            lesson = self._teach(rows, features[0] if features else None, self.tutor.taught(batch, step))
            value = value + self.recipe.teacher.weight * lesson
        return value
