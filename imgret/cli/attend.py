"""`imgret attend`."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from imgret.cli.errors import reports_errors
from imgret.cli.options import (
    Device,
    ModelName,
    Offline,
    Quiet,
    Verbose,
    WeightsOf,
    check_seed,
    parse_box,
    spare,
    writable,
    writable_page,
)
from imgret.models import DEFAULT_MODEL
from imgret.places import is_archive


@partial(reports_errors, interrupted="nothing was written")
def attend(
    images: Annotated[
        list[str],
        Argument(help="Image files; with --html folders, globs and archives too.", show_default=False),
    ],
    model: ModelName = DEFAULT_MODEL,
    output: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            help="PNG file for one image and its views; its letters are plain Latin (a page shows all).",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None, Option(help="Write a page for many images; the first 50 are looked at.", show_default=False)
    ] = None,
    backbone: Annotated[str | None, Option(help="Trunk by its timm name.", show_default="the model's own")] = None,
    weights: WeightsOf = None,
    seed: Annotated[int | None, Option(help="Seed of random weights.", show_default="0")] = None,
    image_size: Annotated[
        int | None,
        Option(min=16, help="Longer side in pixels; never enlarged.", show_default="the model's own"),
    ] = None,
    box: Annotated[
        str | None, Option(help="x1,y1,x2,y2: look at this part of the image only.", show_default=False)
    ] = None,
    device: Device = "auto",
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show where a model looks: its maps of attention laid over the photograph.

    Example: imgret attend photo.jpg -o attention.png
    """
    outputs = [(path, option) for path, option in ((output, "-o"), (html, "--html")) if path is not None]
    _check_usage(images, model, weights, seed, output, html)
    region = parse_box(box)
    if output is not None:
        writable(output, "-o", "attention.png")
    if html is not None:
        writable_page(html, "--html")

    from imgret.models import check_name

    check_name(model)  # before torch loads

    from imgret import workflows
    from imgret.cli import console
    from imgret.ids import escape
    from imgret.report.attention_page import MOST_IMAGES, write_attention_page
    from imgret.report.overlay import UNTRAINED
    from imgret.report.sheet import write_sheet

    def check(files: Sequence[str]) -> None:
        for path, option in outputs:
            spare(files, path, option)

    say = console.speaker(quiet)
    with console.extraction_progress(quiet, "looking") as progress:
        found = workflows.attend(
            images,
            model,
            backbone=backbone,
            weights=weights or "auto",
            seed=seed or 0,
            image_size=image_size,
            box=region,
            limit=MOST_IMAGES,
            on_found=check,
            device=device,
            offline=offline,
            progress=progress,
            say=say,
        )
    left = found.found - MOST_IMAGES
    cut = (
        [f"Only the first {MOST_IMAGES} images were looked at; {left} more {'was' if left == 1 else 'were'} not."]
        if left > 0
        else []
    )
    untrained = bool(found.looks) and not found.trained
    if output is not None:
        for look in found.looks:
            write_sheet(output, look, caption=found.about, untrained=untrained)
            say(f"The picture is {escape(str(output))}")
    if html is not None:
        title = f"Where {found.model} looks"
        write_attention_page(
            html, found.looks, title=title, about=found.about, untrained=untrained, notes=cut, errors=found.errors
        )
        say(f"The page is {escape(str(html))}")
    for line in cut:
        say(line)
    if untrained:
        say(UNTRAINED)
    if verbose:
        for look in found.looks:
            sizes = ", ".join(f"{name} {view.shape[0]} x {view.shape[1]} cells" for name, view in look.views.items())
            say(f"{escape(look.id)}: {sizes}")
    for name, why in found.errors.items():
        console.complain(f"{escape(name)}: {why}")
    if found.errors:
        raise typer.Exit(1)


def _check_usage(
    images: list[str], model: str, weights: str | None, seed: int | None, output: Path | None, html: Path | None
) -> None:
    """BadParameter for options that do not go together."""
    from imgret.ids import escape

    if output is None and html is None:
        raise typer.BadParameter("say where to write: -o out.png for one image, --html page.html for many")
    if "-" in images:
        raise typer.BadParameter("- (stdin) is not taken here; name the images, or their folder with --html page.html")
    if output is not None and html is not None and output.resolve() == html.resolve():
        raise typer.BadParameter(f"-o and --html are the same file: {escape(str(output))}")
    if output is not None and not _is_one_image(images):
        raise typer.BadParameter("-o draws one image file; for several images or a folder use --html page.html")
    if output is not None and output.suffix.lower() != ".png" and not output.is_dir():
        raise typer.BadParameter(escape(f"-o writes PNG: name a file such as {output.with_suffix('.png')}"))
    check_seed(model, weights, seed)


def _is_one_image(images: list[str]) -> bool:
    """Whether what was given can only mean one image file, there or not."""
    name = images[0]
    several = os.path.isdir(name) or is_archive(name)
    pattern = glob.has_magic(name) and not os.path.exists(name)
    return len(images) == 1 and not several and not pattern
