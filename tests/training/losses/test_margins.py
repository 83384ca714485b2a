import math

import pytest
import torch

from imgret.training.losses.margins import PSI, add_margin, delg_margin, easy_margin, hard_margin, margin_tensor

HALF = torch.tensor(0.5, dtype=torch.float64)


def at(theta, psi, margin=HALF):
    return psi(torch.tensor(math.cos(theta), dtype=torch.float64), margin).item()


@pytest.mark.parametrize("psi", [hard_margin, delg_margin])
@pytest.mark.parametrize("theta", [0.1, 1.0, 2.0, math.pi - 0.5 - 1e-4])
def test_up_to_pi_less_m_the_margin_is_added_to_the_angle(psi, theta):
    assert at(theta, psi) == pytest.approx(math.cos(theta + 0.5), abs=1e-12)


def test_the_hard_margin_jumps_where_the_sum_passes_pi():
    # just before pi - m: cos(pi) = -1; just after: -cos 0.5 - 0.5 sin 0.5 = -0.877583 - 0.239713 = -1.117295
    assert at(math.pi - 0.5 - 1e-7, hard_margin) == pytest.approx(-1, abs=1e-6)
    assert at(math.pi - 0.5 + 1e-7, hard_margin) == pytest.approx(-1.117295, abs=1e-6)


def test_at_pi_less_m_itself_the_margin_still_counts():
    assert hard_margin(-HALF.cos(), HALF).item() == pytest.approx(-1, abs=1e-12)
    assert delg_margin(-HALF.cos(), HALF).item() == pytest.approx(-1, abs=1e-12)


def test_beyond_pi_less_m_the_hard_margin_takes_m_sin_m_off():
    # theta = 3: cos 3 - 0.5 sin 0.5 = -0.989992 - 0.239713
    assert at(3.0, hard_margin) == pytest.approx(-1.229705, abs=1e-6)


def test_beyond_pi_less_m_delg_takes_nothing_off():
    assert at(3.0, delg_margin) == pytest.approx(math.cos(3), abs=1e-12)


def test_the_easy_margin_jumps_at_a_right_angle():
    # just before pi / 2: cos(pi / 2 + 0.5) = -sin 0.5 = -0.479426; at it and after: cos theta
    assert at(math.pi / 2 - 1e-7, easy_margin) == pytest.approx(-0.479426, abs=1e-6)
    assert easy_margin(torch.zeros((), dtype=torch.float64), HALF).item() == 0
    assert at(2.0, easy_margin) == pytest.approx(math.cos(2), abs=1e-12)


@pytest.mark.parametrize("psi", PSI.values())
def test_without_a_margin_psi_is_the_cosine(psi):
    cosine = torch.linspace(-0.999, 0.999, 101, dtype=torch.float64)
    torch.testing.assert_close(psi(cosine, torch.zeros(())), cosine, atol=1e-12, rtol=0)


@pytest.mark.parametrize("psi", PSI.values())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_at_cosine_1_and_beyond_value_and_slope_are_finite(psi, dtype):
    cosine = torch.tensor([-1.5, -1.0, 1.0, 1.0001, 1.5], dtype=dtype, requires_grad=True)
    values = psi(cosine, torch.tensor(0.5))
    assert values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    values.sum().backward()
    assert values.isfinite().all()
    assert cosine.grad.isfinite().all()


@pytest.mark.parametrize("psi", PSI.values())
def test_cosines_are_clamped_to_one_part_in_ten_million(psi):
    # cos^-1(1 - 1e-7) = 4.472136e-4, so psi(1) = cos(0.5 + 4.472136e-4)
    one = torch.ones((), dtype=torch.float64)
    assert psi(one, HALF).item() == pytest.approx(math.cos(0.5 + 4.472136e-4), abs=1e-12)


@pytest.mark.parametrize("psi", PSI.values())
def test_the_slope_of_psi_is_right(psi):
    cosine = torch.tensor([-0.95, -0.6, -0.1, 0.2, 0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: psi(c, HALF), (cosine,))


def test_the_margin_enters_at_the_target_alone():
    cosine = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])
    shifted = add_margin(cosine, torch.tensor([2, -1, 0]), torch.tensor([0.1, 0.2, 0.3]), hard_margin)
    expected = cosine.clone()
    expected[0, 2] = math.cos(math.acos(0.3) + 0.1)
    expected[2, 0] = math.cos(math.acos(0.7) + 0.3)  # row 1 has no target here
    torch.testing.assert_close(shifted, expected)


@pytest.mark.parametrize("margin", [-0.1, 28.6, math.nan, torch.tensor([0.1, 0.2, 2.0])])
def test_a_margin_that_is_not_in_radians_is_refused(margin):
    with pytest.raises(ValueError, match=r"margin must be in radians, in \[0, pi / 2\]"):
        margin_tensor(margin, 3)


def test_margins_of_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match=r"margin must be one number or \[4\], got \[3\]"):
        margin_tensor(torch.zeros(3), 4)
