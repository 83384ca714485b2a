"""`imgret index`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from imgret.cli.errors import reports_errors
from imgret.cli.options import Engine, Quiet, RayAddress, Verbose, check_engine

if TYPE_CHECKING:
    from imgret.indexes.build import IndexReport

_DBA = "Augment each row with its k nearest, such as k=10,alpha=3 (database-side augmentation), or none."
_GRAPH = "Neighbours a row in a graph for diffusion, stored with the index; 0 for no graph."
_KIND = (
    "auto, flat, fp16, sq8, rabitq, ivf, ivfsq8, ivfpq, ivfrabitq, hnsw or hnswsq8; auto keeps the kind of an existing "
    "index, else tries them and says why."
)
_PARTS = "Parts of the index, of about as many images each: made and searched one by one; 1 for an undivided index."
_COMPACT = "Write all images as one base, without a tail and without what was removed."


@reports_errors
def index(
    stores: Annotated[list[Path], Argument(help="One or more stores.", show_default=False)],
    output: Annotated[Path, Option("--output", "-o", help="Folder of the index.", show_default=False)],
    kind: Annotated[str, Option(help=_KIND)] = "auto",
    factory: Annotated[str | None, Option(help="A FAISS factory string instead of a kind.", show_default=False)] = None,
    max_memory: Annotated[
        str | None,
        Option(
            help="Memory the index, or each of its parts, may take, such as 4GB.",
            show_default="as before, else half of this machine's",
        ),
    ] = None,
    target_recall: Annotated[
        float | None, Option(min=0.1, max=1.0, help="Recall@10 to tune the search to.", show_default="0.95")
    ] = None,
    seed: Annotated[int | None, Option(help="Seed of samples and clustering.", show_default="0")] = None,
    whitening: Annotated[
        str | None,
        Option(help="A file of imgret whiten, or none.", show_default="that of an existing index, else none"),
    ] = None,
    dba: Annotated[str | None, Option(help=_DBA, show_default="as in an existing index, else none")] = None,
    graph: Annotated[
        int | None, Option(min=0, help=_GRAPH, show_default="as in an existing index, else 0", metavar="K")
    ] = None,
    add: Annotated[bool, Option("--add", help="Only add; remove nothing the stores no longer hold.")] = False,
    compact: Annotated[bool, Option("--compact", help=_COMPACT)] = False,
    parts: Annotated[
        int | None, Option(min=1, help=_PARTS, show_default="as in an existing index, else 1", metavar="N")
    ] = None,
    engine: Engine = "local",
    ray_address: RayAddress = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Build a FAISS index over stores, or bring an existing one up to date, and measure its recall.

    Example: imgret index store -o index
    """
    from imgret.indexes.kinds import INDEX_KINDS, parse_memory
    from imgret.tables import look_up

    if kind != "auto":
        look_up(INDEX_KINDS, "index kind", kind)
    if kind != "auto" and factory is not None:
        raise typer.BadParameter("give --kind or --factory, not both")

    from imgret import workflows
    from imgret.cli.building_progress import building_progress

    with building_progress(quiet) as progress:
        report = workflows.build_index(
            stores,
            output,
            kind=kind,
            factory=factory,
            max_memory=parse_memory(max_memory) if max_memory else None,
            target_recall=target_recall,
            seed=seed,
            whitening=whitening,
            dba=dba,
            graph=graph,
            add_only=add,
            compact=compact,
            parts=parts,
            engine=check_engine(engine, ray_address),
            ray_address=ray_address,
            progress=progress,
        )
    if not quiet:
        _print(report, verbose)


def _print(report: IndexReport, verbose: bool) -> None:
    from imgret.cli import console
    from imgret.cli.index_tables import print_trials

    print_trials(report.trials, report.kind)
    console.print_index(report, verbose)
    out = console.talk()
    if report.parts is not None and report.changed:
        made, kept = report.parts
        out.print(f"In {made + kept} parts: {made} made now, {kept} kept.", markup=False)
    if report.tail:
        since = report.recall.get("later", 0)
        unmeasured = f"; {since:,} images have come since recall was measured" if since else ""
        out.print(f"{report.tail:,} images are in a tail beside the base{unmeasured}.", markup=False)
    if report.dead:
        out.print(f"{report.dead:,} removed images still take room; --compact drops them.", markup=False)
