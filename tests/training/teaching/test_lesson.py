"""The lesson against slow loops in float64, and what it must not depend on."""

import math

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

from imgret.training.teaching.lesson import Lesson, Taught


def lesson(**changes) -> Lesson:
    torch.manual_seed(0)
    made = Lesson(dim=4, channels=6, teacher_dim=5, map_channels=3, **changes)
    return made.double()


def taught(batch: int = 3, bank: int = 7, grid: int = 2, **changes) -> Taught:
    random = torch.Generator().manual_seed(1)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=random, dtype=torch.float64)

    same = torch.zeros(batch, bank, dtype=torch.bool)
    same[0, [0, 4, 5]] = True
    values = {
        "rows": numbers(batch, 5),
        "maps": numbers(batch, 3, grid, grid),
        "known": torch.ones(batch, dtype=torch.bool),
        "placed": torch.ones(batch, dtype=torch.bool),
        "bank": numbers(bank, 5),
        "own": torch.arange(batch),
        "same": same,
    }
    return Taught(**{**values, **changes})


def student(batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(2)
    return (
        torch.randn(batch, 4, generator=random, dtype=torch.float64),
        torch.randn(batch, 6, 4, 4, generator=random, dtype=torch.float64),
    )


def unit(values: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def test_the_bank_is_scored_as_the_docstring_says_by_loops():
    made = lesson(own=0.3, label=0.2, temperature=0.5, scale=3.0)
    told, (rows, _) = taught(known=torch.tensor([True, False, True])), student()
    bank, weight = told.bank.tolist(), made.key.weight.tolist()
    middle = [sum(row[t] for row in bank) / len(bank) for t in range(5)]
    centred = [unit([value - mean for value, mean in zip(row, middle, strict=True)]) for row in bank]
    keys = [unit([dot(line, row) for line in weight]) for row in centred]
    total, count = 0.0, 0
    for b in range(3):
        if not told.known[b]:
            continue
        view = unit([value - mean for value, mean in zip(told.rows[b].tolist(), middle, strict=True)])
        seen = softmax([dot(view, row) / 0.5 for row in centred])
        said = softmax([3.0 * dot(unit(rows[b].tolist()), key) for key in keys])
        alike = {j for j in range(7) if told.same[b, j]} | {b}
        for j in range(7):
            q = 0.3 * (j == b) + 0.2 * (j in alike) / len(alike) + 0.5 * seen[j]
            total -= q * math.log(said[j])
        count += 1
    assert made.against_bank(rows, told).item() == pytest.approx(total / count, rel=1e-12)


def test_shares_sum_to_one_and_the_own_image_has_at_least_its_share():
    made = lesson(own=0.4, label=0.3)
    told = taught()
    shares = made.shares(told.rows, told.bank, told.own, told.same)
    assert torch.allclose(shares.sum(1), torch.ones(3, dtype=torch.float64))
    # rows 1 and 2 have no image of their class in the bank but themselves: 0.4 + 0.3 is theirs
    assert (shares[torch.arange(3), told.own] >= torch.tensor([0.5, 0.7, 0.7], dtype=torch.float64)).all()


def test_a_map_that_is_a_linear_image_of_the_student_costs_nothing_and_the_best_constant_costs_one():
    made = lesson()
    _, features = student(8)
    made.place.bias.data.zero_()
    grid = made.place(adaptive_avg_pool2d(features, 2)).detach()
    mean, deviation = grid.mean((0, 2, 3)), grid.var((0, 2, 3), unbiased=False).sqrt()
    told = taught(8, grid=2, maps=grid, own=torch.arange(8) % 7)
    made.standard.eps = 1e-12
    with torch.no_grad():
        made.place.bias -= mean
        for values in (made.place.weight, made.place.bias):
            values /= deviation.view(-1, *[1] * (values.ndim - 1))
        assert made.place_by_place(features, told).item() == pytest.approx(0, abs=1e-9)
        made.place.weight.zero_()
        made.place.bias.zero_()
        assert made.place_by_place(features, told).item() == pytest.approx(1)


def test_what_is_not_known_or_lies_elsewhere_has_no_gradient():
    made = lesson()
    rows, features = (one.requires_grad_() for one in student())
    told = taught(known=torch.tensor([True, True, False]), placed=torch.tensor([True, True, False]))
    made(rows, features, told).backward()
    assert rows.grad[2].abs().max() == 0
    assert features.grad[2].abs().max() == 0
    assert rows.grad[:2].abs().min() > 0
    told = taught(placed=torch.tensor([True, False, True]))
    features.grad = None
    made(rows, features, told).backward()
    assert features.grad[1].abs().max() == 0 < features.grad[0].abs().max()


def test_nothing_known_costs_nothing():
    nothing = torch.zeros(3, dtype=torch.bool)
    assert lesson()(*student(), taught(known=nothing)).item() == 0


def test_gradients_are_those_of_finite_differences():
    made, told = lesson(), taught()
    rows, features = (one.requires_grad_() for one in student())
    assert torch.autograd.gradcheck(lambda r, f: made(r, f, told), (rows, features))


def test_shares_that_exceed_one_are_refused():
    with pytest.raises(ValueError, match="shares of 1"):
        lesson(own=0.7, label=0.4)
