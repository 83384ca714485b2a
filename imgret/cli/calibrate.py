"""`imgret calibrate`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from imgret.cli.errors import reports_errors
from imgret.cli.options import Quiet, Verbose, Workers, spare, writable


@partial(reports_errors, interrupted="nothing was written")
def calibrate(
    weights: Annotated[Path, Argument(help="Weights file of a trained model, *.safetensors.", show_default=False)],
    images: Annotated[
        list[str], Argument(help="Photographs to look at: other ones than those you will score.", show_default=False)
    ],
    output: Annotated[Path, Option("--output", "-o", help="File to write, *.safetensors.", show_default=False)],
    norms: Annotated[bool, Option("--norms", help="Count all batch norms anew.")] = False,
    whiten: Annotated[
        float | None,
        Option(
            min=0.0,
            max=1.0,
            help="Put a PCA whitening of this power into the last layer; 1 whitens wholly, 0.75 suited glam-small.",
            show_default=False,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        Option(min=32, help="Longer side in pixels it will be used at; noted in the file.", show_default="the file's"),
    ] = None,
    limit: Annotated[int, Option(min=2, help="Look at so many of them, drawn at random.")] = 2000,
    seed: Annotated[int, Option(min=0, help="Seed of that draw.")] = 0,
    workers: Workers = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Finish a trained model on plain photographs, without labels: batch norms counted anew, descriptors whitened.

    The file that is written is used as any other, and costs nothing more.

    Example: imgret calibrate runs/small/best.safetensors photos/ -o finished.safetensors --whiten 0.75
    """
    from imgret.ids import escape

    if not norms and whiten is None:
        raise typer.BadParameter("say what to do: --whiten 0.75, --norms, or both")
    if output.suffix != ".safetensors":
        raise typer.BadParameter(escape(f"-o names a file such as {output.with_suffix('.safetensors')}, got {output}"))
    writable(output, "-o", "finished.safetensors")

    from imgret import workflows
    from imgret.cli import console

    def check(files: Sequence[str]) -> None:
        spare(files, output, "-o")

    say = console.speaker(quiet)
    with console.extraction_progress(quiet, "looking") as progress:
        done = workflows.calibrate(
            weights,
            images,
            output,
            norms=norms,
            power=whiten,
            image_size=image_size,
            limit=limit,
            seed=seed,
            workers=workers,
            on_found=check,
            progress=progress,
            say=say,
        )
    if not quiet:
        what = [f"batch norms counted anew over squares of {done.image_size} px"] * norms
        if done.rank is not None:
            what.append(f"{done.rank} of {done.dim} directions whitened (power {whiten:g})")
        say(f"{done.images} images at {done.image_size} px: {'; '.join(what)}")
        if done.rank is not None and done.rank < done.dim:
            say(
                f"note: the other {done.dim - done.rank} directions did not vary over these images and are 0 now; "
                "look at several times as many images as there are directions (--limit)"
            )
        say(f"Describe with it: imgret extract IMAGES -o STORE --model {escape(str(done.path))}")
    for name, why in done.errors.items() if verbose else ():
        console.complain(f"{escape(name)}: {why}")
    if done.errors and not verbose:
        console.complain(f"{len(done.errors)} images could not be read and were left out; -v names them")
