"""`imgret models`."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument

from imgret.cli.errors import reports_errors
from imgret.cli.options import Quiet, Verbose

_WEIGHTS = {
    "trunk": "the trunk's public ImageNet weights, downloaded once (--weights auto)",
    "none": "none yet: --weights FILE, or --weights none for random ones",
    "ships": "ships with the package",
}


@reports_errors
def models(
    name: Annotated[str | None, Argument(help="Explain one model.", show_default="list all")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List what can extract: dimension, trunk, size, where its weights come from.

    Example: imgret models glam
    """
    from imgret.cli import console
    from imgret.errors import InputError
    from imgret.models import MODELS, is_weights_file
    from imgret.tables import look_up

    if name is None:
        console.data().print(_table(console))
        if not quiet:
            console.talk().print(
                "GMACs: 10^9 multiply-adds for one image of 512 x 512 pixels. imgret models NAME explains one.",
                markup=False,
            )
        return
    if is_weights_file(name):
        raise InputError(f"{name} is a weights file: imgret info {name} says what it holds")
    card = look_up(MODELS, "model", name)
    shown = console.table("model", name)
    for what, value in (
        ("what it is", card.summary),
        ("paper", card.paper),
        ("descriptor", f"{card.dim} numbers" if card.dim else "as many numbers as the trunk has channels"),
        ("trunk", f"{card.backbone} (timm); another with --backbone NAME"),
        ("size", f"{card.parameters / 1e6:.1f} million parameters with that trunk"),
        ("cost", f"{card.gmacs:.1f} GMACs for one image of 512 x 512 pixels"),
        ("image size", f"{card.image_size} px, the longer side; another with --image-size"),
        ("weights", _WEIGHTS[card.weights]),
    ):
        shown.add_row(what, console.plain(value))
    out = console.data()
    out.print(shown)
    steps = console.table("step", "equation", "from")
    for step, equation, origin in card.equations:
        steps.add_row(step, console.plain(equation), console.plain(origin or "the paper"))
    out.print(steps)
    untrained = "" if card.weights == "trunk" else " --weights none"
    for command in (
        f"imgret extract photos/ -o store --model {name}{untrained}",
        f"imgret attend photo.jpg --model {name}{untrained} -o looks.png",
    ):
        out.print(f"  {command}", markup=False, soft_wrap=True)


def _table(console: Any) -> Any:
    """All models; columns that do not fit the terminal are left out, names never are."""
    from imgret.models import MODELS

    rows = [
        {
            "model": name,
            "dim": str(card.dim or "trunk's"),
            "trunk": card.backbone,
            "parameters": f"{card.parameters / 1e6:.1f} M",
            "GMACs": f"{card.gmacs:.1f}",
            "weights": "timm's" if card.weights == "trunk" else "none yet",
            "arXiv": card.paper.removeprefix("arXiv:"),
            "what it is": card.summary,
        }
        for name, card in MODELS.items()
    ]
    kept, left = [], console.data().width - 2
    for title in rows[0]:
        # the last column may fold, the others are names and numbers to copy
        need = 3 + (24 if title == "what it is" else max(len(title), *(len(row[title]) for row in rows)))
        if title != "model" and need > left:
            continue
        kept.append(title)
        left -= need
    shown = console.table(*kept, right=("dim", "parameters", "GMACs"))
    for title, column in zip(kept, shown.columns, strict=True):
        column.no_wrap = title != "what it is"
    for row in rows:
        shown.add_row(*(console.plain(row[title]) for title in kept))
    return shown
