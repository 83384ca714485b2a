"""imgret calibrate, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgret.models import load_model, read_card, save_weights
from imgret.training.calibration import rows_before
from imgret.whitening.fit import pca
from imgret.whitening.moments import Moments
from tests.cli.test_cli import run
from tests.models.tiny import tiny
from tests.pictures import save


@pytest.fixture
def place(tmp_path, monkeypatch):
    """40 photos, and a weights file of a small trained GLAM; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    for number in range(40):
        save(tmp_path / "photos", f"{number}.png", number, (64, 64) if number % 2 else (96, 64))
    save_weights(tiny("glam", dim=4), "own.safetensors", {"data": "drawn"}, image_size=64)
    return tmp_path


def calibrate(*arguments: str, code: int = 0):
    return run(
        "calibrate", "own.safetensors", "photos", "-o", "done.safetensors", *arguments, "--workers", "0", code=code
    )


def lengthy_rows(weights: str) -> np.ndarray:
    """Descriptors of the photos, in order of name, before they are made unit length."""
    describe = rows_before(load_model(weights).model)
    return np.concatenate([describe(np.array(Image.open(path))[None]) for path in sorted(Path("photos").iterdir())])


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_unit_descriptors_are_whitened_for_the_median_length(place):
    result = calibrate("--whiten", "1", "--image-size", "96")
    assert "40 images at 96 px: 4 of 4 directions whitened (power 1)" in result.stderr
    assert "--model done.safetensors" in result.stderr
    assert "note:" not in result.stderr
    rows, moments = lengthy_rows("own.safetensors"), Moments(4)
    moments.add(unit(rows))
    fit = pca(moments)
    centred = rows - np.median(np.linalg.norm(rows, axis=1)) * fit.mean
    expected = unit(centred @ fit.projection.T)
    assert unit(lengthy_rows("done.safetensors")) == pytest.approx(expected, abs=1e-3)


def test_the_file_says_what_was_done_and_keeps_what_it_said(place):
    calibrate("--norms", "--whiten", "0.5", "--limit", "33", "--image-size", "32", "-q")
    card = read_card("done.safetensors")
    told = card["provenance"]
    assert told["data"] == "drawn"
    assert card["image_size"] == 32
    (step,) = told["calibration"]
    assert step["from_sha256"] == read_card("own.safetensors")["sha256"]
    assert (step["norms"], step["power"], step["image_size"], step["images"]) == (True, 0.5, 32, 33)
    assert str(place) not in json.dumps(told)


def test_norms_are_counted_anew(place):
    calibrate("--norms")
    before, after = (load_model(f"{name}.safetensors").model.trunk.state_dict() for name in ("own", "done"))
    changed = {name.rpartition(".")[2] for name in before if not (before[name] == after[name]).all()}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}


def test_too_few_images_for_the_directions_are_said(place):
    assert "1 of 4 directions whitened" in (said := calibrate("--whiten", "1", "--limit", "2").stderr)
    assert "the other 3 directions did not vary" in said


def test_the_same_again_gives_the_same_file(place):
    calibrate("--whiten", "1", "--limit", "20", "--seed", "3")
    first = read_card("done.safetensors")["sha256"]
    calibrate("--whiten", "1", "--limit", "20", "--seed", "3")
    assert read_card("done.safetensors")["sha256"] == first


def test_an_unreadable_image_is_left_out_and_said(place):
    (place / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    result = calibrate("--whiten", "1")
    assert "40 images" in result.stderr
    assert "1 images could not be read" in result.stderr
    assert "broken.jpg" in calibrate("--whiten", "1", "-v").stderr


def test_bad_input_gets_one_clear_line_and_its_exit_code(place):
    assert "--whiten 0.75" in calibrate(code=2).output
    assert "no such" in run("calibrate", "own.safetensors", "gone", "-o", "x.safetensors", "--norms", code=1).stderr
    kept = Path("own.safetensors").read_bytes()
    asked = ("own.safetensors", "photos", "-o", "own.safetensors", "--norms")
    assert "name another one" in run("calibrate", *asked, code=1).stderr
    assert Path("own.safetensors").read_bytes() == kept
    asked = ("glam-small", "photos", "-o", "x.safetensors", "--norms")
    assert "not a weights file" in run("calibrate", *asked, code=1).stderr
    save_weights(tiny("gem"), "gem.safetensors", {})
    asked = ("gem.safetensors", "photos", "-o", "x.safetensors", "--whiten", "1")
    result = run("calibrate", *asked, code=1)
    assert "imgret whiten STORE" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    asked = ("own.safetensors", "photos", "-o", "x.safetensors", "--norms", "--limit", "20", "-j", "0")
    assert "too few images" in run("calibrate", *asked, code=1).stderr
    save_weights(tiny("glam"), "random.safetensors", {}, trained=False)
    assert "random weights" in run("calibrate", "random.safetensors", *asked[1:], code=1).stderr
    assert not (place / "x.safetensors").exists()
