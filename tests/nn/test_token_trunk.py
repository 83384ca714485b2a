"""The tokens of a transformer's last layers, as `build_token_trunk` hands them out."""

import pytest
import safetensors.torch
import timm
import torch

from imgret.errors import UnknownNameError, WeightsError
from imgret.nn import backbones
from imgret.nn.backbones import TINY_HYBRID, build_token_trunk, to_whole_patches
from imgret.nn.recording import recorded

TINY = "test_vit"  # 6 layers, 64 channels, patches of 16, positions for 10 x 10


def make(layers=3):
    torch.manual_seed(7)
    return build_token_trunk(TINY, layers)[0].eval()


def images(batch, height, width):
    return torch.rand(batch, 3, height, width)


def positions(trunk, height, width):
    """What the trunk adds to the patches of a height x width grid: [height, width, D]."""
    net = trunk.net
    with torch.no_grad():
        net.patch_embed.proj.weight.zero_()
        net.patch_embed.proj.bias.zero_()
        with recorded([net.pos_drop]) as embedded:
            trunk(images(1, 16 * height, 16 * width))
    return embedded[0][0, 1:].unflatten(0, (height, width))


@pytest.mark.parametrize("layers", [1, 3, 6])
@pytest.mark.parametrize("batch", [1, 2])
def test_tokens_are_those_of_the_last_layers_in_order(layers, batch):
    trunk = make(layers)
    with torch.no_grad(), recorded(trunk.net.blocks) as outputs:
        classes, patches = trunk(images(batch, 48, 80))
        assert classes.shape == (batch, layers, 64)
        assert patches.shape == (batch, layers, 64, 3, 5)
        for place, output in enumerate(outputs[-layers:]):
            tokens = trunk.net.norm(output)  # [B, 1 + 15, D]: the class token, then the patches row by row
            assert torch.equal(classes[:, place], tokens[:, 0])
            for y in range(3):
                for x in range(5):
                    assert torch.equal(patches[:, place, :, y, x], tokens[:, 1 + 5 * y + x])


def test_the_layers_differ_and_the_last_is_the_networks_own_output():
    trunk, x = make(), images(1, 48, 80)
    with torch.no_grad():
        classes, patches = trunk(x)
        whole = trunk.net.forward_features(x)
    torch.testing.assert_close(classes[:, -1], whole[:, 0])
    torch.testing.assert_close(patches[:, -1].flatten(2).mT, whole[:, 1:])
    assert (classes[:, 0] - classes[:, -1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("size", "grid"), [((32, 32), (2, 2)), ((48, 80), (3, 5)), ((67, 131), (5, 9)), ((32, 240), (2, 15))]
)
def test_any_size_is_seen_in_whole_patches(size, grid):
    with torch.no_grad():
        _, patches = make()(images(2, *size))
    assert patches.shape == (2, 3, 64, *grid)


def test_an_image_is_stretched_to_whole_patches_smoothly():
    # Pixel i of 4 lies at (i + 1/2) 3 / 4 - 1/2 of 3 pixels: -1/8, 5/8, 11/8, 17/8, the ends held.
    stretched = to_whole_patches(torch.tensor([0.0, 1.0, 2.0]).view(1, 1, 1, 3), 4)
    assert stretched[0, 0].tolist() == [[0, 0.625, 1.375, 2]] * 4
    whole = images(1, 4, 8)
    assert to_whole_patches(whole, 4) is whole


def test_positions_at_the_native_size_are_exactly_the_pretrained_ones():
    trunk = make()
    assert torch.equal(positions(trunk, 10, 10).flatten(0, 1), trunk.net.pos_embed[0, 1:])


@pytest.mark.parametrize(("height", "width"), [(14, 14), (20, 12), (10, 15), (25, 4)])
def test_positions_at_another_size_are_interpolated_not_cut(height, width):
    trunk = make()
    rows, columns = torch.arange(10.0).view(-1, 1), torch.arange(10.0).view(1, -1)
    with torch.no_grad():
        ramps = torch.stack([rows.expand(10, 10), columns.expand(10, 10)], 2)  # channel 0 grows down, 1 to the right
        trunk.net.pos_embed[0, 1:, :2] = ramps.flatten(0, 1)
    found = positions(trunk, height, width)
    # A ramp stays a ramp: cell i of n lies at (i + 1/2) 10 / n - 1/2, away from the border, where bicubic bends it.
    for axis, count in enumerate((height, width)):
        places = (torch.arange(count) + 0.5) * 10 / count - 0.5
        inside = (places > 2.5) & (places < 6.5)
        assert inside.any()
        values = found[..., axis].movedim(axis, 0)[inside]  # [inside, the other axis]
        torch.testing.assert_close(values, places[inside, None].expand_as(values), rtol=0, atol=0.05)


def test_the_class_tokens_position_is_not_interpolated():
    trunk = make()
    with torch.no_grad(), recorded([trunk.net.pos_drop]) as embedded:
        trunk(images(1, 48, 80))
        assert torch.equal(embedded[0][:, 0], trunk.net.cls_token[:, 0] + trunk.net.pos_embed[:, 0])


def test_a_hybrid_of_convolutions_and_a_transformer_gives_tokens_of_any_size():
    trunk, mean, std = build_token_trunk(TINY_HYBRID, 4)
    assert (trunk.channels, trunk.stride, mean, std) == (192, 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    with torch.no_grad():
        classes, patches = trunk.eval()(images(1, 67, 131))
    assert classes.shape == (1, 4, 192)
    assert patches.shape == (1, 4, 192, 3, 5)


@pytest.mark.parametrize("name", [TINY, TINY_HYBRID])  # the hybrid's card says custom_load, for another format
def test_pretrained_weights_are_those_of_the_file(name, tmp_path, monkeypatch):
    torch.manual_seed(11)
    expected = timm.create_model(name).state_dict()
    safetensors.torch.save_file(expected, tmp_path / "model.safetensors")
    monkeypatch.setattr(backbones, "cached_pretrained", lambda name: tmp_path / "model.safetensors")
    torch.manual_seed(12)
    found = build_token_trunk(name, 2, pretrained=True)[0].net.state_dict()
    assert expected.keys() - found.keys() == {"head.weight", "head.bias"}
    for key, tensor in found.items():
        assert torch.equal(tensor, expected[key]), key


def test_a_network_without_a_class_token_is_refused():
    for name in ("test_resnet", "test_vit2"):
        with pytest.raises(
            WeightsError, match=f"{name} is no vision transformer .* class token; take .* {TINY_HYBRID}"
        ):
            build_token_trunk(name, 2)


def test_more_layers_than_there_are_is_refused():
    with pytest.raises(WeightsError, match="test_vit has 6 layers, 7 were asked for"):
        build_token_trunk(TINY, 7)


def test_a_misspelt_transformer_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown backbone 'test_vitt' \(did you mean test_vit"):
        build_token_trunk("test_vitt", 2)
