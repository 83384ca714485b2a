"""How a kind of index was chosen, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imgret.cli.console import plain, table, talk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NUMBERS = ("memory", "build", "a query", "of many", "recall", "nprobe", "re-scored")


def print_trials(trials: Iterable[Mapping[str, Any]], chosen: str) -> None:
    """The table of the kinds that were tried, on stderr; nothing where none was.

    `trials` as in index.json: what a sample promises for the whole collection, so two digits are enough. The chosen
    kind has a star; re-scored are the candidates.
    """
    shown = table("kind", *_NUMBERS, right=_NUMBERS)
    left_out: dict[str, list[str]] = {}
    for trial in trials:
        if trial["left_out"]:
            left_out.setdefault(trial["left_out"], []).append(trial["kind"])
        cells = [f"*{trial['kind']}" if trial["kind"] == chosen else trial["kind"], memory_text(trial["memory"])]
        if trial["recall"] is not None:
            cells += [seconds_text(trial["build"]), millis_text(trial["latency"]), millis_text(trial["batched"])]
            cells += [f"{trial['recall']:.3f}"]
            parameters = trial["parameters"]
            cells += [f"{parameters[name]:,}" if name in parameters else "" for name in ("nprobe", "candidates")]
        shown.add_row(*map(plain, cells))
    if shown.row_count:
        talk().print(shown)
    for reason, kinds in left_out.items():
        talk().print(f"{', '.join(kinds)}: {reason}.", markup=False)


def memory_text(size: int) -> str:
    """Bytes for people: 17600000 -> '18 MB'."""
    from imgret.indexes.kinds import spell

    return spell(float(f"{size:.2g}"))


def seconds_text(seconds: float) -> str:
    """How long a build takes: 0.42 -> '0.4 s', 76 -> '76 s', 5400 -> '1.5 h'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def millis_text(milliseconds: float) -> str:
    """How long a query takes: 0.314 -> '0.31 ms', 170 -> '170 ms'."""
    return f"{milliseconds:.2f} ms" if milliseconds < 1 else f"{float(f'{milliseconds:.2g}'):g} ms"
