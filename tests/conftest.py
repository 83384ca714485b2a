"""Fixtures every part may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgret.extraction.job import ExtractJob
from imgret.models import MODELS
from tests.pictures import save
from tests.toy import MEAN_COLOUR


@pytest.fixture
def mean_colour(monkeypatch: pytest.MonkeyPatch) -> str:
    """A model anyone can compute: the mean colour of the pixels."""
    monkeypatch.setitem(MODELS, "mean-colour", MEAN_COLOUR)
    return "mean-colour"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six pictures in two folders and two sizes."""
    folder = tmp_path / "photos"
    for number in range(6):
        save(folder, f"{'ab'[number % 2]}/{number}.png", number, (64, 48) if number < 4 else (40, 60))
    return folder


@pytest.fixture
def job(mean_colour: str, photos: Path, tmp_path: Path) -> ExtractJob:
    """Extract the photos with the toy model, in this process, in float32."""
    return ExtractJob(
        images=(str(photos),),
        output=tmp_path / "store",
        model=mean_colour,
        weights="none",
        workers=0,
        precision="fp32",
        image_size=64,
        device="cpu",
    )
