import pytest
import torch
from torch.overrides import TorchFunctionMode

from imgret.nn.pooling import GeM, gem

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
