"""Trunks that pool themselves: which they are, and that their vector is the one their own head is given."""

import pytest
import torch
from torch.nn.functional import layer_norm

from imgret.nn.backbones import build_pooled_trunk, pools_itself

EUPE = "vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m"  # of DINOv3's kind, the smallest


def seen(name):
    """(timm network, its tokens or map after forward_features, the trunk's vector) for one random image."""
    torch.manual_seed(0)
    trunk, *_ = build_pooled_trunk(name)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        return trunk.net, trunk.eval().net.forward_features(image), trunk(image)


@pytest.mark.parametrize(
    ("name", "itself"),
    [
        ("test_resnet", False),
        ("test_efficientnet", False),
        ("mobilenetv4_conv_small", False),
        ("test_vit", True),  # norm
        ("test_vit2", True),  # fc_norm
        ("test_convnext", True),  # head.norm
    ],
)
def test_a_trunk_that_ends_in_a_layer_norm_pools_itself(name, itself):
    assert pools_itself(name) is itself


@pytest.mark.parametrize("name", ["test_vit", EUPE])
def test_the_class_token_is_taken_where_no_norm_was_trained_behind_a_mean(name):
    _, tokens, vector = seen(name)
    assert torch.equal(vector, tokens[:, 0])


def test_a_mean_with_a_norm_of_its_own_is_kept():
    net, tokens, vector = seen("test_vit2")  # one class token, four registers
    mean = tokens[:, net.num_prefix_tokens :].mean(1)
    expected = layer_norm(mean, (64,), net.fc_norm.weight, net.fc_norm.bias, net.fc_norm.eps)
    assert torch.allclose(vector, expected, atol=1e-6)


def test_an_attention_pooling_is_kept():
    net, tokens, vector = seen("test_vit3")
    with torch.no_grad():
        assert torch.equal(vector, net.attn_pool(tokens))


def test_a_convnext_is_averaged_then_normed():
    net, features, vector = seen("test_convnext")
    norm = net.head.norm
    expected = layer_norm(features.mean((2, 3)), (64,), norm.weight, norm.bias, norm.eps)
    assert torch.allclose(vector, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_any_size_gives_one_vector(name):
    trunk, channels, *_ = build_pooled_trunk(name)
    with torch.no_grad():
        assert trunk.eval()(torch.rand(2, 3, 67, 131)).shape == (2, channels)
