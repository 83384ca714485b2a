"""Recipe: everything `imgret train` can be told, with the defaults' one home. Standard library only.

A recipe file is TOML with the sections below; what it leaves out has the default written here. Paths are as
on a command line: relative to the folder `imgret train` is run in. `recipe_file` reads and writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from imgret.training.losses import LOSSES


def checked(default: Any, must: str, holds: Callable[[Any], bool]) -> Any:
    """A field whose value `must` be so, in words, and `holds` tells whether it is."""
    return field(default=default, metadata={"must": f"must be {must}", "holds": holds})


def at_least(low: int, default: int | None) -> Any:
    """A field for a number of at least `low`."""
    return checked(default, f"at least {low}", lambda number: number >= low)


def above_zero(default: float | None) -> Any:
    """A field for a positive number."""
    return checked(default, "above 0", lambda number: number > 0)


def not_negative(default: float) -> Any:
    """A field for a number that may be zero."""
    return checked(default, "0 or more", lambda number: number >= 0)


def one_of(words: Sequence[str]) -> Any:
    """A field for one of a few words, the first of them by default."""
    return field(default=words[0], metadata={"words": tuple(words)})


def row_of(target: str, default: str) -> Any:
    """A field for the name of a row in a table, "module:TABLE"."""
    return field(default=default, metadata={"table": target})


def table() -> Any:
    """A field for named arguments of something chosen by name, handed over as they are."""
    return field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """What is learned from.

    dataset   folder or table of the data set; a recipe that ships leaves it to the command line
    format    a row of imgret.datasets.DATASETS, or "auto"
    root      where the images are, if not beside the table
    split     the only split that is trained on, for sets that have them
    exclude   a file of ids or classes left out
    maps      folder of heat maps by image id, for `loss.map_weight`
    """

    dataset: str | None = None
    format: str = "auto"
    root: str | None = None
    split: str | None = None
    exclude: str | None = None
    maps: str | None = None


@dataclass(frozen=True)
class Model:
    """What is trained.

    name        a row of imgret.models.MODELS
    backbone    a timm name; the model's own if left out
    pretrained  the trunk starts from timm's weights
    arguments   of the model's constructor
    start       a weights file that all of the model starts from
    """

    name: str = row_of("imgret.models:MODELS", "glam")
    backbone: str | None = None
    pretrained: bool = False
    arguments: Mapping[str, Any] = table()
    start: str | None = None


@dataclass(frozen=True)
class Batches:
    """How images come together.

    kind              "size-groups" (a batch has one shape), "fixed" (all are square), "pk" (classes x images)
    size              a template of shapes such as "S2", or one side in pixels
    batch_size        images of one forward pass, over all processes
    images_per_class  K of "pk"; the classes of a batch are P = batch_size / K
    augment           how pixels are changed: a row of AUGMENTATIONS
    views             how often an image is in its batch, each time changed anew
    workers           processes that decode; one per core if left out
    accumulate        batches whose gradients make one step
    """

    kind: str = one_of(("size-groups", "fixed", "pk"))
    size: int | str = checked("S2", "a name or at least 32 pixels", lambda size: isinstance(size, str) or size >= 32)
    batch_size: int = at_least(2, 64)
    images_per_class: int | None = at_least(2, None)
    augment: str = row_of("imgret.training.batches:AUGMENTATIONS", "soft")
    views: int = checked(1, "1 or 2", lambda views: views in (1, 2))
    workers: int | None = at_least(0, None)
    accumulate: int = at_least(1, 1)


@dataclass(frozen=True)
class Tuples:
    """What a loss on tuples (query, positive, negatives) learns from, drawn and mined anew each epoch.

    queries    of an epoch, drawn with a positive each; all there are where they are fewer
    pool       images of an epoch among which negatives are looked for; all where they are fewer
    negatives  of a query; a tuple has 2 + negatives images, and batches.batch_size is a multiple of that
    """

    queries: int = at_least(1, 2000)
    pool: int = at_least(2, 22000)
    negatives: int = at_least(1, 5)


@dataclass(frozen=True)
class Loss:
    """What is made small: `name` is a row of LOSSES, `arguments` are its constructor's.

    weight      of all that; 0 when only a teacher teaches
    map_weight  of the supervision of attentions by heat maps; 0 is none
    """

    name: str = row_of("imgret.training.losses:LOSSES", "arcface")
    arguments: Mapping[str, Any] = table()
    weight: float = not_negative(1.0)
    map_weight: float = not_negative(0.0)


@dataclass(frozen=True)
class Teacher:
    """Another model to learn from beside the labels; none if `model` is left out.

    model         a row of imgret.models.MODELS, or a weights file
    backbone      a timm name; the model's own if left out
    weights       "auto" or a weights file
    windows       fixed windows of each image, taken in turn epoch by epoch; the teacher answers each once
    weight        of what is learned from it, beside `loss.weight`
    own           share of the own image in what a descriptor should recognise in a bank of images
    label         share of the images of its class; the rest is as the teacher sees the bank
    temperature   of the teacher's softmax
    scale         of the student's
    bank          images drawn for the bank at every step, beside those of the batch
    map_weight    of the comparison of maps, within `weight`
    map_channels  to which a fixed random projection brings the teacher's map
    grid          cells a side on which maps are compared
    """

    model: str | None = None
    backbone: str | None = None
    weights: str = "auto"
    windows: int = at_least(1, 8)
    weight: float = not_negative(1.0)
    own: float = checked(0.3, "between 0 and 1", lambda share: 0 <= share <= 1)
    label: float = checked(0.0, "between 0 and 1", lambda share: 0 <= share <= 1)
    temperature: float = above_zero(0.1)
    scale: float = above_zero(20.0)
    bank: int = at_least(1, 512)
    map_weight: float = not_negative(1.0)
    map_channels: int = at_least(1, 128)
    grid: int = at_least(1, 5)


@dataclass(frozen=True)
class Rates:
    """Factors of the learning rate, by part of the model: see `imgret.training.rates`."""

    trunk: float = not_negative(1.0)
    head: float = not_negative(1.0)
    gem_p: float = not_negative(10.0)  # Radenović's released code
    gates: float = not_negative(10.0)


@dataclass(frozen=True)
class Optimiser:
    """How a step is taken.

    name               "sgd", "adamw", or "adam", whose weight decay is added to the gradient
    lr                 the highest learning rate, before the factors of `rates`
    momentum           of SGD; for the others their first beta
    weight_decay       of weights; biases, norms and scales have none
    clip               the longest gradient, as a norm over all parameters; no limit if left out
    freeze_batch_norm  the trunk's batch norms keep their statistics and weights
    frozen_epochs      epochs at the start in which the trunk is not trained
    ema                decay of the moving average of the weights that is validated and kept; none if left out
    """

    name: str = one_of(("sgd", "adamw", "adam"))
    lr: float = above_zero(1e-3)
    momentum: float = checked(0.9, "0 or more and below 1", lambda momentum: 0 <= momentum < 1)
    weight_decay: float = not_negative(1e-5)
    clip: float | None = above_zero(None)
    freeze_batch_norm: bool = False
    frozen_epochs: int = at_least(0, 0)
    ema: float | None = checked(None, "between 0 and 1", lambda decay: 0 < decay < 1)
    rates: Rates = Rates()


@dataclass(frozen=True)
class Schedule:
    """How long, and how the learning rate moves: a line up, then a cosine down to `final_lr` times the highest.

    decay  no cosine: exp(-decay) times the rate from each epoch to the next
    """

    epochs: int = at_least(1, 5)
    warmup_epochs: float = not_negative(0.0)
    final_lr: float = checked(0.0, "between 0 and 1", lambda ratio: 0 <= ratio <= 1)
    decay: float | None = above_zero(None)


@dataclass(frozen=True)
class Validation:
    """What tells how good the model is: one of three, or nothing.

    hold_out      share of the classes that is not trained on but judged
    split         the split of the data set that is judged
    ground_truth  a ground-truth file, over the folder `images`
    image_size    longer side in pixels; the model's own if left out
    every         epochs from one validation to the next
    queries       at most so many
    patience      validations without a better score after which training stops; 0 is never
    """

    hold_out: float = checked(0.0, "0 or more and below 1", lambda share: 0 <= share < 1)
    split: str | None = None
    ground_truth: str | None = None
    images: str | None = None
    image_size: int | None = at_least(32, None)
    every: int = at_least(1, 1)
    queries: int = at_least(1, 1000)
    patience: int = at_least(0, 0)


@dataclass(frozen=True)
class Run:
    """Where it runs: nothing here but `seed` and `precision` changes what is learned.

    precision     "auto" is bf16 where the device has it
    save_minutes  from one checkpoint to the next, beside those after each epoch
    """

    seed: int = at_least(0, 0)
    device: str = "auto"
    precision: str = one_of(("auto", "fp32", "bf16", "fp16"))
    save_minutes: float = above_zero(10.0)


@dataclass(frozen=True)
class Recipe:
    """One training run, whole."""

    data: Data = Data()
    model: Model = Model()
    batches: Batches = Batches()
    tuples: Tuples = Tuples()
    loss: Loss = Loss()
    teacher: Teacher = Teacher()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    validation: Validation = Validation()
    run: Run = Run()


_FREE = ("run.device", "run.save_minutes", "batches.workers")
_PATHS = {
    *("data.dataset", "data.root", "data.exclude", "data.maps", "model.start", "teacher.model", "teacher.weights"),
    *("validation.ground_truth", "validation.images"),
}


def as_dict(recipe: Any) -> dict[str, Any]:
    """Section -> key -> value, for JSON; keys that are left out are left out."""
    tree = {}
    for name, value in vars(recipe).items():
        if hasattr(value, "__dataclass_fields__"):
            tree[name] = as_dict(value)
        elif value is not None:
            tree[name] = dict(value) if isinstance(value, Mapping) else value
    return tree


def deciding(recipe: Recipe) -> dict[str, Any]:
    """'section.key' -> value of all that decides the result: a run goes on only where these are equal."""
    used = {"tuples": on_tuples(recipe), "teacher": recipe.teacher.model is not None}
    idle = {section for section, is_used in used.items() if not is_used}
    return {
        key: value
        for key, value in _flat(as_dict(recipe)).items()
        if key not in _FREE and key.partition(".")[0] not in idle
    }


def shareable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What `deciding` gives, for a file that others will read: of paths only the last name, not where it lies here."""
    return {key: PurePath(value).name if key in _PATHS else value for key, value in settings.items()}


def on_tuples(recipe: Recipe) -> bool:
    """Whether the loss learns from mined tuples."""
    return LOSSES[recipe.loss.name].needs == "tuples"


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        inner = {f".{key}": one for key, one in _flat(value).items()} if isinstance(value, dict) else {"": value}
        found |= {f"{name}{key}": one for key, one in inner.items()}
    return found
