"""The `imgret` command. Importing this stays light: the standard library, typer and tables of strings."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import imgret
from imgret.cli import demo, evaluate, extract, index, info, models, search

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
    models.models,
    info.info,
    demo.demo,
):
    app.command(name=command.__name__.rstrip("_"), no_args_is_help=command.__name__ not in ("models", "demo"))(command)


def main() -> None:
    """Run the command line; a closed pipe ends it quietly."""
    try:
        app()
    except BrokenPipeError:
        # what is left in the buffer has nowhere to go; without this the interpreter complains at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
