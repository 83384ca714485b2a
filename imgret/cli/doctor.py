"""`imgret doctor`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from imgret.cli.errors import reports_errors
from imgret.cli.options import Quiet, Verbose

if TYPE_CHECKING:
    from imgret.doctor.finding import Finding

_STYLES = {"ok": "green", "warning": "yellow", "wrong": "bold red"}


@partial(reports_errors, interrupted="nothing was written")
def doctor(
    timeout: Annotated[float, Option(min=1, help="Seconds after which an import counts as hanging.")] = 180.0,
    json_: Annotated[bool, Option("--json", help="Print the findings as JSON.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Examine this machine and installation, then describe pictures whose descriptors are known (golden vectors).

    Whatever may crash is tried in a process of its own, and whatever is amiss comes with what to do next. Exit 1 when
    something is wrong; a warning is not. It takes about half a minute.

    Example: imgret doctor
    """
    from imgret.cli import console
    from imgret.doctor.examine import as_document, examine

    with _telling(quiet) as say:
        findings = examine(Path(), say=say, timeout=timeout)
    if json_:
        print(json.dumps(as_document(findings), indent=1, ensure_ascii=False, allow_nan=False))
    elif not quiet:
        _print(findings)
    for finding in findings:
        if finding.verdict == "wrong" or (finding.verdict == "warning" and not quiet):
            console.complain(f"{finding.what}: {finding.verdict}: {finding.words}. Next: {finding.next_step}")
            if verbose and finding.detail:
                console.talk().print(finding.detail, markup=False, style="dim")
    wrong = sum(finding.verdict == "wrong" for finding in findings)
    if wrong:
        raise typer.Exit(1)
    if not quiet:
        console.talk().print("Nothing is wrong.", style="green")


def _print(findings: Sequence[Finding]) -> None:
    from imgret.cli import console

    shown = console.table("", "verdict", "what was found")
    for finding in findings:
        verdict = console.plain(finding.verdict)
        verdict.stylize(_STYLES[finding.verdict])
        shown.add_row(console.plain(finding.what), verdict, console.plain(finding.words))
    shown.columns[0].no_wrap = shown.columns[1].no_wrap = True
    console.data().print(shown)


@contextmanager
def _telling(quiet: bool) -> Iterator[Callable[[str], object]]:
    """On a terminal a line that says what is being tried; nothing elsewhere."""
    from imgret.cli import console
    from imgret.extraction import job

    if quiet or not sys.stderr.isatty():
        yield job.quiet
        return
    with console.talk().status("examining") as status:
        yield lambda text: status.update(f"trying: {text}")
