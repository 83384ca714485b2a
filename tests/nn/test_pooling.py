import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from imgret.nn.pooling import GeM, gem, gem_parts, gem_share

MAP = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64).view(1, 1, 2, 2)


def test_p_1_is_the_mean():
    assert gem(MAP, 1.0).item() == pytest.approx((1 + 2 + 3 + 4) / 4, abs=1e-12)


def test_p_3_is_the_cubic_mean():
    # (1 + 8 + 27 + 64) / 4 = 25, and 25^(1/3) = 2.924017738
    assert gem(MAP, 3.0).item() == pytest.approx(2.924017738212866, abs=1e-12)


def test_large_p_approaches_the_maximum_and_does_not_overflow():
    # N copies of the maximum among M cells: max * (N / M)^(1/p), here 400 * (1/4)^(1/1000) = 399.446
    assert gem(MAP.float() * 100, 1000.0).item() == pytest.approx(399.446, abs=1e-3)


def test_an_all_zero_map_gives_eps_in_every_channel():
    assert torch.equal(gem(torch.zeros(2, 3, 4, 5), 3.0), torch.full((2, 3), 1e-6))


def test_values_below_eps_are_raised_to_eps():
    features = torch.tensor([-5.0, 2.0]).view(1, 1, 1, 2)
    # (0 + 2) / 2
    assert gem(features, 1.0, eps=1e-6).item() == pytest.approx(1.0, abs=1e-6)


def test_one_power_per_channel_is_accepted():
    pooled = gem(MAP.expand(1, 2, 2, 2), torch.tensor([1.0, 3.0]))
    assert pooled[0].tolist() == pytest.approx([2.5, 2.924017738212866])


def test_the_gradient_of_p_is_the_formula():
    p = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    f = gem(MAP, p)
    f.backward()
    y = MAP.flatten()
    # df/dp = f [ sum(y^p ln y) / (p sum y^p) - ln(mean y^p) / p^2 ]
    slope = f * ((y**3 * y.log()).sum() / (3 * (y**3).sum()) - (y**3).mean().log() / 9)
    assert p.grad.item() == pytest.approx(slope.item(), abs=1e-12)


def test_the_gradient_of_the_map_is_right():
    features = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    p = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gem, (features, p))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_pooled_in_float32(dtype):
    features = (torch.rand(2, 3, 4, 5) * 200).to(dtype)  # 200^3 is past float16's 65504
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = GeM()(features)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, gem(features.double(), 3.0).float())


def test_powers_are_taken_with_autocast_off():
    # No CPU operation that GeM uses is in autocast's lists today, so only the switch itself can be looked at.
    class Switches(TorchFunctionMode):
        on = ()

        def __torch_function__(self, func, types, args=(), kwargs=None):
            if "pow" in func.__name__:
                self.on += (torch.is_autocast_enabled("cpu"),)
            return func(*args, **(kwargs or {}))

    with torch.autocast("cpu", dtype=torch.bfloat16), Switches() as seen:
        gem(MAP.bfloat16(), 3.0)
        assert torch.is_autocast_enabled("cpu")
    assert seen.on == (False, False)  # x^p and mean^(1/p)


def test_p_is_clamped_where_it_is_used():
    pool = GeM(p=0.1)
    assert pool(MAP).item() == pytest.approx(2.5)
    with torch.no_grad():
        pool.p.fill_(50)
    assert pool.power.item() == 20


def test_a_map_without_four_axes_is_a_callers_mistake():
    with pytest.raises(ValueError, match=r"\[B, C, H, W\], got \[3, 4\]"):
        gem(torch.zeros(3, 4), 3.0)


def both_signs(*shape):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 - 0.5


@pytest.mark.parametrize("p", [1.0, 2.5, torch.tensor([1.0, 3.0, 7.0])])
def test_the_parts_of_a_vector_are_the_formula_cell_by_cell(p):
    features = both_signs(2, 3, 4, 5)
    found = gem_parts(features, p)
    powers = torch.as_tensor(p, dtype=torch.float64).expand(3).tolist()
    for b, c in np.ndindex(2, 3):
        x = [max(value, 1e-6) for value in features[b, c].flatten().tolist()]
        total = sum(value ** powers[c] for value in x)
        pooled = (total / len(x)) ** (1 / powers[c])
        expected = [pooled * value ** powers[c] / total for value in x]
        assert found[b, c].flatten().tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("p", [1.0, 3.0, 20.0])
def test_the_parts_sum_to_the_vector_also_of_half_precision_large_values_and_zeros(p):
    features = (both_signs(2, 3, 4, 5) * 10000).half()
    features[0, 0] = 0
    found = gem_parts(features, p)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum((2, 3)), gem(features, p), rtol=1e-5, atol=0)


def test_the_share_of_a_place_is_its_part_in_the_direction_of_the_vector():
    features = both_signs(2, 3, 4, 5)
    parts, pooled = gem_parts(features, 3.0), gem(features, 3.0)
    energy = pooled.square() / pooled.square().sum(1, keepdim=True)  # of the unit vector, by channel
    expected = (parts / pooled[:, :, None, None] * energy[:, :, None, None]).sum(1)
    torch.testing.assert_close(gem_share(features, 3.0), expected)
    torch.testing.assert_close(expected.sum((1, 2)), torch.ones(2, dtype=torch.float64))


def test_the_layer_gives_parts_with_its_own_power():
    torch.testing.assert_close(GeM(p=2.0).parts(MAP), gem_parts(MAP, 2.0))
