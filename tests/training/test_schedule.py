import math

import pytest
import torch

from imgret.training.schedule import rate_factor, warmup_cosine, warmup_exponential


def optimiser(rates=(0.4,)):
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def taken(schedule, optimiser, count):
    """The learning rate of each of the next steps."""
    rates = []
    for _ in range(count):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return rates


def test_the_rate_rises_in_a_line_and_falls_in_half_a_cosine():
    # 4 steps of warm-up, then 8 of cosine from 1 to 0.2: its middle, step 8, is (1 + 0.2) / 2
    golden = {0: 1 / 4, 1: 2 / 4, 3: 1.0, 4: 1.0, 8: 0.6, 12: 0.2, 100: 0.2}
    for step, factor in golden.items():
        assert rate_factor(step, 12, 4, 0.2) == pytest.approx(factor), step
    # a quarter of the way down: 0.2 + 0.8 (1 + cos 45 degrees) / 2
    assert rate_factor(6, 12, 4, 0.2) == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)


def test_without_warm_up_the_first_step_is_the_highest():
    assert [rate_factor(step, 2) for step in (0, 1, 2)] == pytest.approx([1.0, 0.5, 0.0])


def test_the_first_step_moves_and_the_last_is_just_above_the_final_rate():
    sgd = optimiser()
    rates = taken(warmup_cosine(sgd, 12, 4, 0.2), sgd, 12)
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    # one step before the end: 0.2 + 0.8 (1 + cos(7/8 180 degrees)) / 2 of 0.4
    assert rates[-1] == pytest.approx(0.4 * (0.2 + 0.4 * (1 + math.cos(math.pi * 7 / 8))))


def test_every_group_keeps_its_own_rate():
    sgd = optimiser((0.4, 4.0))
    warmup_cosine(sgd, 12, 4)
    assert [group["lr"] for group in sgd.param_groups] == pytest.approx([0.1, 1.0])


def test_a_schedule_goes_on_where_its_state_was_made():
    whole, first, second = optimiser(), optimiser(), optimiser()
    wanted = taken(warmup_cosine(whole, 12, 4, 0.2), whole, 12)
    begun = warmup_cosine(first, 12, 4, 0.2)
    assert taken(begun, first, 5) == wanted[:5]
    resumed = warmup_cosine(second, 12, 4, 0.2)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(begun.state_dict())
    assert taken(resumed, second, 7) == wanted[5:]


@pytest.mark.parametrize(("warmup", "final"), [(12, 0.0), (-1, 0.0), (4, 1.5), (4, -0.1)])
def test_impossible_schedules_are_a_callers_mistake(warmup, final):
    with pytest.raises(ValueError, match="must be"):
        warmup_cosine(optimiser(), 12, warmup, final)


def test_the_exponential_falls_from_epoch_to_epoch_after_a_line_up():
    sgd = optimiser()
    rates = taken(warmup_exponential(sgd, per_epoch=3, warmup=2, decay=0.5), sgd, 7)
    # 0.4 in the first epoch, half of it in the first of two steps; exp(-0.5) and exp(-1) of it in the next ones
    assert rates == pytest.approx([0.2, 0.4, 0.4, 0.2426123, 0.2426123, 0.2426123, 0.1471518])


@pytest.mark.parametrize(("per_epoch", "warmup", "decay"), [(0, 0, 0.1), (3, -1, 0.1), (3, 0, 0.0)])
def test_an_impossible_exponential_is_a_callers_mistake(per_epoch, warmup, decay):
    with pytest.raises(ValueError, match="must be positive"):
        warmup_exponential(optimiser(), per_epoch, warmup, decay)
