"""`train`: from a data set and a recipe to a weights file, validated by the real evaluation."""

from __future__ import annotations

import csv
import dataclasses
import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret import atomic
from imgret.errors import InputError, StoreBusyError
from imgret.extraction.job import Say, quiet

if TYPE_CHECKING:
    import numpy as np

    from imgret.datasets.labelled import LabelledImages
    from imgret.models.base import DescriptorModel
    from imgret.store.failures import Failure
    from imgret.training.loop import TrainReport
    from imgret.training.recipe import Recipe

Show = Callable[[int, int, float, float], object]


def train(recipe: Recipe, folder: Path, *, show: Show | None = None, say: Say = quiet) -> TrainReport:
    """Train into `folder`, going on from its last checkpoint; `show` hears (batch, of, loss, images a second).

    Under `torchrun` every process calls this; rank 0 writes, validates and talks.
    """
    from imgret.allocator import keep_freed_memory
    from imgret.extraction.describe import resolve_device, resolve_precision
    from imgret.extraction.stream import default_workers
    from imgret.training.loop import Trainer
    from imgret.training.processes import joined

    device = resolve_device(recipe.run.device)
    if device.type == "cpu":
        keep_freed_memory()
    precision = resolve_precision(recipe.run.precision, device)
    workers = default_workers() if recipe.batches.workers is None else recipe.batches.workers
    rest, judged = training_sets(recipe, say)
    failed: dict[str, Failure] = {}
    with joined(device.type == "cuda") as processes, _held(folder, processes.first):
        if device.type == "cuda" and processes.world > 1:
            device = resolve_device(f"cuda:{processes.local}")
        return Trainer(
            recipe,
            folder,
            rest,
            device,
            precision,
            workers,
            validator(recipe, judged, str(device), precision, workers, failed),
            processes,
            say,
            show if processes.first else None,
            training_pairs(recipe, rest),
            failed,
        ).run()


@contextmanager
def _held(folder: Path, first: bool) -> Iterator[None]:
    """The run's folder, made where it is missing, for one `imgret train` at a time; only the first process holds it."""
    from imgret.store.lock import WriterLock

    if not first:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}; name another folder with -o") from error
    with ExitStack() as held:
        try:
            held.enter_context(WriterLock(folder, "run.lock"))
        except StoreBusyError as error:
            who = str(error).partition(";")[0]
            raise InputError(f"{who}; wait for it to end, or name another folder with -o") from None
        yield


def training_sets(recipe: Recipe, say: Say = quiet) -> tuple[LabelledImages, LabelledImages | None]:
    """What is trained on, and the held-out part or split that is judged (None without one)."""
    from imgret.datasets import load_dataset
    from imgret.datasets.checks import notes
    from imgret.datasets.splitting import hold_out_classes

    data, validation = recipe.data, recipe.validation
    if data.dataset is None:
        raise InputError("name what to train on: imgret train RECIPE --data FOLDER (class folders, or a table)")
    options: dict[str, Any] = {} if data.exclude is None else {"exclude": data.exclude}
    images = load_dataset(data.dataset, data.format, root=data.root, **options)
    judged = None
    if validation.split is not None:
        judged = images.split(validation.split)
    if data.split is not None:
        images = images.split(data.split)
    if validation.hold_out:
        images, judged = hold_out_classes(images, validation.hold_out, recipe.run.seed)
    if judged is not None and len(judged.classes) < 2 and (judged.labels >= 0).all():
        raise InputError(
            f"what is judged has {len(judged.classes)} class, and among images of one class every ranking is perfect; "
            "judge two or more, such as --set validation.hold_out=0.5, or nothing: --set validation.hold_out=0"
        )
    for note in notes(images):
        say(f"note: {note}")
    return images, judged


def training_pairs(recipe: Recipe, images: LabelledImages) -> np.ndarray | None:
    """Rows [P, 2] of the pairs that the set is published with, for a loss on tuples; None: any two of a class match.

    Pairs of images that are held out are not among them.
    """
    import numpy as np

    from imgret.datasets import has_pairs, load_pairs
    from imgret.training.recipe import on_tuples

    data = recipe.data
    if not on_tuples(recipe) or data.dataset is None or not has_pairs(data.dataset, data.format):
        return None
    if data.split is None:
        raise InputError(f"data.split says whose pairs {recipe.loss.name} learns from: --set data.split=train")
    listed = load_pairs(data.dataset, data.split, root=data.root)
    row_of = {image.id: row for row, image in enumerate(images.images)}
    rows = np.array([row_of.get(image.id, -1) for image in listed.images], np.int64)
    pairs = np.stack([rows[listed.queries], rows[listed.positives]], 1)
    return pairs[(pairs >= 0).all(1)]


def validator(
    recipe: Recipe,
    judged: LabelledImages | None,
    device: str,
    precision: str,
    workers: int,
    failed: dict[str, Failure] | None = None,
) -> Callable[[DescriptorModel], float] | None:
    """What judges a model: its mAP (medium if there are levels) by `extract` into a store of its own and `evaluate`.

    Judged images that cannot be read count as never found, and are put into `failed`, by id. None when the recipe
    judges nothing.
    """
    asked = recipe.validation
    if judged is None and asked.ground_truth is None:
        return None

    def validate(model: DescriptorModel) -> float:
        from imgret.extraction.extract import run as extract
        from imgret.extraction.job import ExtractJob
        from imgret.models.weights import save_weights
        from imgret.store import failures as register
        from imgret.store.store import FAILURES_FILE
        from imgret.workflows.evaluating import EvalJob, evaluate
        from imgret.workflows.queries import QueryOptions

        with tempfile.TemporaryDirectory(prefix="imgret-validation-") as place:
            folder = Path(place)
            weights, store = folder / "model.safetensors", folder / "store"
            save_weights(model, weights, {})
            job = ExtractJob(
                images=(),
                output=store,
                model=str(weights),
                image_size=asked.image_size,
                precision=precision,
                device=device,
                workers=workers,
            )
            if judged is not None:
                truth = folder / "truth.csv"
                _write_judged(judged, asked.queries, recipe.run.seed, truth, folder / "list.csv")
                extract(dataclasses.replace(job, list_file=folder / "list.csv", root=Path("/")))
                query_images = None
            else:
                truth, query_images = Path(asked.ground_truth or ""), Path(asked.images or "")
                extract(dataclasses.replace(job, images=(str(query_images),)))
            if failed is not None:
                failed.update({one.id: one for one in register.load(store / FAILURES_FILE)})
            options = QueryOptions(device=device, workers=workers, weights=str(weights))
            scores, _ = evaluate(EvalJob(truth, store=store, images=query_images, options=options, allow_missing=True))
        level = "medium" if "medium" in scores.subsets else next(iter(scores.subsets))
        return float(scores.subsets[level]["map"] or 0.0)

    return validate


def _write_judged(judged: LabelledImages, queries: int, seed: int, truth: Path, listed: Path) -> None:
    """The ground truth of held-out images, and the list that extraction reads."""
    import os

    from imgret.datasets.judging import as_csv

    atomic.write_bytes(truth, as_csv(judged, queries=queries, seed=seed))
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(["path", "id", "x1", "y1", "x2", "y2"])
    for image in judged.images:
        out.writerow([os.path.abspath(image.path), image.id, *(image.box or ("", "", "", ""))])
    atomic.write_bytes(listed, text.getvalue().encode("utf-8", "surrogateescape"))
