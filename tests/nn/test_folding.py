import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from imgret.nn.backbones import build_trunk
from imgret.nn.folding import fold_batch_norm


def images():
    return torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(1))


def layers():
    """A convolution and a batch norm whose statistics and weights are off their starting values."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    with torch.no_grad():
        for values in (norm.weight, norm.bias, norm.running_mean):
            values.normal_()
        norm.running_var.uniform_(0.5, 2)
    return nn.Conv2d(3, 4, 3, padding=1, bias=False), norm


class Shared(nn.Module):
    """One convolution before two batch norms: fusing folds both into it, one upon the other."""

    def __init__(self):
        super().__init__()
        self.conv, self.one = layers()
        self.other = copy.deepcopy(self.one)

    def forward(self, x):
        return self.one(self.conv(x)) - self.other(self.conv(x).relu())


class SharedLast(Shared):
    """Two maps, the second of which fusing gets wrong."""

    def forward(self, x):
        return [x, super().forward(x)]


class Lists(nn.Sequential):
    """A trunk that returns its map in a list."""

    def forward(self, x):
        return [super().forward(x)]


@pytest.mark.parametrize("kind", [nn.Sequential, Lists])
def test_a_folded_copy_gives_the_same_map_without_batch_norms(kind):
    trunk, x = kind(*layers(), nn.ReLU()).eval(), images()
    with torch.no_grad():
        folded = fold_batch_norm(trunk)
        assert folded is not trunk
        assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
        torch.testing.assert_close(folded(x), trunk(x), rtol=1e-4, atol=1e-5)
        assert isinstance(trunk[1], nn.BatchNorm2d)  # the trunk itself is as it was


def test_norms_that_bring_their_activation_are_folded_too():
    """Of timm: most of its mobile networks and RegNets have no other."""
    conv, norm = layers()
    with_act = BatchNormAct2d(4, act_layer=nn.Hardswish)
    with_act.load_state_dict(norm.state_dict())
    trunk, x = nn.Sequential(conv, nn.Sequential(with_act)).eval(), images()
    with torch.no_grad():
        folded = fold_batch_norm(trunk)
        assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
        torch.testing.assert_close(folded(x), trunk(x), rtol=1e-4, atol=1e-5)
        assert isinstance(trunk[1][0], BatchNormAct2d)  # the trunk itself is as it was


@pytest.mark.parametrize("name", ["mobilenetv4_conv_small", "regnetx_002"])
def test_a_light_trunk_of_timm_keeps_no_batch_norm(name):
    trunk = build_trunk(name)[0].eval()
    assert any(isinstance(part, nn.BatchNorm2d) for part in trunk.modules())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fold_batch_norm(trunk).modules())


@pytest.mark.parametrize("kind", [Shared, SharedLast])
def test_a_trunk_whose_folded_copy_differs_is_left_as_it_is(kind):
    trunk = kind().eval()
    assert fold_batch_norm(trunk) is trunk


def test_what_cannot_be_traced_or_has_nothing_to_fold_is_left_as_it_is():
    class Decides(nn.Sequential):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    for trunk in (Decides(*layers()).eval(), nn.Sequential(layers()[0]).eval()):
        assert fold_batch_norm(trunk) is trunk
