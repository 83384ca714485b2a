"""`imgret compare`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from imgret.cli.errors import reports_errors
from imgret.cli.options import Quiet, Verbose

if TYPE_CHECKING:
    from imgret.evaluation.comparison import Comparison
    from imgret.workflows import ComparedRuns

_WHOLE_NUMBERS = {"n_s_score", "first_place"}  # every other measure is a fraction


@partial(reports_errors, interrupted="nothing was written")
def compare(
    a: Annotated[Path, Argument(metavar="A.json", help="Output of `imgret eval --json`.", show_default=False)],
    b: Annotated[Path, Argument(metavar="B.json", help="Another, by the same ground truth.", show_default=False)],
    measure: Annotated[str, Option(help="map, map_finite, mp@10, recall@1 or any number of per_query.")] = "map",
    top: Annotated[int, Option(min=0, help="Queries to name that moved most, in either direction.")] = 10,
    subset: Annotated[str | None, Option(help="Compare in this one only.", show_default="all of them")] = None,
    seed: Annotated[int, Option(min=0, help="Seed of the interval and of p.")] = 0,
    json_: Annotated[bool, Option("--json", help="Print the comparison as JSON.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compare two evaluations query by query: the difference, and whether so few queries can show it.

    Example: imgret compare plain.json reranked.json --subset medium
    """
    from imgret import workflows

    runs = workflows.compare(a, b, measure=measure, subset=subset, top=top, seed=seed)
    if json_:
        print(json.dumps(runs.to_json(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        _print(runs)
    if not quiet:
        _print_left_out(runs, verbose)


def _print(runs: ComparedRuns) -> None:
    from imgret.cli import console
    from imgret.ids import escape

    out = console.data()
    in_ = _Unit(runs.measure)
    for letter, path in (("A", runs.a), ("B", runs.b)):
        out.print(f"{letter}  {escape(str(path))}", markup=False)
    head = f"mAP ({runs.ap})" if runs.measure == "ap" else runs.measure
    level = next(f"{100 * one.level:.0f} % interval" for one in runs.subsets.values())
    numbers = ("A", "B", "B - A", level, "p", "better", "worse", "equal")
    shown = console.table("", *numbers, title=head, right=numbers)
    shown.collapse_padding = True  # so that it fits 80 columns
    for subset, one in runs.subsets.items():
        means = (in_.value(one.a), in_.value(one.b), in_.change(one.difference))
        counts = (str(one.better), str(one.worse), str(one.equal))
        shown.add_row(console.plain(escape(subset)), *means, in_.span(one.interval), _p(one.p), *counts)
    out.print(shown)
    for subset, one in runs.subsets.items():
        moved = [*one.gained, *one.lost]
        if moved:
            shown = console.table("query", *numbers[:3], title=f"{escape(subset)}: moved most", right=numbers[:3])
            for query, was, now in moved:
                cells = in_.value(was), in_.value(now), in_.change(now - was)
                shown.add_row(console.plain(escape(query)), *cells)
            out.print(shown)
    if runs.protocol:
        shown = console.table("protocol", "A", "B")
        for field, values in runs.protocol.items():
            shown.add_row(console.plain(escape(field)), *(console.plain(_card_text(field, value)) for value in values))
        out.print(shown)
    else:
        out.print("The protocols are the same.\n")
    for subset, one in runs.subsets.items():
        where = "" if list(runs.subsets) == ["all"] else f"{escape(subset)}: "
        out.print(where + _verdict(one, in_), markup=False, soft_wrap=True)


def _print_left_out(runs: ComparedRuns, verbose: bool) -> None:
    """Queries that are in no mean, on stderr; all names if verbose."""
    from imgret.cli import console
    from imgret.ids import escape

    out = console.talk()
    some = None if verbose else 5
    for subset, one in runs.subsets.items():
        for names, what in (
            (one.only_a, "in A only"),
            (one.only_b, "in B only"),
            (one.undefined, "without a positive"),
        ):
            if names:
                shown = ", ".join(map(escape, names[:some]))
                more = f" and {len(names) - 5} more (-v shows all)" if some and len(names) > some else ""
                out.print(f"{escape(subset)}: left out, {what}: {_queries(len(names))}: {shown}{more}", markup=False)


class _Unit:
    """How numbers of a measure are shown: a fraction as a percentage, and its changes in points."""

    def __init__(self, measure: str) -> None:
        fraction = measure not in _WHOLE_NUMBERS
        self.scale = 100 if fraction else 1
        self.name = " points" if fraction else ""

    def value(self, value: float | None) -> str:
        return "–" if value is None else f"{self.scale * value:.2f}"

    def change(self, value: float | None) -> str:
        return "–" if value is None else f"{round(self.scale * value, 2) + 0.0:+.2f}"  # + 0.0 makes -0.0 a 0

    def span(self, interval: tuple[float, float] | None) -> str:
        return "–" if interval is None else " to ".join(map(self.change, interval))


def _verdict(one: Comparison, in_: _Unit) -> str:
    """The sentence at the end: who is better, or that the queries cannot show it."""
    if one.difference is None or one.p is None:
        return "No query to compare."
    if one.better + one.worse == 0:
        return f"A and B score the same on {_queries(one.queries)}."
    p = "p < 0.001" if one.p < 0.001 else f"p = {_p(one.p)}"
    level = f"{100 * one.level:.0f} % interval"
    if one.winner is None or one.interval is None:
        interval = "" if one.interval is None else f"{level} {in_.span(one.interval)}, "
        change = f"{in_.change(one.difference)}{in_.name}"
        return f"No difference that {_queries(one.queries)} can show ({change}, {interval}{p})."
    low, high = sorted(map(abs, one.interval))
    by = f"{in_.value(abs(one.difference))}{in_.name}"
    return f"{one.winner.upper()} is better by {by} ({level} {in_.value(low)} to {in_.value(high)}, {p})."


def _queries(count: int) -> str:
    return "1 query" if count == 1 else f"{count:,} queries"


def _p(p: float | None) -> str:
    if p is None:
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _card_text(field: str, value: Any) -> str:
    from imgret.ids import escape

    if value is None:
        return "–"
    if field.endswith("sha256"):
        return f"{str(value)[:16]}..."
    return escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))
