"""Progress of building an index: a bar named after what is being done, or a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from imgret.cli import console

Show = Callable[[str, int, int], None]
EVERY = 10.0  # seconds between lines where there is no terminal


@contextmanager
def building_progress(quiet: bool) -> Iterator[Show | None]:
    """A bar with time left on a terminal; a line every ten seconds elsewhere; nothing if quiet."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _resuming(_lines())
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console.talk(), transient=True) as bar:
        task, doing = bar.add_task("", total=None), ""

        def show(what: str, done: int, total: int) -> None:
            nonlocal doing
            if what != doing:
                doing = what
                bar.reset(task, description=what)
            bar.update(task, completed=done, total=total)

        yield _resuming(show)


def _resuming(show: Show) -> Show:
    """The same, and that a build goes on where it was cut off is said in any case."""

    def told(what: str, done: int, total: int) -> None:
        if what == "resuming":
            console.talk().print(f"Resuming at {done:,} of {total:,} images.", markup=False)
        else:
            show(what, done, total)

    return told


def _lines() -> Show:
    doing, begun, first, last = "", 0.0, 0, 0.0

    def show(what: str, done: int, total: int) -> None:
        nonlocal doing, begun, first, last
        now = time.monotonic()
        if what != doing:
            doing, begun, first = what, now, done
            last = last or now
        if now - last < EVERY:
            return
        last = now
        rate = (done - first) / max(now - begun, 1e-9)
        left = f", about {(total - done) / rate:.0f} s left" if rate > 0 else ""
        console.complain(f"{what}: {done:,} of {total:,}{left}")

    return show
