"""`imgret info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument

from imgret.cli.errors import reports_errors
from imgret.cli.options import Quiet, Verbose


@reports_errors
def info(
    path: Annotated[Path, Argument(help="A store, shard, index, weights or whitening file.", show_default=False)],
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what a store, shard, index, weights or whitening file holds, and whether it is sound (exit 1 if not).

    Every file is read whole and compared with its recorded SHA-256.

    Example: imgret info store
    """
    from imgret import workflows
    from imgret.cli import console
    from imgret.places import unfolded

    found = workflows.inspect(path, every_file=verbose)
    if not quiet:
        shown = console.table(found.kind, unfolded(path))
        for what, value in found.facts.items():
            shown.add_row(what, console.plain(str(value)))
        console.data().print(shown)
    for problem in found.problems:
        console.complain(problem)
    if found.problems:
        raise typer.Exit(1)
    if not quiet:
        console.talk().print(f"{unfolded(path)} is sound.", markup=False)
