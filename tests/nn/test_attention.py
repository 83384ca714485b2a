"""GLAM's attentions against loops written from the equations, one number at a time."""

import math

import pytest
import torch

from imgret.nn.attention import (
    GlobalChannelAttention,
    GlobalSpatialAttention,
    LocalChannelAttention,
    LocalSpatialAttention,
)
from tests.nn.seen import Seen

CHANNELS, REDUCED = 6, 3
ALL = ("local channel", "local spatial", "global channel", "global spatial")


def make(which):
    torch.manual_seed(7)
    module = {
        "local channel": lambda: LocalChannelAttention(),
        "local spatial": lambda: LocalSpatialAttention(CHANNELS, REDUCED),
        "global channel": lambda: GlobalChannelAttention(),
        "global spatial": lambda: GlobalSpatialAttention(CHANNELS, REDUCED),
    }[which]().double()
    with torch.no_grad():
        for p in module.parameters():
            p.normal_()  # off their starting values: the last 1x1 of A_ls starts at zero
    return module


def features(batch=2, height=3, width=5):
    return torch.rand(batch, CHANNELS, height, width, dtype=torch.float64) * 2


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def along_channels(conv, x):
    """conv1d over the channel axis of one image's channel means."""
    c, h, w = x.shape
    means = [sum(x[i, y, z].item() for y in range(h) for z in range(w)) / (h * w) for i in range(c)]
    k, bias = conv.weight.flatten().tolist(), conv.bias.item()
    padded = [0.0, *means, 0.0]
    return [bias + sum(k[t] * padded[i + t] for t in range(3)) for i in range(c)]


def convolve(conv, x):
    """A square convolution with zero padding, by its definition; x is [c][h][w]."""
    out, _, size, _ = conv.weight.shape
    c, h, w = x.shape
    d, half = conv.dilation[0], size // 2
    result = torch.zeros(out, h, w, dtype=torch.float64)
    for o in range(out):
        for y in range(h):
            for z in range(w):
                total = conv.bias[o].item()
                for i in range(c):
                    for dy in range(size):
                        for dz in range(size):
                            yy, zz = y + d * (dy - half), z + d * (dz - half)
                            if 0 <= yy < h and 0 <= zz < w:
                                total += conv.weight[o, i, dy, dz].item() * x[i, yy, zz].item()
                result[o, y, z] = total
    return result


def key_softmax(keys, queries):
    """A[i][j] = exp(k_i . q_j) / sum over i."""
    logits = [[sum(a * b for a, b in zip(k, q, strict=True)) for q in queries] for k in keys]
    sums = [sum(math.exp(row[j]) for row in logits) for j in range(len(queries))]
    return [[math.exp(value) / sums[j] for j, value in enumerate(row)] for row in logits]


def slow(which, module, x):
    """The attention of one image [c, h, w]."""
    c, h, w = x.shape
    if which == "local channel":
        weights = [sigmoid(v) for v in along_channels(module.conv, x)]
        return torch.tensor(weights, dtype=torch.float64).view(c, 1, 1)
    if which == "local spatial":
        reduced = convolve(module.reduce, x)
        return convolve(module.score, torch.cat([reduced] + [convolve(conv, reduced) for conv in module.pyramid]))
    if which == "global channel":
        keys = [[sigmoid(v)] for v in along_channels(module.key, x)]
        queries = [[sigmoid(v)] for v in along_channels(module.query, x)]
        a = key_softmax(keys, queries)
        # G_c = V A with V [hw, c]: channel j is the sum over i of channel i times A[i][j]
        return torch.stack([sum(x[i] * a[i][j] for i in range(c)) for j in range(c)])
    tokens = {n: convolve(getattr(module, n), x).flatten(1) for n in ("query", "key", "value")}
    a = key_softmax(tokens["key"].T.tolist(), tokens["query"].T.tolist())
    mixed = [sum(tokens["value"][:, i] * a[i][j] for i in range(h * w)) for j in range(h * w)]
    return convolve(module.expand, torch.stack(mixed, 1).view(-1, h, w))


@pytest.mark.parametrize("which", ALL)
@pytest.mark.parametrize("batch", [1, 2])
def test_an_attention_is_what_its_equation_says(which, batch):
    module, x = make(which), features(batch)
    with torch.no_grad():
        expected = torch.stack([slow(which, module, image) for image in x])
        torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("which", ALL)
def test_memory_layout_does_not_change_an_attention(which):
    module, x = make(which), features()
    strided = torch.zeros(2, 2 * CHANNELS, 3, 5, dtype=torch.float64)[:, ::2].copy_(x)
    assert not strided.is_contiguous()
    for other in (x.to(memory_format=torch.channels_last), strided, x.mT.contiguous().mT):
        torch.testing.assert_close(module(other), module(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("which", ["global channel", "global spatial"])
def test_global_attention_sums_to_1_over_the_keys(which):
    attention = make(which).attention(features())
    ones = torch.ones(attention.shape[::2], dtype=torch.float64)
    torch.testing.assert_close(attention.sum(1), ones)  # columns
    assert (attention.sum(2) - ones).abs().max() > 1e-3  # rows do not: the other axis would show


def test_global_channel_attention_of_a_map_constant_over_channels_is_the_map():
    # A convex mixture of equal channels is that channel; the other axis, or a softmax over all c * c, is not.
    x = features()[:, :1].expand(-1, CHANNELS, -1, -1)
    torch.testing.assert_close(make("global channel")(x), x)


@pytest.mark.parametrize("which", ["global channel", "global spatial"])
def test_attention_is_float32_under_autocast(which):
    module, x = make(which).float(), features().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        attention, out = module.attention(x), module(x)
    assert attention.dtype == torch.float32
    assert out.isfinite().all()


def test_global_channel_attention_never_holds_its_matrix():
    with Seen() as seen, torch.no_grad():
        GlobalChannelAttention()(torch.rand(1, 256, 3, 5))
    assert seen.largest == 18 * 256  # the powers of k; the matrix would have 256 * 256 entries


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("autocast", [False, True])
def test_global_spatial_attention_never_holds_its_matrix(autocast, layout):
    x = torch.rand(1, 8, 24, 20).to(memory_format=layout)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast), Seen() as seen:
        GlobalSpatialAttention(8, 2)(x)
    assert seen.largest == 8 * 24 * 20  # the result; the matrix would have 480 * 480 entries
    assert not seen.softmaxes  # inside the fused kernel


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_softmax_of_global_spatial_attention_is_float32_under_autocast(layout):
    x = torch.rand(1, 8, 24, 20).to(memory_format=layout)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16), Seen() as seen:
        GlobalSpatialAttention(8, 2)(x)
    assert seen.softmaxes <= {torch.float32}


def test_global_channel_attention_without_its_matrix_is_the_product_with_it():
    # Logits at both ends of (0, 1), where a power series would be worst.
    module, x = make("global channel"), features() * 3
    with torch.no_grad():
        for bias in (-30.0, 30.0):
            module.key.bias.fill_(bias)
            module.query.bias.fill_(30)
            expected = torch.einsum("bihw,bij->bjhw", x, module.attention(x))
            torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-13)


def test_local_spatial_attention_hides_no_activation():
    # Without one it is affine: A(x) + A(-x) = 2 A(0).
    module, x = make("local spatial"), features()
    torch.testing.assert_close(module(x) + module(-x), 2 * module(torch.zeros_like(x)))


@pytest.mark.parametrize("which", ALL)
def test_the_gradients_of_an_attention_are_right(which):
    module, x = make(which), (features(1, 2, 3) + 0.1).requires_grad_()
    weights = tuple(module.parameters())

    def run(x, *values):
        named = dict(zip((name for name, _ in module.named_parameters()), values, strict=True))
        return torch.func.functional_call(module, named, (x,))

    assert torch.autograd.gradcheck(run, (x, *weights))


def test_the_pyramid_sees_3_5_and_7_cells():
    # The paper's text says dilations 1, 2, 3; a caption says 1, 3, 5.
    assert [conv.dilation for conv in LocalSpatialAttention(CHANNELS).pyramid] == [(1, 1), (2, 2), (3, 3)]


def test_local_spatial_attention_starts_at_zero():
    assert LocalSpatialAttention(CHANNELS)(torch.rand(2, CHANNELS, 3, 5)).eq(0).all()


@pytest.mark.parametrize(
    ("reduced", "local", "global_", "total"),
    [
        (None, 2_295_809, 2_099_968, 4_395_792),
        (128, 705_537, 1_051_008, 1_756_560),
    ],
)
def test_parameter_counts_for_2048_channels(reduced, local, global_, total):
    def size(module):
        return sum(p.numel() for p in module.parameters())

    with torch.device("meta"):
        spatial = LocalSpatialAttention(2048, reduced), GlobalSpatialAttention(2048, reduced)
    assert tuple(map(size, spatial)) == (local, global_)
    # 3 taps + bias for A_lc, twice that for A_gc, and three fusion scalars: 4 + 8 + 3 = 15
    assert sum(map(size, (*spatial, LocalChannelAttention(), GlobalChannelAttention()))) + 3 == total


def test_a_first_level_of_its_own_adds_one_1x1_convolution():
    with torch.device("meta"):
        plain, own = (LocalSpatialAttention(2048, first_level=level) for level in (False, True))
    counts = [sum(parameter.numel() for parameter in module.parameters()) for module in (plain, own)]
    # 256 x 256 weights and 256 biases: the module total of 4,395,792 becomes 4,461,584
    assert counts[1] - counts[0] == 256 * 256 + 256 == 4_461_584 - 4_395_792
