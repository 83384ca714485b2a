"""`imgret whiten`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from imgret.cli.errors import reports_errors
from imgret.cli.options import Quiet, Verbose, parse_choice

_PAIRS = "CSV of query,positive or of path,label, or the JSON of retrieval-SfM: images that match, for --kind learned."


@reports_errors
def whiten(
    store: Annotated[Path, Argument(help="Store to fit on: other images than those you will score.")],
    output: Annotated[Path, Option("--output", "-o", help="File to write, *.safetensors.", show_default=False)],
    kind: Annotated[str, Option(help="pca, or learned from --pairs.")] = "pca",
    power: Annotated[
        float | None,
        Option(min=0.0, max=1.0, help="Of pca: 1 whitens, 0 only rotates, 0.5 is half way.", show_default="1"),
    ] = None,
    dim: Annotated[int | None, Option(min=1, help="Dimensions to keep.", show_default="all there are")] = None,
    pairs: Annotated[Path | None, Option(help=_PAIRS, show_default=False)] = None,
    seed: Annotated[int, Option(min=0, help="Seed of the pairs drawn where labels make too many.")] = 0,
    allow_missing: Annotated[
        bool, Option("--allow-missing", help="Leave out pairs with an image that the store lacks.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Learn a whitening from the descriptors of a store, to be used by index, search and eval.

    Example: imgret whiten other-store -o white.safetensors --dim 256
    """
    parse_choice(("pca", "learned"), kind)
    if kind == "learned" and pairs is None:
        raise typer.BadParameter("--kind learned learns from images that match: name them with --pairs FILE")
    if kind == "pca" and (pairs is not None or allow_missing):
        raise typer.BadParameter("--pairs and --allow-missing go with --kind learned")
    if kind == "learned" and power is not None:
        raise typer.BadParameter("--power goes with --kind pca")
    if output.suffix != ".safetensors":
        raise typer.BadParameter(f"-o names a file such as {output.with_suffix('.safetensors')}, got {output}")

    from imgret import workflows
    from imgret.cli import console
    from imgret.cli.options import writable

    with console.extraction_progress(quiet, "reading descriptors") as progress:
        report = workflows.whiten(
            store,
            writable(output, "-o", "whitening.safetensors"),
            kind=kind,
            power=1.0 if power is None else power,
            dim=dim,
            pairs=pairs,
            seed=seed,
            allow_missing=allow_missing,
            progress=progress,
            say=console.speaker(quiet),
        )
    if not quiet:
        console.print_whitening(report, store)
        if verbose:
            console.talk().print(dict(report.whitening.about))
