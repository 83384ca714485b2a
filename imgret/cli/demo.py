"""`imgret demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from imgret.cli.errors import reports_errors
from imgret.cli.options import Device, Offline, Quiet, Verbose, Workers


@reports_errors
def demo(
    output: Annotated[Path, Option("--output", "-o", help="Folder for everything the demo makes.")] = Path(
        "imgret-demo"
    ),
    device: Device = "auto",
    workers: Workers = None,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run the whole chain on pictures it draws itself, with a page to look at. No download, about a minute.

    Example: imgret demo && open imgret-demo/index.html
    """
    from imgret.cli import console
    from imgret.demo.run import run_demo

    out = console.talk()

    def say(text: str) -> None:
        if not quiet:
            out.print(text, markup=False, style="cyan" if text.lstrip().startswith("$ ") else None)

    report = run_demo(
        output,
        device=device,
        workers=workers,
        offline=offline,
        say=say,
        extracting=lambda: console.extraction_progress(quiet),
    )
    shown = console.table("", "score", "chance", right=("score", "chance"))
    for measure, score, chance in report.table:
        shown.add_row(measure, f"{100 * score:.1f} %", f"{100 * chance:.1f} %")
    console.data().print(shown)
    if quiet:
        return
    if verbose:
        out.print(dict(report.protocol))
    out.print(f"Done in {report.seconds:.0f} s. Look at {report.page}", markup=False)
