"""`imgret dupes`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from imgret.cli.building_progress import building_progress
from imgret.cli.errors import reports_errors
from imgret.cli.options import Quiet, Verbose, parse_choice

if TYPE_CHECKING:
    from imgret.duplicates.find import Group, Member

FORMATS = ("table", "json", "jsonl", "csv")
SCHEMA = "imgret.dupes/1"
_SAID = "An image id, to be named twice or more: note in --decisions that these are {}, and end."


@reports_errors
def dupes(
    store: Annotated[Path, Argument(help="Store whose images are compared; nothing is changed.", show_default=False)],
    threshold: Annotated[
        float, Option("--threshold", "-t", min=0.01, max=1, help="Cosine that every two of a group have at least.")
    ] = 0.9,
    nearest: Annotated[
        int, Option("--nearest", min=1, help="Others of an image among which a duplicate must be, seen from both.")
    ] = 20,
    decisions: Annotated[
        Path | None, Option(help="CSV file that remembers what you said of pairs.", show_default=False)
    ] = None,
    different: Annotated[list[str] | None, Option(help=_SAID.format("different"), show_default=False)] = None,
    same: Annotated[list[str] | None, Option(help=_SAID.format("the same"), show_default=False)] = None,
    all_: Annotated[bool, Option("--all", help="Show groups too that are decided to be the same.")] = False,
    format: Annotated[
        str | None, Option(help=f"{', '.join(FORMATS)}.", show_default="table on a terminal, else jsonl")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List groups of near-duplicates: every two in a group are alike, the best picture stands first. Deletes nothing.

    Example: imgret dupes store --decisions decisions.csv
    """
    form = parse_choice(FORMATS, format) or ("table" if sys.stdout.isatty() else "jsonl")
    if different and same:
        raise typer.BadParameter("--different and --same are said one after the other")
    if (different or same) and decisions is None:
        raise typer.BadParameter("--different and --same want the file that remembers it: --decisions FILE")

    from imgret import workflows
    from imgret.cli import console

    say = console.speaker(quiet)
    if decisions is not None and (different or same):
        verdict = "different" if different else "same"
        changed = workflows.decide(store, decisions, verdict, different or same or [])
        say(f"{decisions}: {changed} {'pair' if changed == 1 else 'pairs'} noted as {verdict}")
        return
    with building_progress(quiet) as show:
        groups = workflows.find_duplicates(
            store, threshold=threshold, nearest=nearest, decisions=decisions, progress=show
        )
    shown = [group for group in groups if all_ or not group.decided]
    _WRITERS[form](shown)
    images = sum(len(group.members) for group in shown)
    left_out = len(groups) - len(shown)
    say(
        f"{len(shown):,} {'group' if len(shown) == 1 else 'groups'} of {images:,} images at cosine {threshold:g}"
        + (f"; {left_out:,} decided to be the same, shown with --all" if left_out else "")
    )
    if verbose:
        say(f"{sum(_copies(group) for group in shown):,} of these images are copies to the last byte")


def _copies(group: Group) -> int:
    return len(group.members) - len({member.sha256 for member in group.members})


def _document(number: int, group: Group) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "group": number,
        "decided": group.decided,
        "images": [
            {
                "id": _text(member.id),
                "path": member.path and _text(member.path),
                "width": member.width,
                "height": member.height,
                "bytes": member.bytes,
                "sha256": member.sha256,
                "cosine": round(member.cosine, 6),
            }
            for member in group.members
        ],
    }


def _text(name: str) -> str:
    from imgret.ids import escape

    return escape(name)


def _json(groups: Sequence[Group]) -> None:
    json.dump([_document(*one) for one in enumerate(groups, 1)], sys.stdout, ensure_ascii=False, indent=1)
    print()


def _jsonl(groups: Sequence[Group]) -> None:
    for one in enumerate(groups, 1):
        print(json.dumps(_document(*one), ensure_ascii=False))


def _csv(groups: Sequence[Group]) -> None:
    from imgret.duplicates.listing import lines

    csv.writer(sys.stdout, lineterminator="\n").writerows(lines(groups))


def _table(groups: Sequence[Group]) -> None:
    from imgret.cli import console

    shown = console.table("group", "cosine", "pixels", "kB", "image", right=("group", "cosine", "pixels", "kB"))
    for number, group in enumerate(groups, 1):
        for place, one in enumerate(group.members):
            cosine = "" if not place else _cosine(one, group)
            size = f"{one.bytes / 1000:,.0f}"
            shown.add_row(
                "" if place else str(number),
                cosine,
                f"{one.width} x {one.height}",
                size,
                console.plain(_text(one.id)),
                end_section=place == len(group.members) - 1,
            )
    if groups:
        console.data().print(shown)


def _cosine(one: Member, group: Group) -> str:
    return "copy" if one.sha256 == group.members[0].sha256 else f"{one.cosine:.3f}"


_WRITERS: dict[str, Callable[[Sequence[Group]], None]] = {
    "table": _table,
    "json": _json,
    "jsonl": _jsonl,
    "csv": _csv,
}
