"""`imgret eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from imgret.cli.errors import reports_errors
from imgret.cli.options import (
    Device,
    Engine,
    Offline,
    QueryScales,
    Quiet,
    RayAddress,
    Rerank,
    Robust,
    Verbose,
    WeightsNow,
    Workers,
    check_engine,
    parse_choice,
    parse_scales,
    writable_page,
)
from imgret.ground_truth import FORMATS
from imgret.ranking_files import RANKING_FORMATS


def _depth(text: str) -> int | None:
    if text == "all":
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise typer.BadParameter(f"{text!r} is neither all nor a number of places")


def _fraction(percent: float | None) -> float | None:
    """A published figure as papers print it, 67.8, as a fraction."""
    if percent is not None and not 1 < percent <= 100:
        raise typer.BadParameter(f"--published {percent:g} must be in percent, above 1: write 67.8, not 0.678")
    return None if percent is None else percent / 100


@reports_errors
def eval_(
    ground_truth: Annotated[Path, Argument(help="Ground-truth file, or a folder of one.", show_default=False)],
    index: Annotated[Path | None, Option(help="Index to search.", show_default=False)] = None,
    store: Annotated[Path | None, Option(help="Store to search exactly.", show_default=False)] = None,
    ranking: Annotated[
        Path | None,
        Option(help="Ready output of `imgret search --format jsonl`, or a result file.", show_default=False),
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
    format: Annotated[str, Option(help=f"Format of the ground truth: auto, {', '.join(FORMATS)}.")] = "auto",
    ranking_format: Annotated[str, Option(help=f"Format of --ranking: auto, {', '.join(RANKING_FORMATS)}.")] = "auto",
    query_crop: Annotated[str, Option(help="gt crops queries to their boxes; none takes whole images.")] = "gt",
    query_scales: QueryScales = None,
    robust: Robust = False,
    rerank: Rerank = None,
    reconcile: Annotated[
        bool, Option("--reconcile", help="Score the same rankings under each known variant of the protocol.")
    ] = False,
    published: Annotated[
        float | None,
        Option(help="A published mAP in percent: say which variants come nearest.", show_default=False),
    ] = None,
    html: Annotated[Path | None, Option(help="Write a report page.", show_default=False)] = None,
    json_: Annotated[bool, Option("--json", help="Print the scores as JSON.")] = False,
    per_query: Annotated[Path | None, Option(help="Write a CSV with a line per query.", show_default=False)] = None,
    allow_missing: Annotated[
        bool, Option("--allow-missing", help="Go on when images are missing; they count as never found.")
    ] = False,
    weights: WeightsNow = None,
    device: Device = "auto",
    engine: Engine = "local",
    ray_address: RayAddress = None,
    workers: Workers = None,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score a search against a ground truth, with the protocol that makes the score comparable.

    Example: imgret eval gnd_roxford5k.pkl --index index --images roxford5k/jpg
    """
    from imgret.errors import InputError
    from imgret.rerank import parse_chain
    from imgret.tables import look_up

    if format != "auto":
        look_up(FORMATS, "ground-truth format", format)
    if ranking_format != "auto":
        look_up(RANKING_FORMATS, "ranking format", ranking_format)
    steps = parse_chain(rerank or "")
    parse_choice(("gt", "none"), query_crop)
    asked = (images, queries, whitening, query_scales, robust, rerank, query_crop != "gt")
    if ranking is not None and any(asked):
        raise typer.BadParameter(
            "--ranking brings its own answers; leave out --images, --queries, --whitening, --rerank and all that is "
            "said about queries"
        )
    if queries is not None and query_crop != "gt":
        raise typer.BadParameter("--queries brings ready descriptors, cropped or not; leave out --query-crop")
    if (robust or query_scales) and images is None:
        raise typer.BadParameter("--robust and --query-scales describe the query images; say where with --images DIR")
    if html is not None:
        writable_page(html, "--html")
    if images is not None and queries is not None:
        raise typer.BadParameter("queries come from --images or from --queries, not from both")
    if per_query is not None and (per_query.is_dir() or not per_query.absolute().parent.is_dir()):
        raise InputError(f"--per-query {per_query} cannot be written: name a file in a folder that exists")
    places = _depth(depth)

    from imgret import workflows
    from imgret.cli import console, score_tables

    job = workflows.EvalJob(
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
        ranking_format=ranking_format,
        rerank=steps,
        reconcile=reconcile,
        published=_fraction(published),
        show=workflows.SHOWN_HITS if html is not None else 0,
        options=workflows.QueryOptions(
            device=device,
            workers=workers,
            weights=weights,
            offline=offline,
            scales=parse_scales(query_scales),
            robust=robust,
            engine=check_engine(engine, ray_address),
            ray_address=ray_address,
        ),
    )
    say = console.speaker(quiet)
    scores, protocol = workflows.evaluate(job, say=say)
    document = scores.to_json(protocol)
    if job.published is not None:
        document["published"] = job.published
        document["nearest"] = [
            {"variant": name, "subset": subset, "value": value}
            for name, subset, value in workflows.nearest(scores, job.published)
        ]
    if per_query is not None:
        scores.write_per_query(per_query)
    if json_:
        print(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        score_tables.print_scores(document, scores.headline)
        if scores.variants:
            score_tables.print_reconciliation(scores, job.published)
    if html is not None:
        lines, tables = score_tables.card_lines(document["protocol"]), score_tables.report_tables(scores, job.published)
        workflows.write_report(html, job, scores, score_tables.report_parts(document, scores), lines, tables)
        say(f"The report is {html}")
    if not quiet:
        score_tables.print_score_notes(scores, verbose)
    console.warn_of_whitening(document["protocol"]["whitening"])
