"""Options that several commands share, and how their text is read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from imgret.engines import ENGINES
from imgret.rerank import RERANKERS
from imgret.tables import look_up

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what is done.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never download; HF_HUB_OFFLINE=1 does the same.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", "-j", min=0, help="Decode processes; 0 decodes in this one.", show_default="one per core"
    ),
]
Engine = Annotated[str, typer.Option(help=f"Where the work is done: {' or '.join(ENGINES)} (docs/cluster.md).")]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="local (Ray on this machine), auto (the cluster that runs here) or HOST:PORT.",
        show_default="RAY_ADDRESS, else local",
    ),
]
GpusPerWorker = Annotated[
    float, typer.Option(min=0.01, help="With --engine ray, the share of a GPU that each model takes.")
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="A name from `imgret models`, or a weights file (*.safetensors).", show_default=False
    ),
]
WeightsOf = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="auto (shipped, cached or a public download), none (random, from --seed) or a weights file.",
        show_default="auto",
    ),
]
WeightsNow = Annotated[
    str | None,
    typer.Option("--weights", help="Where the weights file of the index is now, if it moved.", show_default=False),
]
Rerank = Annotated[
    str | None,
    typer.Option(
        "--rerank",
        help=f'Stages that order the ranking anew, such as "aqe:k=5 superglobal": {", ".join(RERANKERS)}.',
        show_default=False,
    ),
]
QueryScales = Annotated[
    str | None,
    typer.Option(
        "--query-scales",
        help="Scales of the queries alone, such as 1,0.7071,1.4142.",
        show_default="those of the collection",
    ),
]
Robust = Annotated[
    bool, typer.Option("--robust", help="Ask with each query mirrored and turned too; the collection stays as it is.")
]


def check_engine(name: str, ray_address: str | None) -> str:
    """The name of an engine that is there; wrong usage where an address is given for another than Ray."""
    look_up(ENGINES, "engine", name)
    if ray_address is not None and name != "ray":
        raise typer.BadParameter("--ray-address is for --engine ray")
    return name


def parse_scales(text: str | None) -> tuple[float, ...] | None:
    """'1,0.7071,1.4142' -> (1.0, 0.7071, 1.4142)."""
    if text is None:
        return None
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0 < scale <= 8 for scale in scales) or len(set(scales)) != len(scales):
        raise typer.BadParameter(f"{text!r} is not a list of different factors such as 1,0.7071,1.4142")
    return scales


def parse_part(text: str | None) -> tuple[int, int] | None:
    """'2/8' -> (2, 8)."""
    if text is None:
        return None
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        index = count = 0
    if not 1 <= index <= count:
        raise typer.BadParameter(f"{text!r} is not I/N with I from 1 to N, such as 2/8")
    return index, count


def parse_box(text: str | None) -> tuple[int, int, int, int] | None:
    """'10,20,200,300' -> (10, 20, 200, 300)."""
    if text is None:
        return None
    try:
        x1, y1, x2, y2 = (int(part) for part in text.split(","))
    except ValueError:
        x1 = y1 = x2 = y2 = 0
    if not (0 <= x1 < x2 and 0 <= y1 < y2):
        raise typer.BadParameter(f"{text!r} is not x1,y1,x2,y2 in pixels, right and bottom exclusive")
    return x1, y1, x2, y2


def parse_choice(choices: tuple[str, ...], text: str | None) -> str | None:
    """One of the words, or BadParameter with the nearest."""
    from imgret.tables import did_you_mean

    if text is None or text in choices:
        return text
    raise typer.BadParameter(f"{text!r} is not one of {', '.join(choices)}{did_you_mean(text, choices)}")


def check_seed(model: str, weights: str | None, seed: int | None) -> None:
    """BadParameter for a seed beside weights from a file."""
    from imgret.ids import escape
    from imgret.models import is_weights_file

    file = model if is_weights_file(model) else weights
    if seed is not None and file not in (None, "auto", "none"):
        raise typer.BadParameter(f"{escape(str(file))} brings its own weights; leave out --seed {seed}")


def writable(path: Path, option: str, example: str) -> Path:
    """The path of a file to write, or an InputError before any work is done for nothing; `example` is a name for it."""
    import os

    from imgret.errors import InputError
    from imgret.ids import escape

    problem = None
    if path.is_dir():
        problem = f"it is a folder; name a file in it, such as {path / example}"
    elif path.exists() and not path.is_file():
        problem = "it is a pipe or a device, not a file"
    elif not path.parent.is_dir():
        problem = "its folder does not exist"
    elif not os.access(path.parent, os.W_OK):
        problem = "no right to write in its folder"
    if problem is not None:
        raise InputError(escape(f"{option} {path} cannot be written: {problem}"))
    return path


def writable_page(path: Path, option: str) -> Path:
    """`writable` for a page: BadParameter unless its name ends in .html or .htm, so that no photograph is meant."""
    from imgret.ids import escape

    if path.suffix.lower() not in (".html", ".htm") and not path.is_dir():
        raise typer.BadParameter(escape(f"{option} writes a page: name a file such as {path.with_suffix('.html')}"))
    return writable(path, option, "page.html")


def spare(files: Iterable[str], path: Path, option: str) -> None:
    """InputError if a file to write is one of these files, whatever it is called."""
    import os

    from imgret.errors import InputError
    from imgret.ids import escape

    if path.exists() and any(os.path.exists(file) and os.path.samefile(file, path) for file in set(files)):
        raise InputError(escape(f"{option} {path} would overwrite an image that was given; name another file"))


def existing(path: Path, what: str) -> Path:
    """The path, or an InputError that names it."""
    from imgret.errors import InputError

    if not path.exists():
        raise InputError(f"{what} {path}: no such file or folder")
    return path
