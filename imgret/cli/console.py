"""Talk goes to stderr, with progress on a terminal; data goes to stdout. rich loads when something is printed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from imgret.extraction.extract import ExtractReport, Progress
    from imgret.extraction.job import Say
    from imgret.indexes.build import IndexReport
    from imgret.training.loop import TrainReport
    from imgret.workflows.whitening import WhitenReport


def talk() -> Console:
    """The console for people, on stderr."""
    from rich.console import Console

    class Talk(Console):
        def on_broken_pipe(self) -> None:
            """Nobody listens any more; the work goes on."""
            self.quiet = True

    return Talk(stderr=True, highlight=False, soft_wrap=True)


def speaker(quiet: bool) -> Say:
    """What says a line on stderr, or nothing if quiet."""
    from imgret.extraction import job

    return job.quiet if quiet else lambda text: talk().print(text, markup=False)


def data() -> Console:
    """The console for tables on stdout."""
    from rich.console import Console

    class Data(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    # a file or a pipe has no width of its own, and 80 columns would fold the numbers
    narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Data(highlight=False, width=None if narrow else 120)


def table(*columns: str, title: str | None = None, right: tuple[str, ...] = ()) -> Table:
    """A table in the house's style; the columns named in `right` hold numbers."""
    from rich import box
    from rich.table import Table

    made = Table(
        title=None if title is None else plain(title), box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False
    )
    for column in columns:
        number = column in right
        made.add_column(plain(column), justify="right" if number else "left", overflow="fold", no_wrap=number)
    return made


@contextmanager
def extraction_progress(quiet: bool, doing: str = "extracting") -> Iterator[Progress | None]:
    """A bar with images/s and time left on a terminal; a line every ten seconds elsewhere; nothing if quiet."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _plain_progress()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn(f"[bold]{doing}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
        console=talk(),
    )
    with bar:
        task = bar.add_task("", total=None, rate="", failed="")
        begun = 0.0

        def show(done: int, total: int, failed: int) -> None:
            nonlocal begun
            begun = begun or time.perf_counter()
            rate = (done - 1) / max(time.perf_counter() - begun, 1e-9)
            words = f"[red]{failed} failed" if failed else ""
            bar.update(task, completed=done, total=total, rate=f"{rate:.1f} images/s", failed=words)

        yield show


def _plain_progress() -> Progress:
    begun = last = 0.0

    def show(done: int, total: int, failed: int) -> None:
        nonlocal begun, last
        now = time.perf_counter()
        if not begun:
            begun = last = now  # the model is loaded and the first image is done: now the clock tells
        elif now - last >= 10:
            last = now
            rate = (done - 1) / (now - begun)
            left = (total - done) / rate
            complain(f"{done}/{total} images, {rate:.1f} images/s, about {left:.0f} s left, {failed} failed")

    return show


@contextmanager
def training_progress(quiet: bool) -> Iterator[Callable[[int, int, float, float], object] | None]:
    """A bar with loss, images/s and time left on a terminal; a line a minute elsewhere; nothing if quiet."""
    if quiet:
        yield None
    elif not sys.stderr.isatty():
        yield _plain_training()
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        text = TextColumn("{task.fields[words]}")
        with Progress(
            TextColumn("[bold]training"), BarColumn(), MofNCompleteColumn(), text, TimeRemainingColumn(), console=talk()
        ) as bar:
            task = bar.add_task("", total=None, words="")

            def show(done: int, total: int, loss: float, rate: float) -> None:
                bar.update(task, completed=done, total=total, words=f"loss {loss:.3f}, {rate:.1f} images/s")

            yield show


def _plain_training() -> Callable[[int, int, float, float], object]:
    last = time.perf_counter()

    def show(done: int, total: int, loss: float, rate: float) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last >= 60:
            last = now
            complain(f"{done}/{total} batches, loss {loss:.3f}, {rate:.1f} images/s")

    return show


def print_training(report: TrainReport) -> None:
    """What a run has come to, on stderr."""
    out = talk()
    progress = report.progress
    if report.failed:
        out.print(f"{len(report.failed)} images could not be read; why: {report.folder / 'failures.csv'}", markup=False)
    rate = f"{report.images / report.seconds:.1f} images/s over {report.seconds:.0f} s; " if report.seconds else ""
    best = "" if progress.best_score is None else f", best score {100 * progress.best_score:.2f} %"
    when = "" if progress.best_epoch is None else f" after epoch {progress.best_epoch + 1}"
    why = "" if report.stopped == "done" else f" ({report.stopped})"
    out.print(f"{rate}{progress.epoch} epochs, {progress.step} steps{best}{when}{why}.", markup=False)
    out.print(f"Weights: {report.folder / 'best.safetensors'}; curves: {report.folder / 'curves.png'}", markup=False)


def print_extraction(report: ExtractReport, dry_run: bool = False) -> None:
    """The summary of a run, on stderr."""
    out = talk()
    for note in report.notes[:10]:
        out.print(f"note: {note}", markup=False)
    did = "would be " if dry_run else ""
    parts = [f"{report.added} {did}added", f"{report.kept} kept", f"{report.replaced} {did}replaced"]
    if report.gone:
        parts.append(f"{report.gone} gone" + (" and removed" if report.pruned else " (kept; --prune removes them)"))
    if report.failed:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.failures.most_common())
        parts.append(f"{report.failed} failed ({reasons})")
    if report.others:
        parts.append(f"{report.others} other files passed over")
    out.print(f"{report.found} images: {', '.join(parts)}.", markup=False)
    if dry_run:
        return
    if report.seconds and report.to_do:
        out.print(
            f"{report.to_do / report.seconds:.1f} images/s over {report.seconds:.1f} s. {report.bottleneck}",
            markup=False,
        )
    if not report.trained:
        out.print("The weights are UNTRAINED (random): near-duplicates are found, little else.", style="yellow")
    out.print(f"{report.store} now holds {report.total} descriptors.", markup=False)
    if report.failed:
        out.print(f"Why images failed: {report.store}/failures.csv", markup=False)


def plain(text: str) -> Any:
    """Text that rich must not read as markup: file names may hold [brackets]."""
    from rich.text import Text

    return Text(text)


def complain(text: str) -> None:
    """One line about something that went wrong, on stderr."""
    with suppress(BrokenPipeError):
        print(f"imgret: {text}", file=sys.stderr, flush=True)


def print_index(report: IndexReport, verbose: bool) -> None:
    """The summary of an index, on stderr."""
    out = talk()
    if not report.changed:
        out.print(f"{report.path} holds these stores already: {report.count} images.", markup=False)
        return
    if report.rebuilt_because:
        out.print(f"Made anew: {report.rebuilt_because}.", markup=False)
    out.print(
        f"{report.path}: {report.count} images ({report.added} added, {report.removed} removed, {report.kept} kept), "
        f"{report.kind} [{report.factory}]: {report.why}.",
        markup=False,
    )
    if report.whitening is not None:
        from imgret.whitening.transform import words

        out.print(f"Whitened: {words(report.whitening)}.", markup=False)
    if report.dba is not None:
        out.print(f"Augmented: {report.dba}.", markup=False)
    if report.graph:
        out.print(f"Graph: {report.graph} neighbours a row.", markup=False)
    recall = report.recall
    if recall.get("recall@10") is not None:
        met = "" if recall["reached"] else f", below the {recall['target']:.2f} asked for"
        out.print(
            f"Measured recall@10 is {recall['recall@10']:.3f}{met} ({recall['queries']} queries).",
            markup=False,
        )
    if verbose:
        out.print(
            f"Parameters {report.parameters}; {report.dead} removed rows wait for the next rebuild; {recall}",
            markup=False,
        )


def print_whitening(report: WhitenReport, store: Path) -> None:
    """What was fitted, what it had to do without, and what to type next, on stderr."""
    out = talk()
    made, about = report.whitening, report.whitening.about
    learned = about["kind"] == "learned"
    if report.left_out:
        out.print(f"{report.left_out:,} pairs were left out: the store lacks an image of theirs.", markup=False)
    of_what = "the differences of the pairs vary" if learned else "the descriptors vary"
    if learned and about["pairs"] < made.dim_in:
        out.print(
            f"Only {about['pairs']:,} pairs for {made.dim_in} dimensions: learned whitening wants at least as many "
            "pairs; with fewer, --kind pca is the safer choice.",
            style="yellow",
        )
    if about["alpha"]:
        out.print(
            f"{of_what.capitalize()} in {about['rank']} of {made.dim_in} directions, so alpha I with alpha "
            f"{about['alpha']:g} was added to their covariance.",
            style="yellow",
        )
    elif made.dim == about["rank"] < made.dim_in and not learned:
        out.print(
            f"{of_what.capitalize()} in {about['rank']} of {made.dim_in} directions; the other "
            f"{made.dim_in - about['rank']} (variance below {about['floor']:.1e}) are dropped.",
            style="yellow",
        )
    shown = table("whitening", str(report.path))
    kind = f"learned from {about['pairs']:,} pairs" if learned else f"pca, power {about['power']:g}"
    for what, value in (
        ("kind", kind),
        ("fitted on", f"{about['count']:,} descriptors of {about['store']}"),
        ("dimensions", f"{made.dim_in} -> {made.dim}"),
        ("variance kept", f"{100 * about['variance']:.2f} %" + (" (pair differences whitened)" if learned else "")),
        ("directions that vary", f"{about['rank']} of {made.dim_in}"),
    ):
        shown.add_row(what, plain(value))
    out.print(shown)
    out.print(f"Next: imgret index STORE -o INDEX --whitening {report.path}", markup=False)


def warn_of_whitening(card: dict[str, Any] | None) -> None:
    """Say it when the whitening has seen the images that are scored."""
    if card and card["fitted_on_scored_set"]:
        complain(
            f"warning: the whitening was fitted on {card['shared_images']:,} of the images that are scored, so these "
            "scores do not say what it does to others; fit it on other images"
        )
