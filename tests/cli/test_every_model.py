"""The whole chain with every row of MODELS, by the commands: extract, index, search, eval."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from imgret.cli.app import app
from imgret.models import MODELS, load_model, save_weights
from tests.models.tiny import tiny_backbone
from tests.pictures import save

SIZES = [(96, 64), (61, 97), (33, 130)]  # three orientations, odd sides


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("weights", ["none", "a file"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_goes_the_whole_way(name, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = ["path,label"]
    for number in range(9):
        picture = save(tmp_path / "photos", f"{number}.png", number // 3, SIZES[number % 3])
        labels.append(f"{picture.name},{number // 3}")
    (tmp_path / "labels.csv").write_text("\n".join(labels))
    model = ["--model", name, "--backbone", tiny_backbone(name), "--weights", "none"]
    if weights == "a file":
        save_weights(load_model(name, backbone=tiny_backbone(name), weights="none").model, "w.safetensors", {})
        model = ["--model", "w.safetensors"]
    run("extract", "photos", "-o", "store", *model, "--image-size", 128, "--workers", 0)
    run("index", "store", "-o", "index")
    for line in run("search", "index", "store", "-k", 3).splitlines():
        answer = json.loads(line)
        assert answer["results"][0]["id"] == answer["query"]
        assert answer["results"][0]["score"] == pytest.approx(1, abs=1e-3)
    scores = json.loads(run("eval", "labels.csv", "--index", "index", "--json"))
    (subset,) = scores["subsets"].values()
    assert subset["queries"] == 9
    assert 0 < subset["map"] <= 1
