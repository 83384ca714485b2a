import math

import pytest
import torch

from imgret.nn.gala import GlobalLocalAttention
from imgret.nn.map_supervision import map_supervision

ALL = torch.tensor([True, True])


def rand(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def row(*values):
    """One image, one channel, one row of cells."""
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def unit(values):
    norm = max(math.sqrt(sum(v * v for v in values)), 1e-8)
    return [v / norm for v in values]


def bilinear(image, height, width):
    """Corners on corners, by its definition: [H][W] -> [height][width]."""

    def at(y, x):
        y0, x0 = min(int(y), len(image) - 1), min(int(x), len(image[0]) - 1)
        y1, x1 = min(y0 + 1, len(image) - 1), min(x0 + 1, len(image[0]) - 1)
        fy, fx = y - y0, x - x0
        top = (1 - fx) * image[y0][x0] + fx * image[y0][x1]
        return (1 - fy) * top + fy * ((1 - fx) * image[y1][x0] + fx * image[y1][x1])

    dy, dx = (len(image) - 1) / (height - 1), (len(image[0]) - 1) / (width - 1)
    return [[at(y * dy, x * dx) for x in range(width)] for y in range(height)]


def slow(maps, clicks, has_map):
    layers = []
    for s in maps:
        _, channels, h, w = s.shape
        costs = []
        for b in torch.nonzero(has_map).flatten().tolist():
            a = [sum(s[b, c, y, x].item() ** 2 for c in range(channels)) / channels for y in range(h) for x in range(w)]
            m = sum(bilinear(clicks[b, 0].tolist(), h, w), [])
            costs.append(sum((p - q) ** 2 for p, q in zip(unit(a), unit(m), strict=True)))
        layers.append(sum(costs) / max(len(costs), 1))
    return sum(layers) / len(layers)


@pytest.mark.parametrize("has_map", [[True, True, True], [True, False, True], [False, False, False]])
def test_the_loss_is_what_its_equation_says(has_map):
    maps, clicks = [rand(3, 4, 3, 5) - 0.5, rand(3, 2, 6, 2, seed=1) - 0.5], rand(3, 1, 7, 9, seed=2)
    has_map = torch.tensor(has_map)
    assert map_supervision(maps, clicks, has_map).item() == pytest.approx(slow(maps, clicks, has_map), abs=1e-10)


def test_a_small_case_by_hand():
    # A = (1, 0), M = (1, 1): cos = 1 / sqrt 2, so the loss is 2 - sqrt 2 = 0.585786
    assert map_supervision([row(-1, 0)], row(3, 3), ALL[:1]).item() == pytest.approx(0.585786, abs=1e-6)


def test_channels_are_pooled_by_their_mean_square():
    # Channels (1, 3) and (2, -1) at two locations: A = ((1 + 4) / 2, (9 + 1) / 2) = (2.5, 5)
    s = torch.tensor([[1.0, 3.0], [2.0, -1.0]], dtype=torch.float64).view(1, 2, 1, 2)
    assert map_supervision([s], row(2.5, 5), ALL[:1]).item() == pytest.approx(0, abs=1e-15)


def test_attention_that_is_a_multiple_of_the_clicks_costs_nothing():
    clicks = rand(2, 1, 3, 5)
    assert map_supervision([(7 * clicks).sqrt()], clicks, ALL).item() == pytest.approx(0, abs=1e-12)


def test_attention_where_nobody_clicked_costs_2():
    assert map_supervision([row(0, 1)], row(1, 0), ALL[:1]).item() == pytest.approx(2)


def test_the_scale_of_neither_map_counts():
    s, clicks = rand(2, 3, 3, 5), rand(2, 1, 3, 5, seed=1)
    loss = map_supervision([s], clicks, ALL)
    torch.testing.assert_close(map_supervision([0.1 * s], 9 * clicks, ALL), loss)
    # Two images apart: each has its own norm.
    scale = torch.tensor([1.0, 100.0], dtype=torch.float64).view(2, 1, 1, 1)
    torch.testing.assert_close(map_supervision([scale * s], clicks, ALL), loss)


def test_the_faintest_maps_count_in_full():
    # A = S^2 of an attention near its start: |S| about 1e-3 gives |A| about 1e-6.
    s, clicks = rand(2, 3, 3, 5), rand(2, 1, 3, 5, seed=1)
    loss = map_supervision([s], clicks, ALL)
    torch.testing.assert_close(map_supervision([1e-3 * s], 1e-6 * clicks, ALL), loss)


def test_the_size_of_the_batch_does_not_count():
    s, clicks = rand(2, 3, 3, 5), rand(2, 1, 3, 5, seed=1)
    twice = map_supervision([s.repeat(2, 1, 1, 1)], clicks.repeat(2, 1, 1, 1), ALL.repeat(2))
    torch.testing.assert_close(twice, map_supervision([s], clicks, ALL))


def test_the_size_of_the_map_does_not_count():
    s, clicks = rand(2, 3, 3, 5), rand(2, 1, 3, 5, seed=1)
    large, larger = (x.repeat_interleave(2, 2).repeat_interleave(2, 3) for x in (s, clicks))
    torch.testing.assert_close(map_supervision([large], larger, ALL), map_supervision([s], clicks, ALL))


def test_the_number_of_layers_does_not_count():
    s, clicks = rand(2, 3, 3, 5), rand(2, 1, 3, 5, seed=1)
    torch.testing.assert_close(map_supervision([s, s, s], clicks, ALL), map_supervision([s], clicks, ALL))


def test_images_without_a_map_cost_nothing_and_are_not_counted():
    s, clicks, has_map = rand(3, 3, 3, 5), rand(3, 1, 6, 9, seed=1), torch.tensor([True, False, True])
    clicks[1] = float("nan")  # what stands in for a missing map may be anything
    s.requires_grad_()
    loss = map_supervision([s], clicks, has_map)
    loss.backward()
    torch.testing.assert_close(loss.detach(), map_supervision([s[has_map].detach()], clicks[has_map], ALL))
    assert s.grad[1].eq(0).all()
    assert s.grad[[0, 2]].ne(0).all()


def test_a_batch_without_maps_costs_0_and_can_be_differentiated():
    s = rand(2, 3, 3, 5).requires_grad_()
    loss = map_supervision([s], torch.zeros(2, 1, 6, 9), ~ALL)
    loss.backward()
    assert loss.item() == 0
    assert s.grad.eq(0).all()


def test_no_attention_at_all_costs_1_and_has_no_slope():
    # |0 - M / |M||^2 = 1; an identity gate starts here.
    s = torch.zeros(2, 3, 3, 5, requires_grad=True)
    loss = map_supervision([s], rand(2, 1, 6, 9), ALL)
    loss.backward()
    assert loss.item() == pytest.approx(1)
    assert s.grad.eq(0).all()


def test_the_gradient_is_right():
    maps = [(rand(2, 3, 3, 5) - 0.5).requires_grad_(), (rand(2, 2, 2, 2, seed=1) - 0.5).requires_grad_()]
    clicks = rand(2, 1, 4, 6, seed=2)
    assert torch.autograd.gradcheck(lambda *maps: map_supervision(maps, clicks, ALL), maps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_compared_in_float32(dtype):
    s, clicks = (rand(2, 3, 3, 5) * 300).to(dtype), rand(2, 1, 6, 9, seed=1).float()  # 300^2 is past float16's 65504
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = map_supervision([s], clicks, ALL)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, map_supervision([s.double()], clicks, ALL).float())


def test_memory_layout_does_not_change_the_loss():
    s, clicks = rand(2, 3, 3, 5), rand(2, 1, 6, 9, seed=1)
    expected = slow([s], clicks, ALL)
    for other in (s.to(memory_format=torch.channels_last), s.mT.contiguous().mT):
        assert map_supervision([other], clicks, ALL).item() == pytest.approx(expected, abs=1e-10)


def test_attention_learns_where_to_look():
    torch.manual_seed(0)
    x, clicks = torch.rand(2, 8, 6, 7), torch.zeros(2, 1, 6, 7)
    clicks[0, 0, 1:3, 1:4] = clicks[1, 0, 4:, 5:] = 1
    x[:, 0] = clicks[:, 0]  # one channel tells
    attention = GlobalLocalAttention(8, reduction=2)
    optimiser = torch.optim.Adam(attention.parameters(), lr=0.02)
    losses = []
    for _ in range(100):
        loss = map_supervision([attention(x)], clicks, ALL)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 0.5
    assert losses[-1] < 0.1


@pytest.mark.parametrize(
    ("maps", "clicks", "has_map"),
    [
        ([], (2, 1, 6, 9), (2,)),
        ([(2, 3, 3, 5)], (2, 6, 9), (2,)),
        ([(2, 3, 3, 5)], (2, 3, 6, 9), (2,)),
        ([(2, 3, 3, 5)], (1, 1, 6, 9), (2,)),
        ([(2, 3, 3, 5)], (2, 1, 6, 9), (2, 1)),  # would be broadcast without a word
    ],
)
def test_wrong_shapes_are_a_callers_mistake(maps, clicks, has_map):
    with pytest.raises(ValueError, match=r"at least one layer|clicks must be \[2, 1, H, W\] and has_map \[2\]"):
        map_supervision([torch.ones(shape) for shape in maps], torch.ones(clicks), torch.ones(has_map).bool())
