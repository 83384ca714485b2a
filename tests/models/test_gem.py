"""gem on trunks that take both signs: nothing of them is dropped."""

import pytest
import safetensors.torch
import timm
import torch

from imgret.models.gem import GeMModel
from imgret.models.weights import load_model, save_weights
from imgret.nn import backbones
from tests.models.tiny import images


@pytest.mark.parametrize("backbone", ["test_vit", "test_convnext"])
def test_a_trunk_of_both_signs_keeps_both(backbone):
    model = GeMModel(backbone).eval()
    with torch.inference_mode():
        found = model(images(2, 3, 67, 131))
    assert found.shape == (2, model.dim)
    assert 0.2 < (found < 0).float().mean() < 0.8
    assert (model.scale_power, model.views(images(1, 3, 64, 64)), model.view_words()) == (1.0, {}, {})


def test_a_trunk_that_ends_in_a_relu_is_pooled_by_gem():
    model = GeMModel("test_resnet").eval()
    with torch.inference_mode():
        assert (model(images(1, 3, 64, 64)) > 0).all()
    assert (model.scale_power, list(model.view_words())) == (3.0, ["pooled"])


def test_a_power_for_a_trunk_without_one_is_refused():
    with pytest.raises(ValueError, match="test_vit pools itself and has no p, got 2"):
        GeMModel("test_vit", p=2.0)


@pytest.mark.parametrize("backbone", ["test_vit", "test_convnext"])
def test_the_public_weights_give_the_vector_that_timm_gives(backbone, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    torch.manual_seed(11)
    net = timm.create_model(backbone).eval()  # with its classifier, as the hub keeps it
    safetensors.torch.save_file(net.state_dict(), path)
    monkeypatch.setattr(backbones, "cached_pretrained", lambda name: path)
    loaded = load_model("gem", backbone=backbone, offline=True)
    batch = images(1, 3, 160, 160)
    with torch.inference_mode():
        pixels = (batch - loaded.model.mean) / loaded.model.std
        expected = torch.nn.functional.normalize(net.forward_head(net.forward_features(pixels), pre_logits=True))
        assert torch.allclose(loaded.model(batch), expected, atol=1e-6)


def test_a_weights_file_brings_such_a_model_back(tmp_path):
    model, path = GeMModel("test_vit").eval(), tmp_path / "gem.safetensors"
    save_weights(model, path, {})
    with torch.inference_mode():
        assert torch.equal(load_model(path).model(images(1, 3, 64, 64)), model(images(1, 3, 64, 64)))
