"""`imgret eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from imgret.cli.errors import reports_errors
from imgret.cli.options import Device, Offline, Quiet, Verbose, WeightsNow, Workers, parse_choice


def _depth(text: str) -> int | None:
    if text == "all":
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise typer.BadParameter(f"{text!r} is neither all nor a number of places")


@reports_errors
def eval_(
    ground_truth: Annotated[Path, Argument(help="Ground-truth file.", show_default=False)],
    index: Annotated[Path | None, Option(help="Index to search.", show_default=False)] = None,
    store: Annotated[Path | None, Option(help="Store to search exactly.", show_default=False)] = None,
    ranking: Annotated[
        Path | None, Option(help="Ready output of `imgret search --format jsonl`.", show_default=False)
    ] = None,
    images: Annotated[
        Path | None,
        Option(help="Folder the ground truth's names are relative to; queries come from it.", show_default=False),
    ] = None,
    queries: Annotated[Path | None, Option(help="Store of ready query descriptors.", show_default=False)] = None,
    whitening: Annotated[
        Path | None,
        Option(help="Whiten the store and the queries; an index always uses its own.", show_default=False),
    ] = None,
    depth: Annotated[
        str, Option(help="all ranks the whole database exactly; N takes N results of the search.")
    ] = "all",
    format: Annotated[str, Option(help="auto, revisitop or labels.")] = "auto",
    query_crop: Annotated[str, Option(help="gt crops queries to their boxes; none takes whole images.")] = "gt",
    json_: Annotated[bool, Option("--json", help="Print the scores as JSON.")] = False,
    per_query: Annotated[Path | None, Option(help="Write a CSV with a line per query.", show_default=False)] = None,
    allow_missing: Annotated[
        bool, Option("--allow-missing", help="Go on when images are missing; they count as never found.")
    ] = False,
    weights: WeightsNow = None,
    device: Device = "auto",
    workers: Workers = None,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score a search against a ground truth, with the protocol that makes the score comparable.

    Example: imgret eval gnd_roxford5k.pkl --index index --images roxford5k/jpg
    """
    from imgret.errors import InputError
    from imgret.ground_truth import FORMATS
    from imgret.tables import look_up

    if format != "auto":
        look_up(FORMATS, "ground-truth format", format)
    parse_choice(("gt", "none"), query_crop)
    if ranking is not None and (images or queries or whitening or query_crop != "gt"):
        raise typer.BadParameter(
            "--ranking brings its own answers; leave out --images, --queries, --whitening and --query-crop"
        )
    if images is not None and queries is not None:
        raise typer.BadParameter("queries come from --images or from --queries, not from both")
    if per_query is not None and (per_query.is_dir() or not per_query.absolute().parent.is_dir()):
        raise InputError(f"--per-query {per_query} cannot be written: name a file in a folder that exists")
    places = _depth(depth)

    from imgret import workflows
    from imgret.cli import console

    scores, protocol = workflows.evaluate(
        workflows.EvalJob(
            ground_truth=ground_truth,
            index=index,
            store=store,
            ranking=ranking,
            images=images,
            queries=queries,
            whitening=whitening,
            format=format,
            query_crop=query_crop,
            depth=places,
            allow_missing=allow_missing,
            options=workflows.QueryOptions(device=device, workers=workers, weights=weights, offline=offline),
        ),
        say=console.speaker(quiet),
    )
    document = scores.to_json(protocol)
    if per_query is not None:
        scores.write_per_query(per_query)
    if json_:
        print(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        console.print_scores(document)
    if not quiet:
        console.print_score_notes(scores, verbose)
    console.warn_of_whitening(document["protocol"]["whitening"])
