"""What whitening brings, fitted on other photographs than those that are scored. Run by hand:

    IMGRET_DATA=path/to/data python tests/benchmarks/bench_whiten.py --per-class 30

Trained features (the ImageNet MobileNetV2 of the data's `teacher/` folder with GeM, p = 3), whitenings fitted on
photographs of `train/`, and scores on `landmarks/` and `grocery_packages/` by the workflows behind the commands. The
last rows are fitted on the scored photographs themselves: what such a mistake would show.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from teacher import register


def main() -> None:
    from imgret.extraction.job import ExtractJob
    from imgret.workflows import EvalJob, evaluate, extract, whiten

    parser = argparse.ArgumentParser()
    parser.add_argument("--per-class", type=int, default=30, help="photographs of a category to fit on")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--work", type=Path, help="keep the stores here, to go on from them")
    asked = parser.parse_args()
    data = Path(os.environ["IMGRET_DATA"])
    register()

    with tempfile.TemporaryDirectory() as scratch:
        work = asked.work or Path(scratch)
        work.mkdir(exist_ok=True)

        def described(name: str, *images: str, root: Path, listed: Path | None = None) -> Path:
            report = extract(
                ExtractJob(
                    images=tuple(str(root / one) for one in images),
                    list_file=listed,
                    root=root,
                    output=work / name,
                    model="teacher",
                    weights="none",
                    image_size=asked.image_size,
                    precision="fp32",
                )
            )
            print(f"{name}: {report.total} descriptors", file=sys.stderr, flush=True)
            return report.store

        labels = work / "fit.csv"
        labels.write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in some(data / "train", asked)))
        fit = described("fit", root=data / "train", listed=labels)
        stores = {
            "landmarks": described("landmarks", "jpg", root=data / "landmarks"),
            "grocery": described("grocery", "database", root=data / "grocery_packages"),
        }
        queries = described("queries", "query_iconic", "query_natural", root=data / "grocery_packages")
        truths = {
            "landmarks medium": ("landmarks", data / "landmarks/gnd_leave_one_out.json", "medium"),
            "landmarks hard": ("landmarks", data / "landmarks/gnd_leave_one_out.json", "hard"),
            "grocery iconic": ("grocery", data / "grocery_packages/gnd_iconic.json", "medium"),
            "grocery natural": ("grocery", data / "grocery_packages/gnd_natural.json", "medium"),
        }
        print(f"| whitening | dimensions | {' | '.join(truths)} |")
        print("|---" * (2 + len(truths)) + "|")
        learned = {"kind": "learned", "pairs": labels}
        rows = [
            ("none", None),
            *(
                (f"pca, power {power:g}", {"power": power, "dim": dim})
                for power in (1.0, 0.5, 0.0)
                for dim in (None, 256)
            ),
            *(("learned from categories", {**learned, "dim": dim}) for dim in (None, 256)),
            ("pca, power 1, FITTED ON THE SCORED SET", {"dim": 64}),
            ("the same power and dimension, fitted on others", {"dim": 64}),
        ]
        for name, how in rows:
            scores = []
            for place, truth, subset in truths.values():
                file = None
                if how is not None:
                    file = work / "white.safetensors"
                    made = whiten(stores[place] if "SCORED" in name else fit, file, **how).whitening
                job = EvalJob(
                    truth, store=stores[place], whitening=file, queries=queries if place == "grocery" else None
                )
                scores.append(100 * evaluate(job)[0].subsets[subset]["map"])
            dim = 1280 if how is None else made.dim
            print(f"| {name} | {dim} | {' | '.join(f'{score:.2f}' for score in scores)} |", flush=True)


def some(folder: Path, asked: argparse.Namespace) -> list[tuple[str, str]]:
    """(path, label) of the first so many labelled photographs of each category."""
    seen: Counter[str] = Counter()
    with open(folder / "labels.csv", encoding="utf-8", newline="") as file:
        listed = [(row["path"], row["label"]) for row in csv.DictReader(file) if row["label"]]
    kept = []
    for path, label in listed:
        seen[label] += 1
        if seen[label] <= asked.per_class:
            kept.append((path, label))
    return kept


if __name__ == "__main__":
    main()
