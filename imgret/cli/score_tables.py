"""Scores as people read them: the table, the protocol card, the reconciliation, what was left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imgret.cli.console import data, plain, table, talk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imgret.evaluation.scores import QueryScore, Scores
    from imgret.report.evaluation_page import SubsetPart


HEADS = {
    "map": "mAP",
    "map_finite": "mAP (finite)",
    "map_trapezoid": "mAP (trapezoid)",
    "n_s_score": "N-S",
    "r_precision": "R-precision",
    "map@r": "MAP@R",
    "gap": "GAP",
    "micro_ap": "µAP",
    "first_place": "first place",
}
_SIDE_BY_SIDE = 5
"""So many subsets fit beside each other in a terminal."""
_FEW = 10  # queries; a bootstrap over no more of them is too narrow
_NUMBERS = {"n_s_score", "first_place", "pairs", "predictions"}  # shown as they are, not in percent


def measure_text(name: str, value: float | int | None) -> str:
    """A measure as a person reads it: fractions in percent, undefined as a dash."""
    if value is None:
        return "–"
    if name in _NUMBERS:
        return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
    return f"{100 * value:.2f}"


def head(name: str, ap: str) -> str:
    """A measure's name on screen; `ap` says which average precision is the official one."""
    if name == "map":
        return f"mAP ({ap})"
    return HEADS.get(name, name.replace("mp@", "mP@").replace("recall@", "R@"))


def shown_measures(document: Mapping[str, Any], headline: str) -> list[str]:
    """The measures to show, the format's own first."""
    subsets = document["subsets"]
    every: Mapping[str, Any] = next(iter(subsets.values()), {})
    ap = document["protocol"]["ap"]
    other = [name for name, rule in (("map_finite", "finite"), ("map_trapezoid", "trapezoid")) if rule != ap]
    revisited = "all" not in subsets
    recall = [] if revisited else ["recall@1", "recall@10"]
    further = [name for name in (*HEADS, "recall@p90", "recall@rank1", "pairs", "predictions") if name in every]
    names = [headline, "map", "mp@1", "mp@5", "mp@10", *recall, *further]
    return [name for name in dict.fromkeys(names) if name in every and name not in ("map_finite", "map_trapezoid")] + [
        name for name in other[:1] if name in every
    ]


def interval_text(ends: list[float] | None, name: str = "map") -> str:
    """'61.20 to 68.03', or a dash."""
    return "–" if ends is None else f"{measure_text(name, ends[0])} to {measure_text(name, ends[1])}"


def print_scores(document: dict[str, Any], headline: str = "map") -> None:
    """Scores as percentages, and the protocol card, on stdout."""
    out = data()
    protocol, subsets = document["protocol"], document["subsets"]
    if len(subsets) <= _SIDE_BY_SIDE:
        shown = table(document["format"], *subsets, right=tuple(subsets))
        for label, cells in _measure_rows(document, headline):
            shown.add_row(label, *cells)
    else:  # Copydays has twenty
        columns = (head(headline, protocol["ap"]), "95 % interval", "queries", "skipped")
        shown = table(document["format"], *columns, right=columns)
        for subset, values in subsets.items():
            value, ends = values.get(headline), values.get(f"{headline}_interval")
            cells = [measure_text(headline, value), interval_text(ends, headline)]
            shown.add_row(subset, *cells, str(values["queries"]), str(values["skipped"]))
    out.print(shown)
    card = table("protocol", "")
    for key, text in card_lines(protocol):
        card.add_row(key, plain(text))
    out.print(card)
    if protocol.get("untrained"):
        talk().print("These are the scores of UNTRAINED (random) weights.", style="yellow")


def _measure_rows(document: Mapping[str, Any], headline: str) -> Iterator[tuple[str, list[str]]]:
    """(measure, its value in every subset), the format's own first."""
    subsets = document["subsets"].values()
    for name in shown_measures(document, headline):
        yield head(name, document["protocol"]["ap"]), [measure_text(name, values.get(name)) for values in subsets]
        key = f"{name}_interval"
        if any(values.get(key) for values in subsets):
            yield "  95 % interval", [interval_text(values.get(key), name) for values in subsets]
    for key in ("queries", "skipped"):
        yield key, [f"{values[key]:,}" for values in subsets]


def card_lines(protocol: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The protocol card as lines of text: (field, value)."""
    lines = []
    for key, value in protocol.items():
        if key == "whitening" and value:
            from imgret.whitening.transform import words

            value = words(value) + (", which is SCORED here" if value["fitted_on_scored_set"] else "")
        elif isinstance(value, dict):
            value = ", ".join(f"{name} {number}" for name, number in value.items() if number)
        elif isinstance(value, list):
            value = ", ".join(str(one) for one in value)
        elif key.endswith("sha256") and value:
            value = f"{value[:16]}..."
        lines.append((key, "–" if value is None else str(value)))
    return lines


def reconciled(scores: Scores) -> list[tuple[str, list[str]]]:
    """What differs -> the measure in every subset, with the difference to the official one."""
    from imgret.evaluation.variants import OFFICIAL
    from imgret.workflows.reconciling import reconciled_measure

    rows, measure = [], reconciled_measure(scores)
    official = scores.variants[OFFICIAL]
    for name, subsets in scores.variants.items():
        if name.startswith("AP ") or "; AP " in name:
            continue  # combinations, which are for a published figure
        cells = []
        for subset in scores.subsets:
            value, base = subsets[subset][measure], official[subset][measure]
            if value is None or base is None:
                cells.append("–")
            else:
                unit = 1 if measure in _NUMBERS else 100
                change = "" if name == OFFICIAL else f" ({unit * (value - base):+.2f})"
                cells.append(measure_text(measure, value) + change)
        rows.append((name, cells))
    return rows


def report_parts(document: Mapping[str, Any], scores: Scores) -> list[SubsetPart]:
    """The scores of each subset as the report shows them."""
    from imgret.report.evaluation_page import SubsetPart

    parts = []
    for subset, values in document["subsets"].items():
        measures = []
        for name in shown_measures(document, scores.headline):
            unit = "" if name in _NUMBERS or values.get(name) is None else " %"
            measures.append((head(name, document["protocol"]["ap"]), measure_text(name, values.get(name)) + unit))
            if values.get(f"{name}_interval"):
                measures.append(("95 % interval", interval_text(values[f"{name}_interval"], name) + unit))
        measures.append(("queries", f"{values['queries']:,}"))
        lines = [line for line in scores.per_query if line.subset == subset and line.ap is not None]
        queries = [(line.query, float(line.ap or 0), _found_words(line)) for line in lines]
        curve = scores.curves.get(subset, [])
        levels = [(number / max(len(curve) - 1, 1), precision) for number, precision in enumerate(curve)]
        parts.append(SubsetPart(subset, measures, queries, levels))
    return parts


def _found_words(line: QueryScore) -> str:
    first = "" if line.first_rank is None else f", first at rank {line.first_rank + 1:,}"
    return f"{line.found:,} of {line.positives:,} found{first}"


def report_tables(scores: Scores, published: float | None = None) -> list[tuple[str, list[str], list[list[str]]]]:
    """Further tables of the report: the reconciliation, where it was asked for."""
    from imgret.workflows.reconciling import nearest, reconciled_measure

    if not scores.variants:
        return []
    measure = HEADS.get(reconciled_measure(scores), reconciled_measure(scores))
    rows = [[name, *cells] for name, cells in reconciled(scores)]
    tables = [(f"{measure} under other protocols, one thing changed at a time", ["protocol", *scores.subsets], rows)]
    if published is not None:
        near = nearest(scores, published)
        rows = [[n, subset, f"{100 * v:.2f}", f"{100 * (v - published):+.2f}"] for n, subset, v in near]
        tables.append((f"Nearest to {100 * published:.2f}", ["protocol", "subset", measure, "off by"], rows))
    return tables


def print_reconciliation(scores: Scores, published: float | None) -> None:
    """Scores under each known variant of the protocol, and which come nearest to a published figure, on stdout."""
    from imgret.workflows.reconciling import nearest, reconciled_measure

    out = data()
    name = HEADS.get(reconciled_measure(scores), reconciled_measure(scores))
    shown = table(f"{name}, one thing changed at a time", *scores.subsets, right=tuple(scores.subsets))
    for name, cells in reconciled(scores):
        shown.add_row(plain(name), *cells)
    out.print(shown)
    if published is not None:
        near = table(f"nearest to {100 * published:.2f}", "subset", name, "off by", right=(name, "off by"))
        for name, subset, value in nearest(scores, published):
            near.add_row(plain(name), subset, f"{100 * value:.2f}", f"{100 * (value - published):+.2f}")
        out.print(near)


def print_score_notes(scores: Scores, verbose: bool) -> None:
    """What was left out of the means or counted as missed, on stderr; all names if verbose."""
    from imgret.ids import escape

    out = talk()
    some = None if verbose else 5

    def note(what: str, names: list[str]) -> None:
        if names:
            shown = ", ".join(escape(name) for name in names[:some])
            more = f" and {len(names) - 5} more (-v shows all)" if some and len(names) > 5 else ""
            out.print(f"{len(names)} {what}: {shown}{more}", markup=False)

    note("images of the ground truth are not in the index, counted as never found", scores.missing)
    note("queries have no ranking, counted as 0", scores.missing_queries)
    for subset in scores.subsets:
        note(f"queries have no positive in {subset}, left out of its mean", scores.skipped(subset))
    few = sorted({int(means["queries"]) for means in scores.subsets.values() if 1 < means["queries"] <= _FEW})
    if few:
        sizes = " and ".join(map(str, few))
        out.print(f"The 95 % interval of only {sizes} queries is narrower than it should be.", markup=False)
    if scores.counts.truncated:
        out.print(f"{scores.counts.truncated} rankings are cut short; positives beyond their end count as never found.")
