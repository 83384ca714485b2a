"""`imgret push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from imgret.cli.building_progress import building_progress
from imgret.cli.errors import reports_errors
from imgret.cli.options import Quiet, Verbose, parse_choice

if TYPE_CHECKING:
    from imgret.milvus.push import PushReport

INDEXES = ("FLAT", "AUTOINDEX")


@reports_errors
def push(
    store: Annotated[Path, Argument(help="Store to push; it is not changed.", show_default=False)],
    to: Annotated[str, Option("--to", help="The database: milvus.", show_default=False)],
    uri: Annotated[
        str,
        Option(help="A server, such as http://localhost:19530, or a local file that ends in .db.", show_default=False),
    ],
    collection: Annotated[str, Option(help="Collection to push into; made if it is not there.")] = "imgret",
    batch: Annotated[int, Option(min=1, max=8192, help="Rows a request.")] = 1000,
    token_env: Annotated[
        str | None,
        Option(help="Environment variable with user:password or an API key.", show_default="MILVUS_TOKEN"),
    ] = None,
    index: Annotated[
        str | None,
        Option(
            help="Of a new collection: FLAT (exact) or AUTOINDEX (as the server thinks best).",
            show_default="FLAT for a local file, else AUTOINDEX",
        ),
    ] = None,
    prune: Annotated[bool, Option("--prune", help="Remove rows that the store does not hold.")] = False,
    sample: Annotated[int, Option(min=0, help="Rows that are searched with their own descriptor at the end.")] = 32,
    dry_run: Annotated[bool, Option("--dry-run", help="Say what would be done and write nothing.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a store into a vector database, and make sure of it. Run again to go on, or to bring what has changed.

    Example: imgret push store --to milvus --uri http://localhost:19530
    """
    parse_choice(("milvus",), to)
    parse_choice(INDEXES, index)

    from imgret import workflows
    from imgret.cli import console

    with building_progress(quiet) as show:
        report = workflows.push(
            store,
            uri,
            to=to,
            collection=collection,
            token_env=token_env,
            batch=batch,
            index=index,
            prune=prune,
            dry_run=dry_run,
            sampled=sample,
            progress=show,
        )
    if not quiet:
        talk = console.talk()
        talk.print(_summary(report, dry_run), markup=False)
        if verbose and not dry_run:
            talk.print(f"{report.seconds:.1f} s from the first look to the last check", markup=False)
        if not dry_run:
            talk.print(f"Search it: imgret search milvus:{report.place}#{report.collection} QUERY", markup=False)


def _summary(report: PushReport, dry_run: bool) -> str:
    did = "would be " if dry_run else ""
    parts = [f"{report.added:,} {did}added", f"{report.replaced:,} {did}replaced", f"{report.kept:,} kept"]
    if report.gone:
        fate = f"{did}removed" if report.pruned else "not in the store (kept; --prune removes them)"
        parts.append(f"{report.gone:,} {fate}")
    total = "" if dry_run else f"; {report.total:,} rows in all, {report.checked:,} of them checked"
    made = f" ({'it would be' if dry_run else 'was'} made)" if report.created else ""
    return f"{report.collection} at {report.place}{made}: {', '.join(parts)}{total}."
