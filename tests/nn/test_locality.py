"""DToP's enhanced locality against loops written from its equations, one number at a time."""

import pytest
import torch
from torch import nn

from imgret.nn.locality import ASPP, EnhancedLocality, InvertedResidual, WaveBlock

CHANNELS = 3
MODULES = (InvertedResidual, ASPP, EnhancedLocality)


def make(kind, channels=CHANNELS):
    torch.manual_seed(7)
    module = kind(channels).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()  # off their starting values: the last 1x1 starts at zero
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
    return module


def features(batch=2, height=3, width=5, channels=CHANNELS):
    return torch.randn(batch, channels, height, width, dtype=torch.float64)


def convolve(conv, x):
    """A square convolution with zero padding, by its definition; x is [c][h][w]."""
    out, per_group, size, _ = conv.weight.shape
    _, h, w = x.shape
    d, half, weight, values = conv.dilation[0], size // 2, conv.weight.tolist(), x.tolist()
    result = torch.zeros(out, h, w, dtype=torch.float64)
    for o in range(out):
        first = o // (out // conv.groups) * per_group
        for y in range(h):
            for z in range(w):
                total = 0.0 if conv.bias is None else conv.bias[o].item()
                for i in range(per_group):
                    for dy in range(size):
                        for dz in range(size):
                            yy, zz = y + d * (dy - half), z + d * (dz - half)
                            if 0 <= yy < h and 0 <= zz < w:
                                total += weight[o][i][dy][dz] * values[first + i][yy][zz]
                result[o, y, z] = total
    return result


def batch_norm(norm, x):
    """g (x - m) / sqrt(v + eps) + b, channel by channel."""
    rows = zip(x, norm.weight, norm.bias, norm.running_mean, norm.running_var, strict=True)
    return torch.stack([g * (c - m) / (v + norm.eps) ** 0.5 + b for c, g, b, m, v in rows])


def clipped(x, low, high):
    return torch.tensor([[[min(max(v, low), high) for v in row] for row in c] for c in x.tolist()], dtype=torch.float64)


def normed(part, x, high):
    """Convolution, batch norm, activation between 0 and `high`."""
    return clipped(batch_norm(part[1], convolve(part[0], x)), 0.0, high)


def slow(module, x):
    """The output for one image [c, h, w]."""
    _, h, w = x.shape
    if isinstance(module, InvertedResidual):
        wide = normed(module.depthwise, normed(module.widen, x, 6.0), 6.0)
        return batch_norm(module.narrow[1], convolve(module.narrow[0], wide))
    if isinstance(module, ASPP):
        means = torch.tensor([[[sum(sum(row) for row in c) / (h * w)]] for c in x.tolist()], dtype=torch.float64)
        pooled = clipped(convolve(module.mean[0], means), 0.0, float("inf"))
        ranges = [normed(part, x, float("inf")) for part in (module.point, *module.atrous)]
        return convolve(module.join, torch.cat([*ranges, pooled.expand(-1, h, w)]))
    return x + slow(module.pyramid, slow(module.inverted, x))  # the wave is the identity in eval


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_part_is_what_its_equation_says(kind, batch):
    module, x = make(kind), features(batch)
    with torch.no_grad():
        expected = torch.stack([slow(module, image) for image in x])
        torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-10)


def test_dilated_taps_reach_6_12_and_18_cells_away():
    # On 3 x 5 cells only the middle taps fall inside; here the outer ones do. ReLU is off: weights and values are >= 0.
    x = torch.zeros(1, 1, 1, 37)
    x[..., 18] = 1
    for conv, reach in zip(ASPP(1).eval().atrous, (6, 12, 18), strict=True):
        nn.init.ones_(conv[0].weight)
        assert conv(x)[0, 0, 0].nonzero().flatten().tolist() == [18 - reach, 18, 18 + reach]


@pytest.mark.parametrize("kind", MODULES)
def test_memory_layout_does_not_change_a_part(kind):
    module, x = make(kind), features()
    strided = torch.zeros(2, 2 * CHANNELS, 3, 5, dtype=torch.float64)[:, ::2].copy_(x)
    assert not strided.is_contiguous()
    for other in (x.to(memory_format=torch.channels_last), strided, x.mT.contiguous().mT):
        torch.testing.assert_close(module(other), module(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", MODULES)
def test_the_gradients_of_a_part_are_right(kind):
    module, x = make(kind, channels=2), features(1, 2, 3, channels=2).requires_grad_()
    names, values = zip(*module.named_parameters(), strict=True)

    def call(x, *values):
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *values))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 5), (14, 14)])
@pytest.mark.parametrize("training", [True, False])
def test_a_map_of_any_size_keeps_its_shape(size, training):
    module, x = EnhancedLocality(4).train(training), torch.randn(2, 4, *size)
    assert module(x).shape == x.shape


def test_enhanced_locality_starts_as_the_map_itself():
    module, x = EnhancedLocality(4), torch.randn(2, 4, 3, 5)
    for training in (True, False):
        assert torch.equal(module.train(training)(x), x)


def test_one_image_alone_can_be_trained_on():
    # A batch norm of the pooled mean would see one value per channel here and raise.
    module, x = EnhancedLocality(4).train(), torch.randn(1, 4, 3, 5)
    module(x).sum().backward()
    assert module.pyramid.join.weight.grad.isfinite().all()


@pytest.mark.parametrize(("height", "band"), [(1, 1), (2, 1), (3, 1), (5, 2), (10, 3), (14, 4), (32, 10)])
def test_a_wave_keeps_one_band_and_raises_all_other_rows_by_half(height, band):
    # round(0.3 h): 0.3 -> at least 1, 0.6 -> 1, 0.9 -> 1, 1.5 -> 2, 3, 4.2 -> 4, 9.6 -> 10
    torch.manual_seed(0)
    x = torch.randn(8, 4, height, 5)
    out = WaveBlock().train()(x)
    for image, waved in zip(x, out, strict=True):
        kept = [y for y in range(height) if torch.equal(waved[:, y], image[:, y])]
        assert kept == list(range(kept[0], kept[0] + band))  # whole and in one piece
        for y in set(range(height)) - set(kept):
            assert torch.equal(waved[:, y], image[:, y] * 1.5)


def test_waves_lie_anywhere_and_differ_between_images():
    torch.manual_seed(0)
    out = WaveBlock().train()(torch.ones(300, 1, 10, 1)).flatten(1)
    tops = {row.tolist().index(1.0) for row in out}
    assert tops == set(range(8))  # 10 rows, a band of 3: it starts at 0..7, and all of them happen


def test_a_wave_is_the_identity_in_eval():
    x = torch.randn(2, 4, 10, 5)
    assert torch.equal(WaveBlock().eval()(x), x)


def test_a_wave_follows_torchs_seed_and_passes_the_gradient():
    wave, x = WaveBlock().train(), torch.ones(2, 1, 10, 1, requires_grad=True)
    torch.manual_seed(3)
    first = wave(x)
    torch.manual_seed(3)
    assert torch.equal(wave(x), first)
    first.sum().backward()
    assert torch.equal(x.grad, first)  # of a map of ones, the factors themselves


def test_training_compiles_in_one_graph_and_every_step_has_its_own_wave():
    torch.manual_seed(0)
    wave = torch.compile(WaveBlock().train(), backend="eager", fullgraph=True)
    tops = {wave(torch.ones(1, 1, 20, 1)).flatten().tolist().index(1.0) for _ in range(20)}
    assert len(tops) > 3
    assert wave(torch.ones(1, 1, 10, 3)).eq(1).sum() == 3 * 3  # another size: 3 of 10 rows, 3 wide


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_half_precision_keeps_its_dtype(dtype, training):
    module, x = make(EnhancedLocality).to(dtype).train(training), features().to(dtype)
    out = module(x)
    assert out.dtype == dtype
    assert out.isfinite().all()


def test_parameter_counts_for_768_channels():
    def size(module):
        return sum(p.numel() for p in module.parameters())

    with torch.device("meta"):
        assert size(WaveBlock()) == 0
        # 1x1: 2 * 768 * 1536; depthwise: 9 * 1536; scales and shifts of the norms: 2 * (1536 + 1536 + 768)
        assert size(InvertedResidual(768)) == 2_359_296 + 13_824 + 7_680
        # 1x1: 768^2; 3x3: 27 * 768^2; four norms: 8 * 768; mean and last 1x1 with biases: 768^2 + 5 * 768^2 + 2 * 768
        assert size(ASPP(768)) == 34 * 768**2 + 10 * 768
        assert size(EnhancedLocality(768)) == 22_442_496
