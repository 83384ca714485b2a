"""The table of `imgret bench`: a section for every step, a bar for every speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imgret.cli import console

if TYPE_CHECKING:
    from imgret.bench.report import BenchReport, Cosine, Describing, Together

Row = tuple[str, "float | None", "Cosine | None", str]
"""What it is, seconds an image, its cosine, a note."""
_READERS = {"pillow": "Pillow", "simplejpeg": "simplejpeg"}
_NUMBERS = ("ms/image", "images/s", "cosine", "lowest")
_WIDE = 110  # columns of a terminal with room for bars
_BAR = 16  # characters
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def show(report: BenchReport, verbose: bool = False) -> None:
    """Print it on stdout, without bars where they would not fit; `verbose` adds the machine and the versions."""
    out = console.data()
    bars = ("",) if out.width >= _WIDE else ()
    shown = console.table("", *_NUMBERS[:2], *bars, *_NUMBERS[2:], "", title=_title(report), right=_NUMBERS)
    shown.columns[0].no_wrap = True
    for heading, rows in (
        ("reading", _reading(report)),
        ("decoding, one core", _decoding(report)),
        ("the model alone", _describing(report)),
        ("both together", _together(report)),
    ):
        shown.add_row(_styled(heading, "bold"))
        quickest = min((seconds for _, seconds, _, _ in rows if seconds), default=1.0)
        for what, seconds, cosine, note in rows:
            bar = "" if seconds is None or len(rows) == 1 else _bar(quickest / seconds)
            cells = (*_speed(seconds), *[bar for _ in bars], *_nearness(cosine), _styled(note, "dim"))
            shown.add_row(console.plain(f"  {what}"), *cells)
    out.print(shown)
    if verbose:
        console.talk().print(dict(report.machine))


def _title(report: BenchReport) -> str:
    machine, images, model = report.machine, report.images, report.model
    scales = f", {len(model['scales'])} scales" if len(model["scales"]) > 1 else ""
    pictures = "drawn pictures" if images["drawn"] else f"of {images['found']:,} images"
    unreadable = f", {images['unreadable']} unreadable left out" if images["unreadable"] else ""
    return (
        f"{model['name']} at {model['image_size']} px{scales}, on {machine['gpu'] or machine['processor']}, "
        f"{machine['cores']} cores; {images['read']} {pictures}, {images['megapixels']:.1f} megapixels{unreadable}"
    )


def _reading(report: BenchReport) -> list[Row]:
    return [("files, as they come", report.reading.seconds, None, f"{report.reading.bytes / 1e6:.2f} MB each")]


def _decoding(report: BenchReport) -> list[Row]:
    rows: list[Row] = []
    for one in report.decoding:
        if one.seconds is not None:
            rows.append((f"{one.decode}, {_READERS[one.reader]}", one.seconds, one.cosine, ""))
        elif not rows or rows[-1][3] != one.why_not:  # once for both ways
            rows.append((_READERS[one.reader], None, None, one.why_not))
    return rows


def _describing(report: BenchReport) -> list[Row]:
    rows: list[Row] = []
    idle = {(one.precision, one.why_not) for one in report.describing if one.why_not and not one.compile}
    for one in report.describing:
        if one.compile and (one.precision, one.why_not) in idle:
            continue  # said of the precision already
        note = f"after {one.start:.0f} s to compile" if one.compile and one.seconds is not None else one.why_not
        rows.append((_variant(one), one.seconds, one.cosine, note))
    return rows


def _together(report: BenchReport) -> list[Row]:
    return [
        (
            f"{_variant(one)}, {one.decode}, {one.workers} {'worker' if one.workers == 1 else 'workers'}",
            one.seconds,
            one.cosine,
            f"{100 * one.share:.0f} % of the ideal {1 / one.ideal:,.1f}",
        )
        for one in report.together
    ]


def _variant(one: Describing | Together) -> str:
    return one.precision + (" --compile" if one.compile else "")


def _speed(seconds: float | None) -> tuple[str, str]:
    if seconds is None:
        return "", ""
    rate = 1 / max(seconds, 1e-9)
    return f"{1000 * seconds:,.2f}", f"{rate:,.1f}" if rate < 1000 else f"{rate:,.0f}"


def _nearness(cosine: Cosine | None) -> Sequence[str]:
    return ("", "") if cosine is None else (f"{cosine.mean:.4f}", f"{cosine.lowest:.4f}")


def _bar(share: float) -> Any:
    """A share of the quickest, in eighths of a character."""
    eighths = max(1, round(share * _BAR * 8))
    return _styled("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip(), "green" if share > 0.97 else "cyan")


def _styled(text: str, style: str) -> Any:
    words = console.plain(text)
    words.stylize(style)
    return words
