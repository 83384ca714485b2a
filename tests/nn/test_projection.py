"""The last layer: what it computes, and the whitening it can take in."""

from __future__ import annotations

import pytest
import torch

from imgret.nn.projection import Projection


def used(channels: int = 7, dim: int = 4) -> Projection:
    """In eval mode, with a norm that does something."""
    torch.manual_seed(0)
    layer = Projection(channels, dim).double().eval()
    with torch.no_grad():
        layer.fc.bias.normal_()
        layer.norm.weight.uniform_(0.5, 2)
        layer.norm.bias.normal_()
        layer.norm.running_mean.normal_()
        layer.norm.running_var.uniform_(0.1, 9)
    return layer


def test_a_whitening_is_taken_in():
    layer, pooled = used(), torch.randn(5, 7).double()
    mean, projection = torch.randn(4).double(), torch.randn(4, 4).double()
    expected = (layer(pooled) - mean) @ projection.T
    layer.whiten(mean, projection)
    torch.testing.assert_close(layer(pooled), expected)


def test_directions_that_are_left_out_give_zero():
    layer, pooled = used(), torch.randn(5, 7).double()
    mean, projection = torch.randn(4).double(), torch.randn(2, 4).double()
    expected = (layer(pooled) - mean) @ projection.T
    layer.whiten(mean, projection)
    torch.testing.assert_close(layer(pooled)[:, :2], expected)
    assert not layer(pooled)[:, 2:].any()


def test_the_matrix_is_kept_within_one_so_that_half_precision_can_hold_it():
    layer = used()
    layer.norm.running_var.fill_(1e12)
    layer.whiten(torch.zeros(4), torch.eye(4))
    assert layer.fc.weight.abs().amax(1).tolist() == pytest.approx([1] * 4)
    assert layer.norm.weight.max() < 1e-5  # where the small numbers went


def test_in_eval_mode_it_is_one_affine_map():
    layer, pooled = used(), torch.randn(5, 7).double()
    matrix, shift = layer.affine()
    torch.testing.assert_close(pooled @ matrix.T + shift, layer(pooled))


def test_what_it_makes_of_the_parts_and_the_shift_sum_to_what_it_makes_of_the_whole():
    layer, parts = used(), torch.randn(5, 7, 2, 3).double()
    found, shift = layer.parts(parts)
    assert found.shape == (5, 2, 3, 4)
    torch.testing.assert_close(found.sum((1, 2)) + shift, layer(parts.sum((2, 3))))


@pytest.mark.parametrize(("mean", "projection"), [((3,), (4, 4)), ((4,), (5, 4)), ((4,), (4, 3)), ((4,), (4,))])
def test_another_shape_is_refused(mean, projection):
    with pytest.raises(ValueError, match="expected"):
        used().whiten(torch.zeros(mean), torch.zeros(projection))
