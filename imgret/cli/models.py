"""`imgret models`, `imgret models NAME` (a model or a public trunk) and `imgret models export`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option
from typer.core import TyperGroup

from imgret.cli.errors import reports_errors
from imgret.cli.options import Offline, Quiet, Verbose, WeightsOf, check_seed, parse_choice, writable
from imgret.tables import did_you_mean

_WEIGHTS = {
    "trunk": "the trunk's public ImageNet weights, downloaded once (--weights auto)",
    "none": "none yet: --weights FILE, or --weights none for random ones",
    "ships": "ships with the package",
}


class NameOrCommand(TyperGroup):
    """A word that is no command is the NAME of a model: `imgret models glam` is `explain glam`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """(name, command, its arguments). A word nearly like a command is left to typer, which names the nearest."""
        is_command = args[0] in self.commands or did_you_mean(args[0], self.commands)
        return super().resolve_command(ctx, args if is_command else ["explain", *args])


app = typer.Typer(cls=NameOrCommand, invoke_without_command=True, subcommand_metavar="[NAME | COMMAND ...]")


@app.callback()
@reports_errors
def models(ctx: typer.Context, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """List what can extract, and strong public trunks for --model gem --backbone. With a NAME explain one.

    Example: imgret models glam
    """
    if ctx.invoked_subcommand is not None:
        return
    from imgret.cli import console
    from imgret.models import DEFAULT_MODEL

    console.data().print(_models(console))
    console.data().print(f"{DEFAULT_MODEL} ships with the package, and is what works without --model.")
    console.data().print("Public trunks for --model gem --backbone NAME")
    console.data().print(_trunks(console))
    if not quiet:
        console.talk().print(
            "GMACs: 10^9 multiply-adds for one image of 512 x 512 pixels. MB: what is downloaded, once.\n"
            "Speed, one image on one core: fast < 0.1 s, medium < 0.3 s, slow < 1 s. imgret models NAME explains one.",
            markup=False,
        )


@app.command(hidden=True)
@reports_errors
def explain(
    name: Annotated[str, Argument(metavar="NAME", help="A model or trunk from `imgret models`.", show_default=False)],
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Explain a model, equation by equation, or a public trunk.

    Example: imgret models glam
    """
    from imgret.cli import console
    from imgret.errors import InputError
    from imgret.models import cards, is_weights_file
    from imgret.models.trunks import TRUNKS
    from imgret.tables import look_up

    if is_weights_file(name):
        raise InputError(f"{name} is a weights file: imgret info {name} says what it holds")
    if name in TRUNKS:
        _explain_trunk(name, console)
        return
    if name not in cards():
        look_up({**cards(), **TRUNKS}, "model or trunk", name)
    card = cards()[name]
    shown = console.table("model", name)
    for what, value in (
        ("what it is", card.summary),
        ("paper", card.paper),
        ("descriptor", f"{card.dim} numbers" if card.dim else "as many numbers as the trunk has channels"),
        ("trunk", f"{card.backbone} (timm)" + ("" if card.weights == "ships" else "; another with --backbone NAME")),
        ("size", f"{card.parameters / 1e6:.1f} million parameters with that trunk"),
        ("cost", f"{card.gmacs:.1f} GMACs for one image of 512 x 512 pixels"),
        ("image size", f"{card.image_size} px, the longer side; another with --image-size"),
        ("weights", _WEIGHTS[card.weights]),
        *_provenance(name, card.weights),
    ):
        shown.add_row(what, console.plain(value))
    out = console.data()
    out.print(shown)
    steps = console.table("step", "equation", "from")
    for step, equation, origin in card.equations:
        steps.add_row(step, console.plain(equation), console.plain(origin or "the paper"))
    out.print(steps)
    untrained = " --weights none" if card.weights == "none" else ""
    for command in (
        f"imgret extract photos/ -o store --model {name}{untrained}",
        f"imgret attend photo.jpg --model {name}{untrained} -o looks.png",
    ):
        out.print(f"  {command}", markup=False, soft_wrap=True)


@app.command(no_args_is_help=True)
@partial(reports_errors, interrupted="nothing was written")
def export(
    file: Annotated[
        str,
        Argument(
            metavar="FILE|NAME",
            help="A weights file (*.safetensors), a name that ships, or one with --weights.",
            show_default=False,
        ),
    ],
    to: Annotated[str, Option(help="onnx.", show_default=False)],
    output: Annotated[
        Path | None, Option("--output", "-o", help="File to write.", show_default="FILE or NAME, ending in .onnx")
    ] = None,
    backbone: Annotated[str | None, Option(help="Trunk by its timm name.", show_default="the model's own")] = None,
    weights: WeightsOf = None,
    seed: Annotated[int | None, Option(help="Seed of random weights.", show_default="0")] = None,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a model as one ONNX file: any batch and image size, pixels normalised inside, unit descriptors out.

    The file is compared with the model in onnxruntime, at several sizes, before it gets its name. Needs `pip install
    'imgret[onnx]'`.

    Example: imgret models export runs/small/best.safetensors --to onnx
    """
    from imgret.errors import InputError
    from imgret.ids import escape
    from imgret.models import check_name, is_weights_file

    parse_choice(("onnx",), to)
    check_seed(file, weights, seed)
    if not is_weights_file(file) and Path(file).exists():
        raise InputError(escape(f"{file} is not a weights file; give a *.safetensors file that imgret wrote"))
    check_name(file)  # before torch loads
    path = output or Path(file).with_suffix(".onnx")
    if path.suffix.lower() != ".onnx" and not path.is_dir():
        raise typer.BadParameter(escape(f"-o writes ONNX: name a file such as {path.with_suffix('.onnx')}"))
    writable(path, "-o", "model.onnx")

    from imgret import workflows
    from imgret.cli import console

    say = console.speaker(quiet)
    done = workflows.export_onnx(
        file, path, backbone=backbone, weights=weights or "auto", seed=seed or 0, offline=offline, say=say
    )
    if quiet:
        return
    shown = console.table(
        "images", "height", "width", "cosine", "largest difference", right=("images", "height", "width")
    )
    for one in done.agreements:
        sizes = (one.batch, one.height, one.width)
        shown.add_row(*(str(size) for size in sizes), f"{one.cosine:.6f}", f"{one.difference:.1e}")
    console.data().print(shown)
    say(f"The model is {escape(str(path))}, {done.bytes / 1e6:.1f} MB.")
    if not done.trained:
        say("Its weights are UNTRAINED (random).")


def _explain_trunk(name: str, console: Any) -> None:
    """A trunk's card, and what to type."""
    from imgret.models.trunks import TRUNKS, address, cache, command

    card = TRUNKS[name]
    folder, there = cache(name)
    shown = console.table("trunk", name)
    for what, value in (
        ("what it is", "a public trunk for --model gem, of timm; not ours, not in the package"),
        ("trained on", card.trained_on),
        ("licence", f"{card.licence}, as timm states it; its page has the terms"),
        ("descriptor", f"{card.dim} numbers, pooled by {card.pooling}"),
        ("size", f"{card.parameters / 1e6:.1f} million parameters"),
        ("image size", f"made for {card.image_size} px; --image-size takes any"),
        ("speed", f"{card.speed}: {_time(card.milliseconds)} for one image of that size on one core"),
        ("download", f"{card.megabytes} MB, once, from {address(name)}"),
        ("cache", f"{folder} (HF_HOME): {'it is there' if there else 'not there yet'}"),
    ):
        shown.add_row(what, console.plain(value))
    out = console.data()
    out.print(shown)
    out.print(f"  {command(name)}", markup=False, soft_wrap=True)


def _time(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def _provenance(name: str, weights: str) -> list[tuple[str, str]]:
    """Where weights that ship come from, as their file says."""
    from imgret.models import read_card, shipped_file

    if weights != "ships":
        return []
    card = read_card(shipped_file(name))
    told = card["provenance"]
    scores = "; ".join(f"{what} {score:g}" for what, score in told["scores"].items())
    stages = "; ".join(f"{one['epochs']} epochs, {one['hours']} h, {one['date']}" for one in told["stages"])
    return [
        ("file", f"{card['bytes'] / 1e6:.1f} MB, {told['licence']}"),
        ("learned from", told["data"]),
        ("taught by", told["teacher"]),
        ("training", f"from {told['start']}; {stages}; {told['machine']}"),
        ("scores", f"{scores}; {told['scored']}"),
    ]


def _models(console: Any) -> Any:
    """All models."""
    from imgret.models import cards

    rows = [
        {
            "model": name,
            "dim": str(card.dim or "trunk's"),
            "trunk": card.backbone,
            "parameters": f"{card.parameters / 1e6:.1f} M",
            "GMACs": f"{card.gmacs:.1f}",
            "weights": {"trunk": "timm's", "ships": "with imgret", "none": "none yet"}[card.weights],
            "arXiv": card.paper.removeprefix("arXiv:"),
            "what it is": card.summary,
        }
        for name, card in cards().items()
    ]
    return _fitted(console, rows, right=("dim", "parameters", "GMACs"))


def _trunks(console: Any) -> Any:
    """All public trunks, those of a kind together."""
    from imgret.models.trunks import TRUNKS

    rows = [
        {
            "trunk": name,
            "MB": str(card.megabytes),
            "speed": card.speed,
            "licence": card.licence,
            "dim": str(card.dim),
            "px": str(card.image_size),
            "trained on": card.trained_on,
        }
        for name, card in TRUNKS.items()
    ]
    return _fitted(console, rows, right=("MB", "dim", "px"))


def _fitted(console: Any, rows: list[dict[str, str]], right: tuple[str, ...]) -> Any:
    """A table of the columns that fit the terminal; the others are left out, names never are."""
    first, *_, last = rows[0]
    kept, left = [], console.data().width - 2
    for title in rows[0]:
        # the last column may fold, the others are names and numbers to copy
        need = 3 + (24 if title == last else max(len(title), *(len(row[title]) for row in rows)))
        if title != first and need > left:
            continue
        kept.append(title)
        left -= need
    shown = console.table(*kept, right=right)
    for title, column in zip(kept, shown.columns, strict=True):
        column.no_wrap = title != last
    for row in rows:
        shown.add_row(*(console.plain(row[title]) for title in kept))
    return shown
