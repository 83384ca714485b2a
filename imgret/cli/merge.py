"""`imgret merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from imgret.cli.building_progress import building_progress
from imgret.cli.errors import reports_errors
from imgret.cli.options import Quiet, Verbose
from imgret.extraction.job import ExtractJob

_NEWEST = "Of an id that stands in two stores keep the file that was changed last; else it is refused."


@reports_errors
def merge(
    stores: Annotated[list[Path], Argument(help="Stores of one recipe; they are not changed.", show_default=False)],
    output: Annotated[Path, Option("--output", "-o", help="Folder of the merged store.", show_default=False)],
    newest: Annotated[bool, Option("--newest", help=_NEWEST)] = False,
    repack: Annotated[
        bool, Option("--repack", help="Join small shards instead of copying shards as they are.")
    ] = False,
    shard_size: Annotated[int, Option(min=1, help="Images a shard, with --repack.")] = ExtractJob.shard_size,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make one store of several, such as those of extract --part, shard by shard. Run again to add what is missing.

    Example: imgret merge part-1 part-2 -o store
    """
    from imgret import workflows
    from imgret.cli import console

    with building_progress(quiet) as show:

        def progress(done: int, total: int) -> None:
            if show is not None:
                show("merging shards", done, total)

        report = workflows.merge(
            stores,
            output,
            newest=newest,
            repack=shard_size if repack else None,
            progress=progress,
            say=console.speaker(quiet),
        )
    if not quiet:
        talk = console.talk()
        talk.print(
            f"{report.store}: {report.added:,} added, {report.replaced:,} replaced, {report.kept:,} kept, "
            f"{report.failed:,} failed; {report.total:,} descriptors in all",
            markup=False,
        )
        if verbose:
            talk.print(f"{report.copied:,} shards copied, {report.rewritten:,} written anew", markup=False)
