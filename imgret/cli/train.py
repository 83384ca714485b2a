"""`imgret train`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from imgret.cli.errors import reports_errors
from imgret.cli.options import Quiet, Verbose


@reports_errors
def train(
    recipe: Annotated[
        str,
        Argument(
            metavar="RECIPE|DATASET",
            help="A recipe that ships (small, glam ...), a *.toml file, or a data set to train on by the recipe small.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, Option("--output", "-o", help="Folder of the run; go on there if it has begun.", show_default=False)
    ],
    data: Annotated[
        str | None,
        Option(help="Folder of class folders, CSV of path,label, or a known data set.", show_default="the recipe's"),
    ] = None,
    model: Annotated[str | None, Option("--model", "-m", help="Another model.", show_default="the recipe's")] = None,
    backbone: Annotated[
        str | None, Option(help="Another trunk, by its timm name.", show_default="the recipe's")
    ] = None,
    epochs: Annotated[int | None, Option(min=1, help="Passes over the data.", show_default="the recipe's")] = None,
    batch_size: Annotated[
        int | None, Option("--batch-size", "-b", min=2, help="Images of a step.", show_default="the recipe's")
    ] = None,
    set_: Annotated[
        list[str] | None,
        Option("--set", help="Any other value: section.key=value, as often as needed.", show_default=False),
    ] = None,
    seed: Annotated[int | None, Option(min=0, help="Seed of everything random.", show_default="the recipe's")] = None,
    workers: Annotated[
        int | None, Option("--workers", "-j", min=0, help="Processes that load images.", show_default="one per core")
    ] = None,
    device: Annotated[str | None, Option(help="auto, cpu, cuda or cuda:N.", show_default="the recipe's")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a model into a weights file. Run again to go on after an interruption; torchrun uses several processes.

    Example: imgret train small --data photos/ -o runs/small
    """
    from imgret.training.recipe import as_dict
    from imgret.training.recipe_file import override, packaged, read

    named = recipe.endswith(".toml") or recipe in packaged() or not os.path.exists(recipe)
    if not named and data is not None:
        raise typer.BadParameter(f"{recipe} and --data {data}: name one data set")
    changes: dict[str, Any] = {
        "data.dataset": data if named else recipe,
        "model.name": model,
        "model.backbone": backbone,
        "schedule.epochs": epochs,
        "batches.batch_size": batch_size,
        "run.seed": seed,
        "batches.workers": workers,
        "run.device": device,
    }
    changes |= dict(_assignment(text) for text in set_ or ())
    asked = override(read(recipe if named else "small"), **changes)

    from imgret import workflows
    from imgret.cli import console

    quiet = quiet or os.environ.get("RANK", "0") != "0"  # of torchrun's processes, the first talks
    say = console.speaker(quiet)
    if verbose:
        say(json.dumps(as_dict(asked), indent=1))
    with console.training_progress(quiet) as show:
        report = workflows.train(asked, output, show=show, say=say)
    if not quiet:
        console.print_training(report)


def _assignment(text: str) -> tuple[str, Any]:
    """'section.key=value' -> (name, value as TOML reads it, or else the text itself)."""
    name, equals, value = text.partition("=")
    if not equals or "." not in name:
        raise typer.BadParameter(f"{text!r} is not section.key=value, such as optimiser.lr=0.01")
    for kind in (int, float):
        try:
            return name.strip(), kind(value)
        except ValueError:
            continue
    return name.strip(), {"true": True, "false": False}.get(value.strip(), value.strip())
