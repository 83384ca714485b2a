"""What a training set must come with."""

from __future__ import annotations

from pathlib import Path

from imgret.datasets import DATASETS
from imgret.errors import InputError
from imgret.ids import escape


def need(folder: Path, format: str, *names: str) -> None:
    """InputError that says what must lie where, and where a person gets it, unless all files are there."""
    lacking = [name for name in names if not (folder / name).is_file()]
    if lacking:
        card = DATASETS[format]
        raise InputError(
            f"{escape(str(folder))} has no {' and no '.join(lacking)}, so it is no {format} set. It needs "
            f"{card.layout}. Get it from {card.where}"
        )
