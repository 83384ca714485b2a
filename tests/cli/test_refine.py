"""`imgret extract --refine` and `--scale-pooling` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from imgret.cli.app import app
from imgret.store import Store
from tests.pictures import save
from tests.test_startup import loaded

REFINE = "gem+:p=4.6 regional:p=2.5,side=5 relup:floor=0.014"
MODEL = ["--model", "glam", "--backbone", "test_resnet", "--weights", "none", "--image-size", 96]
FAST = ["--workers", 0, "--device", "cpu", "--precision", "fp32"]


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.stderr.split()) if code else result.stdout


def rows(path: str) -> np.ndarray:
    return np.concatenate([block.descriptors for block in Store.open(Path(path)).blocks()])


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder, with six photos and a refined store of them."""
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        save(tmp_path / "photos", f"{number}.png", number, (96, 64) if number < 3 else (64, 96))
    run("extract", "photos", "-o", "refined", *MODEL, *FAST, "--refine", REFINE)
    return tmp_path


def test_a_refined_store_says_so_and_differs_from_a_plain_one(place):
    run("extract", "photos", "-o", "plain", *MODEL, *FAST)
    refined, plain = (Store.open(place / name).recipe for name in ("refined", "plain"))
    assert refined == {**plain, "refine": "relup:floor=0.014 regional:p=2.5,side=5 gem+:p=4.6"}
    assert refined["weights"] == plain["weights"]
    assert "refine" not in plain
    assert np.abs(rows("refined").astype(float) - rows("plain")).max() > 1e-3


def test_a_second_run_goes_on_with_the_stores_refinements(place):
    run("extract", "photos", "-o", "fresh", *MODEL, *FAST, "--refine", "relup regional gem+")
    save(place / "photos", "new.png", 9, (96, 64))
    for name, options in (("refined", []), ("fresh", ["--refine", REFINE])):
        run("extract", "photos", "-o", name, "--workers", 0, *options)
        assert len(rows(name)) == 7
    assert rows("refined").astype(float) == pytest.approx(rows("fresh").astype(float), abs=1e-3)


def test_a_second_run_that_contradicts_is_refused(place):
    said = run("extract", "photos", "-o", "refined", "--refine", "gem+", code=1)
    assert "refined was made with refine relup:floor=0.014 regional:p=2.5,side=5 gem+:p=4.6, now refine gem+" in said
    assert "Leave --refine out" in said
    run("extract", "photos", "-o", "refined", "--refine", "none", code=1)


def test_queries_are_refined_like_the_index_they_ask(place):
    run("index", "refined", "-o", "index")
    for number in (0, 5):
        answer = json.loads(
            run("search", "index", f"photos/{number}.png", "-k", 1, "--workers", 0, "--format", "jsonl")
        )
        assert answer["results"][0]["id"] == f"{number}.png"
        assert answer["results"][0]["score"] == pytest.approx(1, abs=1e-3)


def test_scales_are_pooled_as_asked_and_one_scale_is_refused(place):
    said = run("extract", "photos", "-o", "max", *MODEL, *FAST, "--scale-pooling", "max", code=1)
    assert "has one scale to pool; give several, such as --scales 1,0.7071,1.4142" in said
    assert not (place / "max").exists()
    run("extract", "photos", "-o", "max", *MODEL, *FAST, "--scale-pooling", "max", "--scales", "1,0.7071")
    run("extract", "photos", "-o", "auto", *MODEL, *FAST, "--scale-pooling", "auto", "--scales", "1,0.7071")
    assert Store.open(place / "max").recipe["scale_pooling"] == "max"
    assert "scale_pooling" not in Store.open(place / "auto").recipe
    assert np.abs(rows("max").astype(float) - rows("auto")).max() > 1e-3
    assert "scale_pooling max, now" in run("extract", "photos", "-o", "max", "--scale-pooling", "signed", code=1)


def test_a_model_that_cannot_be_refined_says_so_and_leaves_nothing(place):
    vit = ["--model", "gem", "--backbone", "test_vit", "--weights", "none"]
    assert "cannot be refined" in run("extract", "photos", "-o", "vit", *vit, *FAST, "--refine", "gem+", code=1)
    other = ["--model", "gem", "--backbone", "regnetx_002", "--weights", "none"]
    assert "regnetx_002 has no four" in run(
        "extract", "photos", "-o", "vit", *other, *FAST, "--refine", "relup", code=1
    )
    assert not (place / "vit").exists()


@pytest.mark.parametrize(
    ("option", "nearest"), [(("--refine", "relu"), "relup"), (("--scale-pooling", "singed"), "signed")]
)
def test_a_misspelt_name_is_told_before_anything_heavy_loads(tmp_path, option, nearest):
    modules, text = loaded("extract", str(tmp_path), "-o", str(tmp_path / "s"), *option)
    assert modules == []
    assert f"did you mean {nearest}?" in text
