"""Trained weights into the package, in half the space, with where they come from. Run by hand after a training run:

    PYTHONPATH=. python tests/benchmarks/ship.py RUN/best.safetensors glam-small --facts facts.json

`facts.json` is what only people know: data, teacher, stages with their commands, commit, hours, machine, date, scores.
It joins what the run has noted itself. Then write the golden vectors anew: write_golden.py.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from imgret.models import SHIPPED, WEIGHTS_SUFFIX, load_model, read_card, save_weights
from imgret.training.recipe import shareable

HOME = Path(__file__).parents[2] / "imgret/models/shipped"
LARGEST = 12e6  # bytes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("name", choices=SHIPPED)
    parser.add_argument("--facts", type=Path, required=True)
    asked = parser.parse_args()
    loaded = load_model(asked.weights)
    shipped, found = SHIPPED[asked.name], loaded.identity
    arguments = found["arguments"]
    if (found["model"], arguments["backbone"], arguments["dim"]) != (shipped.model, shipped.backbone, shipped.dim):
        raise SystemExit(f"{asked.weights} is no {asked.name}: {found}")
    facts = json.loads(asked.facts.read_text("utf-8"))
    noted = read_card(asked.weights)["provenance"]
    provenance = {**facts, "last_stage": {**noted, "recipe": shareable(noted["recipe"])}}
    HOME.mkdir(exist_ok=True)
    path = HOME / f"{asked.name}{WEIGHTS_SUFFIX}"
    save_weights(loaded.model, path, provenance, image_size=shipped.image_size, half=True)
    size = path.stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{path} has {size} bytes, more than {LARGEST:.0f}")
    print(f"{path}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
