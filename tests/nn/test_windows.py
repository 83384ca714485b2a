"""Window attention against loops written from its equation, one query at a time."""

import math

import pytest
import torch

from imgret.nn.windows import DropPath, WindowAttention, WindowBlock

CHANNELS, HEADS = 6, 2


def randomised(module):
    """In float64, every parameter off its starting value: the position bias starts at zero."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.normal_(generator=generator)
    return module


def make(window, shifted=False):
    return randomised(WindowAttention(CHANNELS, HEADS, window, shifted))


def features(batch=2, height=3, width=5):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, height, width, CHANNELS, dtype=torch.float64, generator=generator)


def linear(layer, x):
    """W x + b of one vector, as a list."""
    bias = [0.0] * layer.out_features if layer.bias is None else layer.bias.tolist()
    rows = zip(layer.weight.tolist(), bias, strict=True)
    return [b + sum(w * v for w, v in zip(row, x.tolist(), strict=True)) for row, b in rows]


def same_window(module):
    """Two cells share a window when no border lies between them; borders are `window` apart, moved by the shift."""

    def decide(one, other):
        return all((a + module.shift) // module.window == (b + module.shift) // module.window for a, b in (one, other))

    return lambda one, other: decide(*zip(one, other, strict=True))


def slow(module, image, together):
    """The attention of one image [h, w, C]; `together(cell, cell)` says who may attend to whom."""
    height, width, channels = image.shape
    cells = [(y, x) for y in range(height) for x in range(width)]
    size = channels // module.heads
    query, key, value = (
        {cell: linear(layer, image[cell]) for cell in cells} for layer in (module.query, module.key, module.value)
    )
    out = torch.zeros_like(image)
    for at in cells:
        joined = []
        for head in range(module.heads):
            part = slice(head * size, (head + 1) * size)
            weights = {}
            for other in cells:
                if together(at, other):
                    dot = sum(a * b for a, b in zip(query[at][part], key[other][part], strict=True))
                    dy, dx = at[0] - other[0], at[1] - other[1]
                    bias = module.position[head, dy + module.window - 1, dx + module.window - 1].item()
                    weights[other] = math.exp(dot / math.sqrt(size) + bias)
            total = sum(weights.values())
            for channel in range(size):
                joined.append(sum(w * value[other][part][channel] for other, w in weights.items()) / total)
        out[at] = torch.tensor(linear(module.merge, torch.tensor(joined, dtype=torch.float64)), dtype=torch.float64)
    return out


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("window", [1, 2, 3, 4])
@pytest.mark.parametrize("batch", [1, 2])
def test_window_attention_is_what_its_equation_says(window, shifted, batch):
    module, x = make(window, shifted), features(batch)
    with torch.no_grad():
        expected = torch.stack([slow(module, image, same_window(module)) for image in x])
        torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-10)


def test_a_map_that_windows_divide_is_windows_one_by_one():
    module, x = make(2), features(2, 4, 6)
    with torch.no_grad():
        whole = module(x)
        for y in (0, 2):
            for z in (0, 2, 4):
                alone = module(x[:, y : y + 2, z : z + 2])
                torch.testing.assert_close(whole[:, y : y + 2, z : z + 2], alone, rtol=0, atol=1e-12)


def test_a_window_larger_than_the_map_is_full_attention():
    module, x = make(8), features(1, 5, 7)
    with torch.no_grad():
        expected = slow(module, x[0], lambda one, other: True)  # all 35 cells
        torch.testing.assert_close(module(x)[0], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shifted", [False, True])
def test_what_the_padding_holds_changes_nothing(shifted, monkeypatch):
    module, x, pad = make(4, shifted), features(2, 3, 5).requires_grad_(), torch.nn.functional.pad
    expected = module(x)
    (slope,) = torch.autograd.grad(expected.square().sum(), x)
    used = []
    monkeypatch.setattr(torch.nn.functional, "pad", lambda x, sides: used.append(sides) or pad(x, sides, value=30.0))
    found = module(x)
    assert len(used) == 3  # query, key, value
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), x)[0], slope, rtol=0, atol=1e-12)


def seen_by(module, x, cell):
    """The cells whose values change what the attention gives `cell`: {(y, x)}."""
    x = x.clone().requires_grad_()
    module(x)[0][cell].sum().backward()
    return {tuple(at) for at in x.grad[0].abs().sum(2).nonzero().tolist()}


def test_cells_of_other_windows_have_no_influence():
    x = features(1, 5, 6)
    assert seen_by(make(2), x, (1, 1)) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert seen_by(make(2), x, (4, 5)) == {(4, 4), (4, 5)}  # completed by padding


def test_shifted_windows_join_neighbours_across_a_border():
    x = features(1, 4, 6)
    # Borders every 2 cells: 1 and 2 are in different plain windows and in one shifted window.
    assert seen_by(make(2, True), x, (1, 1)) == {(1, 1), (1, 2), (2, 1), (2, 2)}


def test_an_odd_window_is_shifted_by_the_smaller_half():
    assert [WindowAttention(CHANNELS, HEADS, window, True).shift for window in (1, 2, 3, 5, 8)] == [0, 1, 1, 2, 4]
    # Windows of 3, moved up and left by 1: rows 0-1, 2-4, 5.
    x = features(1, 6, 6)
    assert seen_by(make(3, True), x, (0, 0)) == {(y, z) for y in (0, 1) for z in (0, 1)}
    assert seen_by(make(3, True), x, (3, 5)) == {(y, 5) for y in (2, 3, 4)}


def test_shifted_windows_never_wrap_round_the_map():
    x = features(1, 4, 4)
    module = make(2, True)
    # A roll without masks would put the four corners of the map into one window.
    for corner in ((0, 0), (0, 3), (3, 0), (3, 3)):
        assert seen_by(module, x, corner) == {corner}


@pytest.mark.parametrize("shifted", [False, True])
def test_memory_layout_does_not_change_window_attention(shifted):
    module, x = make(2, shifted), features()
    strided = torch.zeros(2, 3, 5, 2 * CHANNELS, dtype=torch.float64)[..., ::2].copy_(x)
    channels_first = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    for other in (strided, channels_first, x.transpose(1, 2).contiguous().transpose(1, 2)):
        assert not other.is_contiguous()
        torch.testing.assert_close(module(other), module(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shifted", [False, True])
def test_the_gradients_of_window_attention_are_right(shifted):
    module = randomised(WindowAttention(2, 2, 2, shifted))
    x = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    names, values = zip(*module.named_parameters(), strict=True)

    def run(x, *values):
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *values))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 2)])
@pytest.mark.parametrize("shifted", [False, True])
def test_a_window_that_is_mostly_padding_has_finite_gradients(size, shifted):
    module, x = make(8, shifted), features(1, *size).requires_grad_()
    out = module(x)
    out.square().sum().backward()
    assert out.isfinite().all()
    assert x.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_nearly_the_same(dtype):
    block, x = WindowBlock(32, 2, 4, True).eval(), torch.randn(2, 5, 6, 32)
    with torch.inference_mode():
        exact = block(x)
        with torch.autocast("cpu", dtype=dtype):
            torch.testing.assert_close(block(x).float(), exact, rtol=0.05, atol=0.05)
        torch.testing.assert_close(block.to(dtype)(x.to(dtype)).float(), exact, rtol=0.05, atol=0.05)


def test_one_exported_program_serves_many_sizes():
    block, any_side = WindowBlock(8, 2, 4, shifted=True).eval(), torch.export.Dim.AUTO
    program = torch.export.export(block, (torch.randn(2, 9, 14, 8),), dynamic_shapes=({1: any_side, 2: any_side},))
    for size in ((3, 5), (8, 4), (17, 9)):
        x = torch.randn(2, *size, 8)
        torch.testing.assert_close(program.module()(x), block(x))


def norm(layer, x):
    """LN of one vector, as a tensor."""
    mean = sum(x.tolist()) / len(x)
    variance = sum((v - mean) ** 2 for v in x.tolist()) / len(x)
    return (x - mean) / math.sqrt(variance + layer.eps) * layer.weight + layer.bias


def slow_mlp(mlp, x):
    """W_2 GELU(W_1 x + b_1) + b_2 with GELU(v) = v Phi(v)."""
    hidden = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in linear(mlp[0], x)]
    return torch.tensor(linear(mlp[2], torch.tensor(hidden, dtype=torch.float64)), dtype=torch.float64)


def test_a_block_normalises_first_and_adds_twice():
    block, image = randomised(WindowBlock(CHANNELS, HEADS, 2, True)).eval(), features(1)[0]
    with torch.no_grad():
        normed = torch.stack([torch.stack([norm(block.attention_norm, x) for x in row]) for row in image])
        middle = image + slow(block.attention, normed, same_window(block.attention))
        expected = torch.stack(
            [torch.stack([x + slow_mlp(block.mlp, norm(block.mlp_norm, x)) for x in row]) for row in middle]
        )
        assert block.mlp[0].out_features == 4 * CHANNELS
        torch.testing.assert_close(block(image[None])[0], expected, rtol=0, atol=1e-10)


def test_drop_path_leaves_out_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 3, 4)
    out = DropPath(0.25)(x)
    # Kept: 1 / (1 - 0.25) = 4/3 everywhere in the image; left out: 0 everywhere.
    assert (out.flatten(1) == out[:, :1, 0, 0]).all()
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert out.mean().item() == pytest.approx(1, abs=0.04)  # 4 sigma of 4000 draws: 4 sqrt(1/3 / 4000) = 0.037
    assert torch.equal(DropPath(0.25).eval()(x), x)
    assert torch.equal(DropPath(0.0)(x), x)


def test_drop_path_works_in_both_branches_of_a_block():
    torch.manual_seed(0)
    block, x = WindowBlock(CHANNELS, HEADS, 2, drop_path=0.5).double(), features(1).expand(200, -1, -1, -1)
    outputs = block(x).detach().flatten(1)
    # Each branch is there or not: four different results, x itself among them.
    assert len(outputs.round(decimals=9).unique(dim=0)) == 4
    assert (outputs == x.flatten(1)).all(1).any()


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_drop_path_rate_out_of_range_is_a_callers_mistake(rate):
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        DropPath(rate)


@pytest.mark.parametrize(("heads", "window", "words"), [(4, 2, "heads must divide"), (2, 0, "must have cells")])
def test_heads_and_windows_that_do_not_fit_are_a_callers_mistake(heads, window, words):
    with pytest.raises(ValueError, match=words):
        WindowAttention(CHANNELS, heads, window)


def test_the_parameters_of_a_block_are_counted():
    with torch.device("meta"):
        block = WindowBlock(384, 12, 8)
    # 4 x 384^2 + 3 x 384 for the attention, 12 x 15 x 15 positions, 8 x 384^2 + 5 x 384 for the MLP, 4 x 384 for
    # two norms: 12 x 147,456 + 12 x 384 + 2,700
    assert sum(parameter.numel() for parameter in block.parameters()) == 1_776_780
