"""What training brings: mAP on classes never seen, before and after, with the same images for every run. Run by hand:

    IMGRET_DATA=path/to/data python tests/benchmarks/bench_train.py --table models
    IMGRET_DATA=path/to/data python tests/benchmarks/bench_train.py --table parts

Trains on `$IMGRET_DATA/train` by the recipe `small` with the values given; the held-out classes are judged by
`imgret eval` itself, before the first step and after the last. Prints a Markdown table, a line as each run ends.
`models` is all models, each on a trunk of its kind; `parts` is GLAM without and with its attentions, in squares and in
size groups.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

OTHER_TRUNKS = {"dalg": "pvt_v2_b0", "dtop": "vit_tiny_r_s16_p8_224"}  # a hierarchical and a hybrid transformer
PARTS = {
    "GeM alone": {"local_attention": "none", "global_attention": "none"},
    "local": {"global_attention": "none"},
    "global": {"local_attention": "none"},
    "local and global": {},
}

Run = tuple[str, dict[str, Any]]


def runs(table: str, names: list[str], kinds: list[str], backbone: str, dim: int) -> list[Run]:
    """(title, values of the recipe) of each row of a table."""
    if table == "models":
        return [
            (
                f"{name} | {OTHER_TRUNKS.get(name, backbone)}",
                {
                    "model.name": name,
                    "model.backbone": OTHER_TRUNKS.get(name, backbone),
                    "model.arguments": {} if name == "gem" else {"dim": dim},
                },
            )
            for name in names
        ]
    return [
        (
            f"{part} | {kind}",
            {
                "model.name": "glam",
                "model.backbone": backbone,
                "model.arguments": {"dim": dim, **attentions},
                "batches.kind": kind,
            },
        )
        for kind in kinds
        for part, attentions in PARTS.items()
        if not names or part in names
    ]


def main() -> None:
    import numpy as np
    import torch

    from imgret.cli.train import _assignment
    from imgret.extraction.describe import resolve_precision
    from imgret.training.loop import Trainer
    from imgret.training.recipe_file import override, read
    from imgret.training.start import start_model
    from imgret.workflows.training import training_sets, validator

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=("models", "parts"), default="models")
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--only", nargs="+", default=[], help="models, or parts, of the table")
    parser.add_argument("--kinds", nargs="+", default=["fixed", "size-groups"], help="batches in the table of parts")
    parser.add_argument("--backbone", default="regnetx_002", help="the trunk of models that stand on a CNN")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--per-class", type=int, default=40, help="images of a class that are trained on, at most")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--judged-size", type=int, default=160, help="longer side of the images that judge")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--set", nargs="+", default=[], help="any other value: section.key=value")
    arguments = parser.parse_args()
    names = arguments.only or (["gem", "glam", "dalg", "dtop", "gala", "gsa"] if arguments.table == "models" else [])
    print(f"torch {torch.__version__}, {torch.get_num_threads()} of {os.cpu_count()} cores, {vars(arguments)}\n")
    head = "model | trunk" if arguments.table == "models" else "attention | batches"
    print(f"| {head} | images, classes | mAP before | mAP after | minutes | images/s |")
    print("|---|---|---|---|---|---|---|")
    for title, values in runs(arguments.table, names, arguments.kinds, arguments.backbone, arguments.dim):
        recipe = override(
            read(arguments.recipe),
            **{
                "data.dataset": str(Path(os.environ["IMGRET_DATA"]) / "train"),
                "batches.size": arguments.size,
                "schedule.epochs": arguments.epochs,
                "schedule.warmup_epochs": min(1.0, arguments.epochs / 4),
                "validation.every": arguments.epochs,
                "validation.image_size": arguments.judged_size,
                **values,
                **dict(_assignment(text) for text in arguments.set),
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
            f"| {title} | {len(images)}, {len(images.classes)} | {100 * before:.2f} | "
            f"{100 * (report.progress.best_score or 0):.2f} | {minutes:.1f} | {report.images / report.seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
