"""Plots as inline SVG: sharp at every size and in print, their colours are those of the page.

A plot is as wide as its place. Its text keeps its size: places are in percent, and only the bars and curves
lie in an inner drawing that is stretched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from xml.etree.ElementTree import Element, SubElement, tostring

from imgret.ids import escape

MOST_BARS = 200
"""More queries than that are drawn as one stepped area."""

STRIPS = 100
"""Parts of a stepped area that say which queries they hold when the mouse is over them."""

_FULL = 1000  # height of a drawing that stands for 1, so that heights are whole numbers
_LEAST = 6  # a query with AP 0 is still seen
_FEWEST = 24  # places for bars: the bar of a single query is no wall


def ap_plot(queries: Sequence[tuple[str, float, str]], height: int = 220) -> str:
    """Average precisions (query id, AP, words for the tooltip) from worst to best, `height` CSS pixels high.

    One bar a query up to 200 queries, a stepped area beyond; "" without queries. Ids are escaped
    (`imgret.ids.escape`). ValueError when an AP is not in 0..1.
    """
    if not queries:
        return ""
    for query, ap, _ in queries:
        if not 0 <= ap <= 1:
            raise ValueError(f"the AP of query {query!r} must be in 0..1, got {ap}")
    ordered = sorted(queries, key=lambda query: query[1])
    places = max(len(ordered), _FEWEST)
    plot = _axes(f"Average precision of each query. {ap_words(queries)}", height, (0.0, 0.25, 0.5, 0.75, 1.0))
    for number in _numbers(len(ordered)):
        short = len(ordered) > number >= 10_000  # on a telephone long numbers would touch
        text, x = f"{number // 1000}k" if short else f"{number:,}", _percent((number - 0.5) / places)
        _text(plot, "tick", text, x=x, y="100%", dy="1.5em", anchor="middle")
    _text(plot, "axis", "average precision, %", x="0", y="0", dy="-14", dx="-42")
    _text(plot, "axis", "queries, worst to best", x="100%", y="100%", dy="2.9em", anchor="end")
    drawing = _drawing(plot, places)
    heights = [max(round(_FULL * ap), _LEAST) for _, ap, _ in ordered]
    bars = len(ordered) <= MOST_BARS
    SubElement(drawing, "path", {"class": "bars", "d": _bars(heights) if bars else _area(heights)})
    for first, last, words in _tips(ordered) if bars else _strip_tips(ordered):
        place = {"x": f"{first}", "width": f"{last - first}", "height": f"{_FULL}"}
        SubElement(SubElement(drawing, "rect", {"class": "tip", **place}), "title").text = words
    mean = sum(ap for _, ap, _ in ordered) / len(ordered)
    level = _percent(1 - mean)
    for kind in ("halo", "mean"):
        SubElement(plot, "line", {"class": kind, "x1": "0", "x2": "100%", "y1": level, "y2": level})
    if mean > 0.9:  # tall bars leave room only above them
        _text(plot, "value", f"mean {_score(mean)}", x="100%", y="0", dy="-14", anchor="end")
    else:
        _text(plot, "value", f"mean {_score(mean)}", x="0", y=level, dx="6", dy="-6")
    return tostring(plot, "unicode")


def ap_words(queries: Sequence[tuple[str, float, str]]) -> str:
    """'70 queries: 3 at 0 %, median 65.90 %, the best at 97.88 %.'"""
    if not queries:
        return "No query was scored."
    values = sorted(ap for _, ap, _ in queries)
    count = f"{len(values):,} {'query' if len(values) == 1 else 'queries'}"
    if values[0] == values[-1]:
        return f"{count}, {'all ' if len(values) > 1 else ''}at {_score(values[0])}."
    median = (values[len(values) // 2] + values[(len(values) - 1) // 2]) / 2
    zeros = sum(ap == 0 for ap in values)
    lowest = f"{zeros:,} at 0 %" if zeros else f"the worst at {_score(values[0])}"
    return f"{count}: {lowest}, median {_score(median)}, the best at {_score(values[-1])}."


def curves_plot(curves: Sequence[tuple[str, Sequence[tuple[float, float]]]], height: int = 340) -> str:
    """Precision over recall: (name, [(recall, precision), ...]) each, all in 0..1, recall not falling.

    The n-th curve has the classes `curve` and those of `style_of(n)`; one without points is left out, and
    without any curve the plot is "". ValueError when a value is outside or recall falls.
    """
    if not any(points for _, points in curves):
        return ""
    for name, points in curves:
        _check_curve(name, points)
    shown = " and ".join(escape(name) for name, points in curves if points)
    ticks = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    plot = _axes(f"Precision over recall of {shown}", height, ticks)
    for tick in ticks:
        x = _percent(tick)
        if 0 < tick < 1:
            SubElement(plot, "line", {"class": "grid", "x1": x, "x2": x, "y1": "0", "y2": "100%"})
        _text(plot, "tick", f"{100 * tick:.0f}", x=x, y="100%", dy="1.5em", anchor="middle")
    _text(plot, "axis", "precision, %", x="0", y="0", dy="-14", dx="-42")
    _text(plot, "axis", "recall, %", x="100%", y="100%", dy="2.9em", anchor="end")
    drawing = _drawing(plot, _FULL)
    for number, (name, points) in enumerate(curves):
        if points:
            steps = [f"{_FULL * recall:.4g} {_FULL * (1 - precision):.4g}" for recall, precision in points]
            # the last part is a dot where the curve has but one point
            path = {"class": f"curve {style_of(number)}", "d": f"M{'L'.join(steps)}h0"}
            SubElement(SubElement(drawing, "path", path), "title").text = escape(name)
    return tostring(plot, "unicode")


def style_of(number: int) -> str:
    """CSS classes of the n-th series: four colours and three dashes give twelve pairs, so colour is never alone."""
    return f"colour-{number % 4} dash-{number % 3}"


def _axes(label: str, height: int, ticks: Sequence[float]) -> Element:
    """A plot with its horizontal lines and their values in percent; it reads as `label` where it cannot be seen."""
    plot = Element("svg", {"class": "plot", "width": "100%", "height": f"{height}", "role": "img", "aria-label": label})
    for tick in ticks:
        y = _percent(1 - tick)
        SubElement(plot, "line", {"class": "grid" if tick else "base", "x1": "0", "x2": "100%", "y1": y, "y2": y})
        _text(plot, "tick", f"{100 * tick:.0f}", x="0", y=y, dx="-8", dy=".35em", anchor="end")
    return plot


def _drawing(plot: Element, width: int) -> Element:
    box = {"viewBox": f"0 0 {width} {_FULL}", "preserveAspectRatio": "none"}
    return SubElement(plot, "svg", {"width": "100%", "height": "100%", **box})


def _text(plot: Element, kind: str, text: str, *, anchor: str = "start", **place: str) -> None:
    SubElement(plot, "text", {"class": kind, "text-anchor": anchor, **place}).text = text


def _bars(heights: Sequence[int]) -> str:
    return "".join(f"M{place + 0.1:.4g} {_FULL}v{-height}h.8v{height}z" for place, height in enumerate(heights))


def _area(heights: Sequence[int]) -> str:
    """A stepped area; equal steps are one, so at most a thousand are drawn, however many queries there are."""
    path, place = f"M0 {_FULL}", 0
    for height, same in groupby(heights):
        place += sum(1 for _ in same)
        path += f"V{_FULL - height}H{place}"
    return f"{path}V{_FULL}z"


def _tips(ordered: Sequence[tuple[str, float, str]]) -> Iterator[tuple[int, int, str]]:
    """(first place, the place after the last, words) of each bar."""
    for place, (query, ap, words) in enumerate(ordered):
        yield place, place + 1, f"{escape(query)}: {_score(ap)}" + (f"\n{words}" if words else "")


def _strip_tips(ordered: Sequence[tuple[str, float, str]]) -> Iterator[tuple[int, int, str]]:
    """The same of each strip of a stepped area."""
    edges = [len(ordered) * strip // STRIPS for strip in range(STRIPS + 1)]
    for first, last in pairwise(edges):
        worst, best = ordered[first], ordered[last - 1]
        ends = f"{escape(worst[0])}: {_score(worst[1])}"
        if last - first > 1:
            ends += f"\nto {escape(best[0])}: {_score(best[1])}"
            ends += f"\nqueries {first + 1:,} to {last:,} of {len(ordered):,}"
        yield first, last, ends


def _numbers(count: int) -> list[int]:
    """Which queries have their number below: the first, the last, and round ones that leave room for it."""
    step = next(step for power in range(12) for step in (10**power, 2 * 10**power, 5 * 10**power) if count <= 5 * step)
    return sorted({1, *range(step, count - step // 2, step), count})


def _check_curve(name: str, points: Sequence[tuple[float, float]]) -> None:
    if not all(0 <= value <= 1 for point in points for value in point):
        raise ValueError(f"recall and precision of {name!r} must be in 0..1")
    if any(left[0] > right[0] for left, right in pairwise(points)):
        raise ValueError(f"the recall of {name!r} must not fall")


def _percent(part: float) -> str:
    return f"{100 * part:.4g}%"


def _score(value: float) -> str:
    return f"{100 * value:.2f} %"
