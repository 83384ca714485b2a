"""`imgret search`."""

from __future__ import annotations

import sys
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
    existing,
    parse_box,
    parse_choice,
    parse_scales,
    spare,
    writable_page,
)

FORMATS = ("table", "json", "jsonl", "csv", "paths", "paths0")


@reports_errors
def search(
    index: Annotated[
        Path,
        Argument(help="Folder of the index, a store, which is searched exactly, or milvus:URI.", show_default=False),
    ],
    queries: Annotated[
        list[str],
        Argument(help="Query images, folders of them, or a store of query descriptors.", show_default=False),
    ],
    k: Annotated[int, Option("-k", "--top", min=1, help="Results a query.")] = 10,
    exact: Annotated[bool, Option("--exact", help="Compare with every image of the index, whatever its kind.")] = False,
    box: Annotated[
        str | None, Option(help="x1,y1,x2,y2: search with this part of the query.", show_default=False)
    ] = None,
    exclude_self: Annotated[
        bool, Option("--exclude-self", help="Leave out the query itself: same id, or same file.")
    ] = False,
    min_score: Annotated[float | None, Option(help="Leave out lower cosines.", show_default=False)] = None,
    images: Annotated[Path | None, Option(help="Where the collection is now.", show_default="where it was")] = None,
    whitening: Annotated[
        Path | None,
        Option(
            help="Whiten a store and the queries; an index always uses its own, and this must be it.",
            show_default=False,
        ),
    ] = None,
    query_scales: QueryScales = None,
    robust: Robust = False,
    rerank: Rerank = None,
    format: Annotated[
        str | None, Option(help=f"{', '.join(FORMATS)}.", show_default="table on a terminal, else jsonl")
    ] = None,
    html: Annotated[Path | None, Option(help="Write a page with pictures of the results.", show_default=False)] = None,
    weights: WeightsNow = None,
    device: Device = "auto",
    engine: Engine = "local",
    ray_address: RayAddress = None,
    workers: Workers = None,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Rank the images of an index for each query, best first. Scores are cosines, unless --rerank makes its own.

    Example: imgret search index query.jpg -k 5
    """
    region = parse_box(box)
    scales = parse_scales(query_scales)
    form = parse_choice(FORMATS, format) or ("table" if sys.stdout.isatty() else "jsonl")

    if images is not None:
        existing(images, "--images")
    if html is not None:
        spare(queries, writable_page(html, "--html"), "--html")

    from imgret.rerank import chain_text, parse_chain

    steps = parse_chain(rerank or "")

    from imgret import workflows
    from imgret.cli import answers, console
    from imgret.ids import escape

    say = console.speaker(quiet)
    found = workflows.search(
        index,
        queries,
        k=k,
        exactly=exact,
        box=region,
        exclude_self=exclude_self,
        min_score=min_score,
        images=images,
        whitening=whitening,
        rerank=steps,
        options=workflows.QueryOptions(
            device=device,
            workers=workers,
            weights=weights,
            offline=offline,
            scales=scales,
            robust=robust,
            engine=check_engine(engine, ray_address),
            ray_address=ray_address,
        ),
        say=say,
    )
    answers.WRITERS[form](found)
    if html is not None:
        answers.write_html(html, found, index, region, chain_text(steps))
        say(f"The page of results is {html}")
    if verbose:
        kept = sum(len(answer.hits) for answer in found)
        say(f"{kept} results for {len(found)} queries, {form} on stdout")
    failed = [answer for answer in found if answer.error is not None]
    for answer in failed:
        console.complain(f"{escape(answer.query)}: {answer.error}")
    if failed:
        raise typer.Exit(1)
