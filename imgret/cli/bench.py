"""`imgret bench`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from imgret.cli.errors import reports_errors
from imgret.cli.options import Device, Offline, Quiet, Verbose, WeightsOf, parse_scales
from imgret.extraction.job import ExtractJob
from imgret.models import DEFAULT_MODEL


@partial(reports_errors, interrupted="nothing was written")
def bench(
    images: Annotated[
        list[str] | None,
        Argument(
            help="Folders, files, globs or archives, as for extract; without any, pictures are drawn.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        Option(
            "--model",
            "-m",
            help="A name from `imgret models`, or a weights file (*.safetensors).",
            show_default=DEFAULT_MODEL,
        ),
    ] = None,
    backbone: Annotated[str | None, Option(help="Trunk by its timm name.", show_default="the model's own")] = None,
    weights: WeightsOf = None,
    image_size: Annotated[
        int | None, Option(min=16, help="Longer side in pixels; never enlarged.", show_default="the model's own")
    ] = None,
    scales: Annotated[
        str | None, Option(help="Factors of that size to pool over, such as 1,0.7071,1.4142.", show_default="1")
    ] = None,
    device: Device = ExtractJob.device,
    count: Annotated[
        int, Option("--images", "-n", min=1, help="Images to take, at random but the same ones each time.")
    ] = 64,
    quick: Annotated[bool, Option("--quick", help="Rough figures in about ten seconds; nothing is compiled.")] = False,
    json_: Annotated[bool, Option("--json", help="Print the figures as JSON.")] = False,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure this machine on your own images, and print the flags with which extract is quickest.

    Reading, decoding, the model alone in every precision, plain and compiled, and both together, each with its cosine
    to float32 and exact decoding. It takes a minute or two, longer for a large model; the last line of its output can
    be pasted.

    Example: imgret bench photos/
    """
    if model is not None:
        from imgret.models import check_name

        check_name(model)  # before torch loads
    job = ExtractJob(
        images=tuple(images or ()),
        output=Path("store"),
        model=model,
        backbone=backbone,
        weights=weights,
        image_size=image_size,
        scales=parse_scales(scales),
        device=device,
        offline=offline,
    )
    from imgret.bench import run
    from imgret.cli import bench_table, console

    with _telling(quiet) as doing:
        effort = run.QUICK if quick else run.FULL
        report = run.bench(
            job, images=min(count, 16) if quick else count, effort=effort, say=console.speaker(quiet), doing=doing
        )
    if json_:
        print(json.dumps(report.document(), indent=1, ensure_ascii=False, allow_nan=False))
        return
    bench_table.show(report, verbose)
    if not quiet:
        for reason in report.choice.reasons:
            console.talk().print(reason, markup=False)
    print(report.choice.command)


@contextmanager
def _telling(quiet: bool) -> Iterator[Callable[[str], object]]:
    """On a terminal a line that says what is being measured; nothing elsewhere."""
    from imgret.cli import console
    from imgret.extraction import job

    if quiet or not sys.stderr.isatty():
        yield job.quiet
        return
    with console.talk().status("starting") as status:
        yield lambda text: status.update(text)
