"""`imgret models`."""

from __future__ import annotations

from typing import Annotated

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
    from imgret.models import MODELS
    from imgret.tables import look_up

    if name is None:
        numbers = ("dim", "parameters", "GMACs")
        shown = console.table(
            "model", "dim", "trunk", "parameters", "GMACs", "weights", "arXiv", "what it is", right=numbers
        )
        shown.columns[2].no_wrap = True  # a name to copy
        for key, card in MODELS.items():
            shown.add_row(
                key,
                str(card.dim or "trunk's"),
                card.backbone,
                f"{card.parameters / 1e6:.1f} M",
                f"{card.gmacs:.1f}",
                "timm's" if card.weights == "trunk" else "none yet",
                card.paper.removeprefix("arXiv:"),
                card.summary,
            )
        console.data().print(shown)
        if not quiet:
            console.talk().print(
                "GMACs: 10^9 multiply-adds for one image of 512 x 512 pixels. imgret models NAME explains one.",
                markup=False,
            )
        return
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
        (
            "try it",
            f"imgret extract photos/ -o store --model {name}"
            + ("" if card.weights == "trunk" else " --weights none   (untrained)"),
        ),
        ("where it looks", f"imgret attend photo.jpg --model {name} --weights none -o looks.png"),
    ):
        shown.add_row(what, console.plain(value))
    console.data().print(shown)
    steps = console.table("step", f"equation   [where it is from, if not from {card.paper}]")
    for step, equation in card.equations:
        steps.add_row(step, console.plain(equation))
    console.data().print(steps)
