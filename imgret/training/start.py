"""What a run starts from: its model, loss, plan of batches and optimiser, made as the recipe says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from imgret.datasets.checks import need_classes
from imgret.datasets.labelled import LabelledImages
from imgret.errors import ImgretError
from imgret.ids import escape
from imgret.models import load_model
from imgret.models.base import DescriptorModel
from imgret.models.weights import build
from imgret.tables import look_up, resolve
from imgret.training.batches.aspects import aspects
from imgret.training.batches.pk import PKBatches
from imgret.training.batches.plans import BatchPlan, FixedSize, SizeGroups
from imgret.training.batches.sizes import Template, scaled, template_called
from imgret.training.batches.tuples import TuplePlan
from imgret.training.losses import LOSSES
from imgret.training.losses.classifiers import ArcFace
from imgret.training.losses.curricular import CurricularFace
from imgret.training.losses.dynamic import dynamic_margins
from imgret.training.losses.sharded import ShardedArcFace
from imgret.training.rates import parameter_groups
from imgret.training.recipe import Batches, Optimiser, Recipe, Schedule, on_tuples
from imgret.training.schedule import warmup_cosine, warmup_exponential
from imgret.training.teaching.tutor import Tutor

_LARGE = 0.5e9  # bytes of a classifier from which a person should know
_TEMPLATE = "S2"  # whose shapes are scaled when a recipe gives a side


def start_model(recipe: Recipe) -> DescriptorModel:
    """The model, its weights random from the recipe's seed, with a pretrained trunk, or from a weights file."""
    asked = recipe.model
    arguments: dict[str, Any] = dict(asked.arguments)
    if asked.backbone is not None:
        arguments["backbone"] = asked.backbone
    if asked.start is not None:
        return load_model(asked.name, weights=asked.start, arguments=arguments).model
    if asked.pretrained:
        arguments["pretrained"] = True
    try:
        return build(asked.name, arguments, recipe.run.seed)
    except TypeError as error:
        raise ImgretError(f"model.arguments: {asked.name} takes no such argument: {error}") from error
    except ValueError as error:
        raise ImgretError(f"model.arguments: {error}") from error


def start_loss(recipe: Recipe, dim: int, images: LabelledImages) -> nn.Module:
    """The loss, for descriptors of `dim`; its own weights are random from the recipe's seed. Empty for a weight of 0.

    A margin of "dynamic" is one for each class, larger for smaller classes: see `dynamic_margins`.
    """
    card = look_up(LOSSES, "loss", recipe.loss.name)
    if card.needs == "pk batches" and recipe.batches.kind != "pk":
        raise ImgretError(f'loss.name: {recipe.loss.name} needs batches of classes: set batches.kind = "pk"')
    if not recipe.loss.weight:
        return nn.Module()  # a teacher alone teaches, and images need no labels
    need_classes(images, recipe.loss.name)
    sizes = (dim, len(images.classes)) if card.needs == "classes" else ()
    arguments: dict[str, Any] = dict(recipe.loss.arguments)
    if arguments.get("margin") == "dynamic":
        arguments["margin"] = dynamic_margins(torch.from_numpy(images.counts()))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.run.seed)
        try:
            loss: nn.Module = resolve(card.target)(*sizes, **arguments)
        except (TypeError, ValueError) as error:
            raise ImgretError(f"loss.arguments: {recipe.loss.name}: {error}") from error
    return loss


def classifier_note(loss: nn.Module, recipe: Recipe, world: int) -> str | None:
    """One line about the memory of a classifier in each of `world` processes; None for one of less than 0.5 GB.

    Kept: weights, gradient, momenta, and DistributedDataParallel's copy of the gradient. At the peak of a step come
    unit rows and logits with their gradients, about 4 matrices and 6 tables of logits (tests/benchmarks/
    bench_classifier.py).
    """
    if not isinstance(loss, (ArcFace, ShardedArcFace, CurricularFace)):
        return None
    optimiser, batches = recipe.optimiser, recipe.batches
    spread = isinstance(loss, ShardedArcFace)
    sample = loss.sample if isinstance(loss, ShardedArcFace) else 1.0
    momenta = 2 if optimiser.name.startswith("adam") else int(optimiser.momentum > 0)
    matrix = loss.weight.numel() * loss.weight.element_size()
    kept = matrix * (2 + momenta + (world > 1 and not spread))
    rows = batches.batch_size * batches.views // (1 if spread else world)  # a spread one scores those of all
    peak = kept + sample * (4 * matrix + 6 * rows * 4 * len(loss.weight))
    if peak < _LARGE:
        return None
    said = (
        f"the classifier of {loss.classes} classes x {loss.dim} keeps {kept / 1e9:.2g} GB in each process "
        f"(weights, gradient, momenta) and takes about {peak / 1e9:.2g} GB in a step"
    )
    if not spread:
        said += "; --set loss.name=sharded-arcface shares it among the processes of torchrun"
    return said if sample < 1 else f"{said}; --set loss.arguments.sample=0.1 scores a tenth of the classes in a step"


def start_tutor(
    recipe: Recipe,
    student: DescriptorModel,
    images: LabelledImages,
    folder: Path,
    device: torch.device,
    precision: str,
    rank: int,
) -> Tutor | None:
    """The teacher that the recipe names, its answers in a folder of the run's; None when it names none."""
    if recipe.teacher.model is None:
        if recipe.loss.weight:
            return None
        raise ImgretError(
            "loss.weight is 0, so a teacher alone teaches: name one, such as --set teacher.model=FILE.safetensors"
        )
    answers = folder / ("teacher" if rank == 0 else f"teacher-{rank}")
    return Tutor(recipe.teacher, student, images.labels, answers, device, precision, recipe.run.seed)


def start_plan(
    recipe: Recipe,
    images: LabelledImages,
    workers: int,
    say: Callable[[str], object],
    note: Callable[[int, str], object],
    pairs: np.ndarray | None = None,
) -> BatchPlan | TuplePlan:
    """Which images go together; images whose header cannot be read are in no batch of a size group.

    `note` hears (row, why) of each of those. `pairs` [P, 2] are those that a set is published with, for a loss on
    tuples.
    """
    batches, seed = recipe.batches, recipe.run.seed
    size = _size(batches)
    shapes = None
    if isinstance(size, Template):
        shapes, failures = aspects(images.images, workers)
        for row, why in failures:
            note(row, why)
        if failures:
            row, why = failures[0]
            first = escape(images.images[row].id)
            say(f"{len(failures)} images cannot be opened and are left out, the first is {first}: {why}")
    if on_tuples(recipe):
        return TuplePlan(images.labels, batches.batch_size, size, recipe.tuples, shapes, pairs, seed, say)
    if batches.kind == "pk":
        per_class = batches.images_per_class or 2
        kinds = batches.batch_size // per_class
        plan = PKBatches(images.labels, kinds, per_class, size, shapes, seed)
        if len(plan.left_out):
            say(f"{len(plan.left_out)} classes are in no batch: too few images to make pairs")
        return plan
    if isinstance(size, Template):
        assert shapes is not None
        return SizeGroups(shapes, batches.batch_size, size, seed=seed)
    return FixedSize(len(images.images), batches.batch_size, size[0], seed=seed)


def start_optimiser(model: nn.Module, loss: nn.Module, optimiser: Optimiser) -> Optimizer:
    """SGD with momentum (Nesterov's is not used), AdamW or Adam, over the recipe's parameter groups."""
    groups = parameter_groups(model, optimiser, loss)
    if optimiser.name == "sgd":
        return SGD(groups, lr=optimiser.lr, momentum=optimiser.momentum)
    kind = Adam if optimiser.name == "adam" else AdamW
    return kind(groups, lr=optimiser.lr, betas=(optimiser.momentum, 0.999))


def start_schedule(optimiser: Optimizer, schedule: Schedule, per_epoch: int) -> LambdaLR:
    """The learning rate over the run, of `per_epoch` steps an epoch."""
    steps = schedule.epochs * per_epoch
    warmup = min(steps - 1, round(schedule.warmup_epochs * per_epoch))
    if schedule.decay is not None:
        return warmup_exponential(optimiser, per_epoch, warmup, schedule.decay)
    return warmup_cosine(optimiser, steps, warmup, schedule.final_lr)


def need_still_batch_norms(recipe: Recipe, model: DescriptorModel) -> None:
    """ImgretError when a batch norm would learn from the images of a tuple that happen to have one shape."""
    if not on_tuples(recipe) or recipe.batches.kind == "fixed":
        return
    trunk = getattr(model, "trunk", None)
    inside = set() if trunk is None else set(trunk.modules())
    norms = {part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)}
    if norms - inside:
        raise ImgretError(
            f'batches.kind: {recipe.model.name} has a batch norm behind its trunk, and "size-groups" cuts tuples into '
            'groups of an image or two; set batches.kind = "fixed" and batches.size to a side in pixels'
        )
    if norms and not recipe.optimiser.freeze_batch_norm:
        raise ImgretError(
            'batches.kind: "size-groups" cuts tuples into groups of an image or two, too few for a batch norm; '
            'set optimiser.freeze_batch_norm = true, or batches.kind = "fixed" and batches.size to a side in pixels'
        )


def _size(batches: Batches) -> Template | tuple[int, int]:
    if isinstance(batches.size, str):
        return template_called(batches.size)
    if batches.kind == "size-groups":
        return scaled(template_called(_TEMPLATE), batches.size)
    return batches.size, batches.size


def data_digest(images: LabelledImages, pairs: np.ndarray | None = None) -> str:
    """SHA-256 over ids, labels and pairs, in order: what a checkpoint was trained on."""
    import hashlib

    sha = hashlib.sha256(np.ascontiguousarray(images.labels).data)
    for image in images.images:
        sha.update(image.id.encode("utf-8", "surrogateescape") + b"\0")
    if pairs is not None:
        sha.update(np.ascontiguousarray(pairs).data)
    return sha.hexdigest()
