"""GALA's attention against loops written from its equations, one number at a time."""

import math

import pytest
import torch

from imgret.nn.gala import GALAGate, GlobalLocalAttention, Tanh

CHANNELS = 8
VARIANTS = {
    "paper": {},
    "3 x 3": {"local_kernel": 3},
    "release": {"local_kernel": 5, "squash": "sigmoid", "global_relu": True},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def make(variant="paper", reduction=2):
    torch.manual_seed(7)
    module = GlobalLocalAttention(CHANNELS, reduction, **VARIANTS[variant]).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)  # biases start at zero
    return module


def features(batch=2, height=3, width=5):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(batch, CHANNELS, height, width, dtype=torch.float64, generator=generator) * 2


def relu(x):
    return max(x, 0.0)


def fully_connected(layer, x):
    rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    return [bias + sum(w * v for w, v in zip(row, x, strict=True)) for row, bias in rows]


def convolve(conv, x):
    """A square convolution with zero padding, by its definition; x is [c][h][w]."""
    kernel, half = conv.weight.tolist(), conv.kernel_size[0] // 2
    height, width = len(x[0]), len(x[0][0])

    def at(out, y, z):
        total = conv.bias[out].item()
        for i, channel in enumerate(x):
            for dy, row in enumerate(kernel[out][i], start=-half):
                for dz, weight in enumerate(row, start=-half):
                    if 0 <= y + dy < height and 0 <= z + dz < width:
                        total += weight * channel[y + dy][z + dz]
        return total

    return [[[at(out, y, z) for z in range(width)] for y in range(height)] for out in range(len(kernel))]


def slow(variant, module, x):
    """S of one image [c, h, w], as the equations have it."""
    c, h, w = x.shape
    x = x.tolist()
    means = [sum(map(sum, channel)) / (h * w) for channel in x]
    g = fully_connected(module.global_path[2], [relu(v) for v in fully_connected(module.global_path[0], means)])
    if variant == "release":
        g = [relu(v) for v in g]
    for conv in [layer for layer in module.local_path if isinstance(layer, torch.nn.Conv2d)][:-1]:
        x = [[[relu(v) for v in row] for row in channel] for channel in convolve(conv, x)]
    l = convolve(module.local_path[-1], x)[0]
    a, m = module.additive.flatten().tolist(), module.multiplicative.flatten().tolist()
    phi = (lambda v: 1 / (1 + math.exp(-v))) if variant == "release" else math.tanh
    return torch.tensor(
        [
            [[phi(a[i] * (g[i] + l[y][z]) + m[i] * g[i] * l[y][z]) for z in range(w)] for y in range(h)]
            for i in range(c)
        ],
        dtype=torch.float64,
    )


@every_variant
@pytest.mark.parametrize("batch", [1, 2])
def test_the_attention_is_what_its_equations_say(variant, batch):
    module, x = make(variant), features(batch)
    with torch.no_grad():
        expected = torch.stack([slow(variant, module, image) for image in x])
        torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-10)


@every_variant
def test_memory_layout_does_not_change_the_attention(variant):
    module, x = make(variant), features()
    strided = torch.zeros(2, 2 * CHANNELS, 3, 5, dtype=torch.float64)[:, ::2].copy_(x)
    assert not strided.is_contiguous()
    expected = torch.stack([slow(variant, module, image) for image in x])
    for other in (x.to(memory_format=torch.channels_last), strided, x.mT.contiguous().mT):
        torch.testing.assert_close(module(other), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("variant", "identity"), [("paper", True), ("paper", False), ("3 x 3", True), ("release", False)]
)
def test_gradients_are_right(variant, identity):
    gate = GALAGate(make(variant), identity)
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.normal_(std=0.5)
    x = features(2, 3, 3).requires_grad_()

    def through(x, *values):
        return torch.func.functional_call(gate, dict(zip(dict(gate.named_parameters()), values, strict=True)), x)

    assert torch.autograd.gradcheck(through, (x, *gate.parameters()))


def test_broadcasting_is_expansion():
    module, x = make(), features()
    g = module.global_path(x.mean((2, 3)))[:, :, None, None].expand_as(x)
    l = module.local_path(x).expand_as(x)
    a, m = module.additive[None].expand_as(x), module.multiplicative[None].expand_as(x)
    torch.testing.assert_close(module(x), torch.tanh(a * (g + l) + m * (g * l)), rtol=0, atol=1e-12)


def shifted(module, x, what, where):
    """S after moving g by `what` and l by `where`."""
    with torch.no_grad():
        module.global_path[2].bias += what
        module.local_path[-1].bias += where
        return module(x)


def test_without_m_only_the_sum_of_what_and_where_counts():
    before, after = make(), make()
    for module in (before, after):
        module.multiplicative.data.zero_()
    torch.testing.assert_close(shifted(after, features(), 0.3, -0.3), before(features()))
    assert not torch.allclose(shifted(make(), features(), 0.3, -0.3), make()(features()))  # with m it is not so


def test_without_a_only_the_product_of_what_and_where_counts():
    before, after = make(), make()
    for module in (before, after):
        module.additive.data.zero_()
    with torch.no_grad():
        for parameter in after.global_path[2].parameters():
            parameter *= 4
        for parameter in after.local_path[-1].parameters():
            parameter /= 4
    torch.testing.assert_close(after(features()), before(features()))


def test_a_and_m_belong_to_channels():
    module = make()
    with torch.no_grad():
        module.additive[3] = module.multiplicative[3] = 0
    closed = module(features()).eq(0).all((0, 2, 3))
    assert closed.tolist() == [c == 3 for c in range(CHANNELS)]


def test_where_is_constant_on_a_constant_map_up_to_the_edges():
    where = make().local_path(features(1, 1, 1).expand(1, -1, 7, 9))
    torch.testing.assert_close(where, where[:, :, :1, :1].expand_as(where))


def test_a_5_x_5_layer_sees_the_edges_of_a_constant_map():
    where = make("release").local_path(features(1, 1, 1).expand(1, -1, 7, 9))
    inside = where[:, :, 2:-2, 2:-2]  # two cells from every edge the kernel sees no padding
    torch.testing.assert_close(inside, where[:, :, 3:4, 4:5].expand_as(inside))
    assert (where[:, :, 0, 0] - where[:, :, 3, 4]).abs().item() > 1e-3


def test_what_takes_both_signs_unless_a_second_relu_is_asked_for():
    pooled = features(64, 1, 1).flatten(1)
    assert make("paper").global_path(pooled).min() < 0
    clipped = make("release").global_path(pooled)
    assert clipped.min() == 0
    assert clipped.max() > 0


def test_the_default_squash_is_tanh():
    # g = 0, l = 1, a = -1, m = 0: tanh(-1) = -0.76159; a sigmoid would give 0.26894
    module = GlobalLocalAttention(CHANNELS)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.local_path[-1].bias.fill_(1)
        module.additive.fill_(-1)
    torch.testing.assert_close(module(torch.rand(1, CHANNELS, 2, 3)), torch.full((1, CHANNELS, 2, 3), -0.7615942))


@every_variant
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 2)])
def test_maps_of_any_size_are_attended_to(variant, size):
    x = features(1, *size)
    torch.testing.assert_close(make(variant)(x)[0], slow(variant, make(variant), x[0]), rtol=0, atol=1e-10)


def test_an_identity_gate_starts_as_the_identity_to_the_last_bit():
    gate, x = GALAGate(make()).float(), torch.randn(2, CHANNELS, 3, 5)
    assert torch.equal(gate.attention(x), torch.zeros_like(x))
    assert torch.equal(gate(x), x)


def test_the_papers_gate_with_no_attention_is_closed():
    gate, x = GALAGate(make(), identity=False), features()
    assert gate(x).ne(0).all()
    gate.attention.additive.data.zero_()
    gate.attention.multiplicative.data.zero_()
    assert gate(x).eq(0).all()


def test_a_gate_multiplies():
    x = features()
    open_, closed = GALAGate(make()), GALAGate(make(), identity=False)
    open_.attention.load_state_dict(closed.attention.state_dict())
    s = closed.attention(x)
    assert s.ne(0).all()
    torch.testing.assert_close(open_(x), x + x * s)
    torch.testing.assert_close(closed(x), x * s)


def test_an_identity_gate_needs_a_tanh():
    with pytest.raises(ValueError, match="tanh"):
        GALAGate(make("release"))


def test_another_squash_and_an_even_kernel_are_a_callers_mistake():
    with pytest.raises(ValueError, match="tanh, sigmoid"):
        GlobalLocalAttention(CHANNELS, squash="softmax")
    with pytest.raises(ValueError, match="odd"):
        GlobalLocalAttention(CHANNELS, local_kernel=4)


def test_large_values_do_not_overflow_in_half_precision():
    # g = 300, l = 0, a = 0.001, m = 300: m g = 90,000 is past float16's 65,504, and infinity times l is no number.
    module = GlobalLocalAttention(CHANNELS)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.global_path[2].bias.fill_(300)
        module.additive.fill_(0.001)
        module.multiplicative.fill_(300)
    gate = GALAGate(module.half(), identity=False)
    x = torch.ones(1, CHANNELS, 2, 3, dtype=torch.float16)
    assert gate.attention(x).dtype == torch.float32
    assert gate(x).dtype == torch.float16
    torch.testing.assert_close(gate(x), torch.full_like(x, math.tanh(0.3)))


def test_attention_is_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        s = make("release").float()(features().float())
    assert s.dtype == torch.float32
    torch.testing.assert_close(s, make("release")(features()).float(), rtol=0, atol=0.02)


def test_weights_start_as_documented():
    torch.manual_seed(0)
    module = GlobalLocalAttention(1024, local_kernel=5)
    # A normal cut at two standard deviations keeps 0.8796 of its deviation.
    for weights, fan_in in (
        (module.additive, 1),
        (module.multiplicative, 1),
        (module.local_path[0].weight, 1024),
        (module.local_path[2].weight, 25 * 256),
        (module.local_path[-1].weight, 256),
    ):
        assert weights.std().item() * fan_in**0.5 == pytest.approx(0.88, rel=0.1)
        assert weights.abs().max().item() * fan_in**0.5 <= 2.001
    # Xavier: uniform up to sqrt(6 / (1024 + 256)) = 0.06847
    assert module.global_path[0].weight.abs().max().item() == pytest.approx(0.06847, rel=1e-3)
    assert all(parameter.eq(0).all() for name, parameter in module.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize(
    ("channels", "reduction", "kernel", "expected"),
    [
        # g: 2 * 1024 * 256 + 256 + 1024 = 525,568; l: 1024 * 256 + 256 + 256 + 1 = 262,657; a and m: 2,048
        (1024, 4, 1, 790_273),
        (1024, 4, 3, 1_380_353),  # 9 * 256 * 256 + 256 = 590,080 more
        (1024, 4, 5, 2_428_929),  # 25 * 256 * 256 + 256 = 1,638,656 more
        # g: 2 * 1024 * 64 + 64 + 1024 = 132,160; l: 65,536 + 64 + 25 * 64 * 64 + 64 + 64 + 1 = 168,129; 2,048
        (1024, 16, 5, 302_337),
        # g: 2 * 512 * 128 + 128 + 512 = 131,712; l: 512 * 128 + 128 + 128 + 1 = 65,793; 1,024
        (512, 4, 1, 198_529),
        (512, 4, 5, 608_257),  # 25 * 128 * 128 + 128 = 409,728 more
    ],
)
def test_parameter_counts(channels, reduction, kernel, expected):
    with torch.device("meta"):
        module = GlobalLocalAttention(channels, reduction, kernel)
    assert sum(p.numel() for p in module.parameters()) == expected


def test_the_fast_tanh_is_tanh():
    x = torch.linspace(-30, 30, 4001, dtype=torch.float64)
    torch.testing.assert_close(Tanh()(x), x.tanh(), rtol=0, atol=1e-15)
    assert Tanh()(torch.zeros(3)).eq(0).all()
    assert torch.autograd.gradcheck(Tanh(), (x[::400].clone().requires_grad_(),))
