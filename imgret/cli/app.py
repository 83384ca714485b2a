"""The `imgret` command. Importing this stays light: the standard library, typer and tables of strings."""

from __future__ import annotations

import io
import signal
import sys
from typing import Annotated

import typer

import imgret
from imgret.cli import (
    attend,
    bench,
    calibrate,
    compare,
    demo,
    doctor,
    dupes,
    evaluate,
    extract,
    index,
    info,
    merge,
    models,
    push,
    search,
    serve,
    train,
    whiten,
)

app = typer.Typer(
    name="imgret",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"imgret {imgret.__version__}")
        raise typer.Exit


@app.callback()
def imgret_(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Index image collections: descriptors from attention models, HDF5 shards, FAISS search, honest scores.

    Example: imgret extract photos/ -o store && imgret index store -o index && imgret search index query.jpg
    """


for command in (
    extract.extract,
    index.index,
    search.search,
    evaluate.eval_,
    compare.compare,
    attend.attend,
    train.train,
    whiten.whiten,
    calibrate.calibrate,
    merge.merge,
    push.push,
    dupes.dupes,
    serve.serve,
    info.info,
    demo.demo,
    doctor.doctor,
    bench.bench,
):
    name = command.__name__.rstrip("_")
    app.command(name=name, no_args_is_help=name not in ("demo", "doctor", "bench"))(command)
app.add_typer(models.app, name="models")


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # ids are printed in UTF-8 whatever the locale says
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    signal.signal(signal.SIGTERM, _stop)
    app()


def _stop(number: int, frame: object) -> None:
    """Be asked to end (by a scheduler, a shutdown) as by Ctrl-C: what is described is written down first."""
    raise KeyboardInterrupt
