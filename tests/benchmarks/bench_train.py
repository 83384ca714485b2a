"""What training brings: mAP on classes never seen, before and after, by one recipe for every model. Run by hand:

    IMGRET_DATA=path/to/data python tests/benchmarks/bench_train.py --models gem glam --per-class 40 --epochs 6

Trains on `$IMGRET_DATA/train` by the recipe `small` with the values given; the held-out classes are judged by
`imgret eval` itself, before the first step and at the end. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path


def main() -> None:
    import numpy as np
    import torch

    from imgret.extraction.describe import resolve_precision
    from imgret.training.loop import Trainer
    from imgret.training.recipe_file import override, read
    from imgret.training.start import start_model
    from imgret.workflows.training import training_sets, validator

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--models", nargs="+", default=["gem", "glam"])
    parser.add_argument("--backbone", help="one trunk for all; the recipe's otherwise")
    parser.add_argument("--per-class", type=int, default=40, help="images of a class that are trained on, at most")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{torch.__version__}, {os.cpu_count()} cores, {arguments}\n")
    print("| model | images, classes | mAP before | mAP after | minutes | images/s |")
    print("|---|---|---|---|---|---|")
    for name in arguments.models:
        recipe = override(
            read(arguments.recipe),
            **{
                "data.dataset": str(Path(os.environ["IMGRET_DATA"]) / "train"),
                "model.name": name,
                "model.backbone": arguments.backbone,
                "model.arguments": {} if name == "gem" else {"dim": 256},
                "batches.size": arguments.size,
                "schedule.epochs": arguments.epochs,
                "schedule.warmup_epochs": min(1.0, arguments.epochs / 4),
                "validation.every": arguments.epochs,
                "validation.image_size": 2 * arguments.size,
                "validation.queries": 500,
            },
        )
        images, judged = training_sets(recipe)
        order = np.random.default_rng(0).permutation(len(images))
        keep = np.zeros(len(images), bool)
        for label in range(len(images.classes)):
            keep[order[images.labels[order] == label][: arguments.per_class]] = True
        images = images.where(keep)
        device, workers = torch.device("cpu"), arguments.workers
        precision = resolve_precision("auto", device)
        validate = validator(recipe, judged, "cpu", precision, workers)
        assert validate is not None
        before = validate(start_model(recipe))
        with tempfile.TemporaryDirectory() as place:
            start = time.perf_counter()
            trainer = Trainer(recipe, Path(place), images, device, precision, workers, validate, say=lambda text: None)
            report = trainer.run()
            minutes = (time.perf_counter() - start) / 60
        print(
            f"| {name} | {len(images)}, {len(images.classes)} | {100 * before:.2f} | "
            f"{100 * (report.progress.best_score or 0):.2f} | {minutes:.1f} | {report.images / report.seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
