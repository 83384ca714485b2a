"""The training loop against bare arithmetic: images a second as a share of forward and backward alone. Run by hand:

    IMGRET_DATA=path/to/data python tests/benchmarks/bench_loop.py --backbone resnet18 --size 112

Both take the same model, loss, precision and shapes of batches, in turns: forward and backward passes on tensors
that are ready, then some batches of the loop (decoding, augmentation, forward, backward, clipping, optimiser, moving
average, journal). Prints a Markdown table; the ratio is of the medians of the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from imgret.extraction.describe import PRECISIONS, resolve_precision
from imgret.training.batches.loading import load
from imgret.training.batches.plans import Batch
from imgret.training.loop import Trainer
from imgret.training.recipe import Recipe
from imgret.training.recipe_file import override, read
from imgret.training.start import start_loss, start_model, start_plan
from imgret.workflows.training import training_sets


def bare(recipe: Recipe, shapes: list[tuple[int, int]], classes: int, precision: str, images: object) -> float:
    """Images a second of forward and backward on tensors that are ready, in batches of `shapes` (width, height)."""
    model = start_model(recipe).train()
    loss = start_loss(recipe, model.dim, images).train()  # type: ignore[arg-type]
    count = recipe.batches.batch_size
    labels = torch.arange(count) % classes
    ready = {shape: torch.rand(count, 3, shape[1], shape[0]) for shape in set(shapes)}
    dtype = PRECISIONS[precision]
    seconds = 0.0
    for number, shape in enumerate([shapes[0], *shapes]):  # the first is not counted
        start = time.perf_counter()
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            rows = model(ready[shape])
        loss(rows, labels).backward()
        model.zero_grad()
        loss.zero_grad()
        seconds += (time.perf_counter() - start) * (number > 0)
    return count * len(shapes) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--model", default=None)
    parser.add_argument("--backbone", default=None)
    parser.add_argument("--size", type=int, default=None)
    parser.add_argument("--batches", type=int, default=12, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    values = {
        "data.dataset": str(Path(os.environ["IMGRET_DATA"]) / "train"),
        "model.name": arguments.model,
        "model.backbone": arguments.backbone,
        "batches.size": arguments.size,
        "schedule.epochs": 1,
        "schedule.warmup_epochs": 0.0,
        "validation.hold_out": 0.0,
    }
    recipe = override(read(arguments.recipe), **values)
    device = torch.device("cpu")
    precision = resolve_precision("auto", device)
    images, _ = training_sets(recipe)
    plan = start_plan(recipe, images, 0, lambda text: None, lambda row, why: None)
    planned: list[Batch] = plan.batches(0)[: arguments.batches]
    shapes = [batch.size for batch in planned]
    start = time.perf_counter()
    for _ in load(images.images, images.labels, planned, recipe.batches.augment, workers=0):
        pass
    loading = 1000 * (time.perf_counter() - start) / sum(len(batch.rows) for batch in planned)
    print(f"{torch.get_num_threads()} threads, {precision}; to load an image takes {loading:.2f} ms of one core\n")
    print("| model | trunk, side | workers | bare | loop | ratio |\n|---|---|---|---|---|---|")
    for workers in arguments.workers:
        rates: dict[str, list[float]] = {"bare": [], "loop": []}
        for _ in range(arguments.rounds):
            rates["bare"].append(bare(recipe, shapes, len(images.classes), precision, images))
            with tempfile.TemporaryDirectory() as place:
                trainer = Trainer(recipe, Path(place), images, device, precision, workers, say=lambda text: None)
                rates["loop"].append(_some(trainer, arguments.batches))
        loop, alone = statistics.median(rates["loop"]), statistics.median(rates["bare"])
        side = recipe.batches.size
        print(
            f"| {recipe.model.name} | {recipe.model.backbone}, {side} px | {workers} | {alone:.1f} | {loop:.1f} | "
            f"{loop / alone:.2f} |",
            flush=True,
        )


class _EnoughError(Exception):
    """The batches that are timed are done."""


def _some(trainer: Trainer, batches: int) -> float:
    """Images a second of the loop over its first batches, the very first left out."""
    times: list[float] = []

    def show(batch: int, of: int, loss: float, rate: float) -> None:
        times.append(time.perf_counter())
        if batch > batches:
            raise _EnoughError

    trainer.show = show
    with contextlib.suppress(_EnoughError):
        trainer.run()
    return trainer.recipe.batches.batch_size * (len(times) - 1) / (times[-1] - times[0])


if __name__ == "__main__":
    main()
