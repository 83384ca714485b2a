"""`imgret extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from imgret.cli.errors import reports_errors
from imgret.cli.options import (
    Device,
    Engine,
    GpusPerWorker,
    Offline,
    Quiet,
    RayAddress,
    Verbose,
    Workers,
    check_engine,
    parse_choice,
    parse_part,
    parse_scales,
)
from imgret.extraction.job import ExtractJob
from imgret.extraction.scale_pooling import AUTO, SCALE_POOLINGS, canonical_scale_pooling
from imgret.models import DEFAULT_MODEL
from imgret.models.refinements import NONE, canonical_refinements

_MODEL = "A name from `imgret models`, or a weights file (*.safetensors)."
_WEIGHTS = "auto (shipped, cached or a public download), none (random, from --seed) or a weights file."


@reports_errors
def extract(
    images: Annotated[
        list[str] | None,
        Argument(
            help="Folders (searched through), files, globs, .tar and .zip archives, URLs, or - for a list on stdin.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, Option("--output", "-o", help="Folder or URL of the store.", show_default=False)] = ...,  # type: ignore[assignment]
    model: Annotated[str | None, Option("--model", "-m", help=_MODEL, show_default=DEFAULT_MODEL)] = None,
    backbone: Annotated[str | None, Option(help="Trunk by its timm name.", show_default="the model's own")] = None,
    weights: Annotated[str | None, Option(help=_WEIGHTS, show_default="auto")] = None,
    seed: Annotated[int | None, Option(help="Seed of random weights.", show_default="0")] = None,
    image_size: Annotated[
        int | None,
        Option(min=16, help="Longer side in pixels; never enlarged.", show_default="the model's own"),
    ] = None,
    scales: Annotated[
        str | None,
        Option(help="Factors of that size to pool over, such as 1,0.7071,1.4142.", show_default="1"),
    ] = None,
    scale_pooling: Annotated[
        str | None,
        Option(help=f"How: {', '.join(SCALE_POOLINGS)} or gem:p=10 (docs/models.md).", show_default=AUTO),
    ] = None,
    refine: Annotated[
        str | None,
        Option(
            help="Changes to the trained model, such as 'gem+:p=4.6 regional relup', or none (docs/models.md).",
            show_default=NONE,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        Option(help="auto, fp32, bf16 or fp16.", show_default="auto: bf16 where the hardware has it"),
    ] = None,
    decode: Annotated[
        str | None,
        Option(
            help="scaled lets JPEG decode at 1/2, 1/4 or 1/8; exact decodes every pixel; device is for GPUs "
            "(docs/scale.md), slower without one.",
            show_default="scaled",
        ),
    ] = None,
    exif: Annotated[str | None, Option(help="apply or ignore the noted orientation.", show_default="apply")] = None,
    store_dtype: Annotated[str | None, Option(help="float16 or float32.", show_default="float16")] = None,
    list_file: Annotated[
        Path | None,
        Option("--list", help="File with a path a line, or CSV: path[,id][,x1,y1,x2,y2].", show_default=False),
    ] = None,
    root: Annotated[
        Path | None,
        Option(help="Folder that ids are relative to.", show_default="each folder given; else the current one"),
    ] = None,
    part: Annotated[
        str | None, Option(help="I/N: only this part of the images, split by id.", show_default=False)
    ] = None,
    batch_size: Annotated[
        int | None,
        Option(
            "--batch-size",
            "-b",
            min=1,
            help="Images described at once.",
            show_default="by size: 10 of 320 px, 4 of 512; on a GPU 64",
        ),
    ] = None,
    engine: Engine = ExtractJob.engine,
    ray_address: RayAddress = None,
    gpus_per_worker: GpusPerWorker = ExtractJob.gpus_per_worker,
    workers: Workers = None,
    device: Device = ExtractJob.device,
    compile: Annotated[
        bool | None,
        Option("--compile/--no-compile", help="Compile the model first.", show_default="where it pays"),
    ] = ExtractJob.compile,
    shard_size: Annotated[
        int, Option(min=1, help="Images a shard; a shard also closes after a minute.")
    ] = ExtractJob.shard_size,
    max_megapixels: Annotated[float, Option(min=0.1, help="Larger images are refused.")] = ExtractJob.max_megapixels,
    verify_content: Annotated[
        bool, Option("--verify-content", help="Hash files instead of trusting size and time.")
    ] = False,
    prune: Annotated[bool, Option("--prune", help="Remove images whose file is gone.")] = False,
    strict: Annotated[bool, Option("--strict", help="Exit with 3 when any image failed.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", "-n", help="Only say what would be done.")] = False,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compute one descriptor per image and write HDF5 shards. Run again to add what is new or changed.

    Example: imgret extract photos/ -o store
    """
    if not images and list_file is None:
        raise typer.BadParameter("name images, folders or - for stdin, or give --list FILE")
    job = ExtractJob(
        images=tuple(images or ()),
        output=output,
        model=model,
        backbone=backbone,
        weights=weights,
        seed=seed,
        offline=offline,
        image_size=image_size,
        scales=parse_scales(scales),
        scale_pooling=None if scale_pooling is None else canonical_scale_pooling(scale_pooling),
        refine=None if refine is None else canonical_refinements(refine),
        precision=parse_choice(("auto", "fp32", "bf16", "fp16"), precision),
        exif=parse_choice(("apply", "ignore"), exif),
        decode=parse_choice(("scaled", "exact", "device"), decode),
        store_dtype=parse_choice(("float16", "float32"), store_dtype),
        list_file=list_file,
        root=root,
        part=parse_part(part),
        engine=check_engine(engine, ray_address),
        ray_address=ray_address,
        gpus_per_worker=gpus_per_worker,
        workers=workers,
        batch_size=batch_size,
        device=device,
        compile=compile,
        shard_size=shard_size,
        max_megapixels=max_megapixels,
        verify_content=verify_content,
        prune=prune,
        strict=strict,
        dry_run=dry_run,
    )
    if model is not None:
        from imgret.models import check_name

        check_name(model)  # before torch loads

    from imgret import workflows
    from imgret.cli import console

    with console.extraction_progress(quiet) as progress:
        report = workflows.extract(job, progress=progress, say=console.speaker(quiet))
    if not quiet:
        console.print_extraction(report, dry_run)
        if verbose:
            console.talk().print(report.recipe)
    report.check(strict)
