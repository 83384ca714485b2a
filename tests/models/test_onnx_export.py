"""Models as ONNX, run by onnxruntime with numpy alone, beside the models themselves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import imgret
from imgret import workflows
from imgret.errors import ExportError
from imgret.images.decode import DecodeRule, decode
from imgret.images.files import find
from imgret.models import MODELS, load_model, onnx_export, save_weights
from imgret.models.onnx_export import CHECKED, Agreement, write_onnx
from imgret.models.weights import LoadedModel, digest
from tests.models.tiny import images, tiny
from tests.pictures import save
from tests.toy import MeanColour

# Odd and even, upright and lying, a sliver, one pixel, and as large as a map of several windows; none is in CHECKED.
SIZES = [(1, 64, 96), (4, 97, 61), (2, 32, 32), (1, 7, 200), (1, 1, 1), (2, 257, 383)]


def loaded(model, name="gem"):
    identity = {"model": name, "backbone": "test", "arguments": model.arguments(), "weights": {"sha256": "0"}}
    return LoadedModel(model.eval(), identity, trained=True, image_size=1024)


def describe(path, batch):
    """The descriptors of the file."""
    session = onnxruntime.InferenceSession(path)
    return session.run(["descriptors"], {"images": batch.numpy()})[0]


def assert_same(path, model, sizes):
    for size in sizes:
        picture = images(size[0], 3, *size[1:])
        picture[:, 1, ::5] = 0  # noise alone is the same to every model
        with torch.inference_mode():
            expected = model(picture).numpy()
        found = describe(path, picture)
        assert found.dtype == np.float32
        assert found.shape == (size[0], model.dim)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"gem"}))  # gem is below
def test_the_file_gives_the_models_descriptors_at_sizes_it_was_not_made_at(name, tmp_path):
    model, path = tiny(name), tmp_path / "a.onnx"
    write_onnx(loaded(model, name), path, {})
    assert_same(path, model, SIZES)


@pytest.mark.slow
@pytest.mark.parametrize("offsets", ["absolute", "interpolated"])
def test_offsets_beyond_the_table_of_gsa_are_those_of_the_model(offsets, tmp_path):
    # 64 pixels are two cells of the last stage; the example the graph is made from has 12 x 16.
    model = tiny("gsa", image_side=64, offsets=offsets)
    write_onnx(loaded(model, "gsa"), tmp_path / "a.onnx", {})
    assert_same(tmp_path / "a.onnx", model, [(1, 64, 64), (1, 33, 640)])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(model, report) of a weights file that became model.onnx, beside it and instead of an older file."""
    folder = tmp_path_factory.mktemp("exported")
    model = tiny("gem", p=2.0)
    save_weights(model, folder / "a.safetensors", {"epochs": 3})
    (folder / "model.onnx").write_bytes(b"an older file")
    return model, workflows.export_onnx(folder / "a.safetensors", folder / "model.onnx")


def test_a_weights_file_becomes_a_file_for_any_size(exported):
    model, done = exported
    assert sorted(file.name for file in done.path.parent.iterdir()) == ["a.safetensors", "model.onnx"]
    assert (done.bytes, done.trained) == (done.path.stat().st_size, True)
    assert [(one.batch, one.height, one.width) for one in done.agreements] == list(CHECKED)
    assert all(one.holds for one in done.agreements)
    assert_same(done.path, model, SIZES)


def test_the_file_says_what_it_is_and_where_it_is_from(exported):
    model, done = exported
    session = onnxruntime.InferenceSession(done.path)
    assert [one.shape for one in session.get_inputs()] == [["batch", 3, "height", "width"]]
    assert [one.shape for one in session.get_outputs()] == [["batch", model.dim]]
    about = session.get_modelmeta()
    assert about.producer_name == "imgret"
    said = about.custom_metadata_map
    assert {key: said[key] for key in ("schema", "model", "imgret")} == {
        "schema": "imgret.onnx/1",
        "model": "gem",
        "imgret": imgret.__version__,
    }
    assert said["sha256"] == digest(model.state_dict())
    values = {key: json.loads(said[key]) for key in ("arguments", "dim", "trained", "provenance", "mean", "std")}
    assert values == {
        "arguments": {"backbone": "test_resnet", "p": 2.0},
        "dim": model.dim,
        "trained": True,
        "provenance": {"epochs": 3},
        "mean": model.mean.flatten().tolist(),
        "std": model.std.flatten().tolist(),
    }


def test_the_recipe_of_the_cookbook_gives_the_descriptor_of_extract(exported, tmp_path, monkeypatch):
    model, done = exported
    page = Path(__file__).parents[2] / "docs/cookbook.md"
    (recipe,) = [part for part in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL) if "onnx" in part]
    monkeypatch.chdir(tmp_path)
    save(tmp_path, "photo.jpg", 3, (1500, 900))
    (tmp_path / "model.onnx").symlink_to(done.path)
    found: dict = {}
    exec(recipe, found)
    decoded = decode(find(["photo.jpg"]).images[0], DecodeRule(size=1024))
    pixels = torch.tensor(decoded.pixels).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        expected = model(pixels).numpy()
    assert found["descriptors"].shape == (1, model.dim)
    assert (found["descriptors"] * expected).sum() > 0.9999


class Elsewhere(MeanColour):
    """Its graph is right for images that are higher than wide, or not: as the example is."""

    def describe(self, images):
        height, width = images.shape[2:]
        return images.mean((2, 3)) if height < width else images.amax((2, 3))


def test_a_file_that_differs_is_not_left_and_the_older_one_stays(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"an older file")
    with pytest.raises(ExportError, match=r"a.onnx was not written: for 1 images of 224 x 160 .* differ"):
        write_onnx(loaded(Elsewhere()), path, {})
    assert path.read_bytes() == b"an older file"
    assert list(tmp_path.iterdir()) == [path]


class Slides(MeanColour):
    """Its window is as high as the image, and in the graph as high as the example was."""

    def describe(self, images):
        return torch.einsum("bcwh,h->bc", images.unfold(2, images.shape[2], 1)[:, :, 0], images[0, 0, :, 0])


def test_a_file_that_runs_at_one_size_only_is_not_written(tmp_path, capfd):
    with pytest.raises(ExportError, match="a.onnx was not written: onnxruntime cannot run it at every size") as caught:
        write_onnx(loaded(Slides()), tmp_path / "a.onnx", {})
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")  # onnxruntime would print on its own


class Reads(MeanColour):
    """What it does depends on the pixels, which no graph can follow."""

    def describe(self, images):
        return images.mean((2, 3)) if images.max() > 0.5 else images.amax((2, 3))


def test_a_network_that_cannot_be_written_down_is_said_in_one_line(tmp_path):
    with pytest.raises(ExportError, match="gem on test cannot be written as ONNX for every size: ") as caught:
        write_onnx(loaded(Reads()), tmp_path / "a.onnx", {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", [["onnxruntime"], ["onnx", "onnxscript", "onnxruntime"]])
def test_without_the_extra_the_command_to_type_is_said_before_a_model_loads(missing, monkeypatch):
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name in missing else "there")
    with pytest.raises(ExportError, match=rf"needs {', '.join(missing)}: pip install 'imgret\[onnx\]'"):
        workflows.export_onnx("no such model", "a.onnx")


def test_weights_beyond_what_one_file_takes_are_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "MOST_BYTES", 1000)
    with pytest.raises(ExportError, match="one ONNX file takes 2"):
        write_onnx(load_model("gem", backbone="test_resnet", weights="none"), tmp_path / "a.onnx", {})


@pytest.mark.parametrize(
    ("cosine", "difference", "holds"),
    [(1.0, 1e-4, True), (1.0, 2e-4, False), (0.999, 0.0, False), (float("nan"), float("nan"), False)],
)
def test_agreement_is_rounding_and_no_more(cosine, difference, holds):
    assert Agreement(1, 64, 64, cosine, difference).holds is holds
