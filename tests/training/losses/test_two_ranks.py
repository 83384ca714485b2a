"""The classes spread over two processes: the same numbers as one process with both batches."""

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from imgret.training.losses.classifiers import ArcFace
from imgret.training.losses.sharded import ShardedArcFace
from tests.training.losses.ranks import on_ranks

pytestmark = pytest.mark.slow

DIM, CLASSES = 4, 7
CASES = {
    "plain": {},
    "sub-centers": {"centres": 2, "margin": torch.tensor([0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5])},
}
UNLABELLED = torch.tensor([-1, -1])


def images(rank):
    """Five rows for the first rank and three for the second: batches need not be equal."""
    generator = torch.Generator().manual_seed(rank)
    rows = 5 - 2 * rank
    descriptors = torch.randn(rows, DIM, generator=generator, dtype=torch.float64)
    return descriptors, torch.randint(-1, CLASSES, (rows,), generator=generator)


def sharded(**arguments):
    torch.manual_seed(0)
    return ShardedArcFace(DIM, CLASSES, scale=8.0, **arguments).double()


def trunk():
    torch.manual_seed(1)
    return torch.nn.Linear(DIM, DIM).double()


def on_one_of_two(rank):
    results = {}
    descriptors, labels = images(rank)
    for name, arguments in CASES.items():
        loss, x = sharded(**arguments), descriptors.clone().requires_grad_()
        start = loss.weight.detach().clone()
        value = loss(x, labels)
        value.backward()
        results[name] = [value.detach(), x.grad, loss.weight.grad, start]

    loss, model = sharded(), DistributedDataParallel(trunk())
    loss(model(descriptors), labels).backward()
    results["trunk"] = [parameter.grad for parameter in model.parameters()]

    loss, x = sharded(), torch.ones(2, DIM, dtype=torch.float64, requires_grad=True)
    loss(x, UNLABELLED).backward()
    results["unlabelled"] = [x.grad, loss.weight.grad]

    loss = sharded(sample=0.5)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(descriptors.bfloat16(), labels)
    value.backward()
    results["sampled"] = [value.detach(), loss.weight.grad]

    try:
        sharded()(descriptors, labels.where(labels != labels.max(), CLASSES) if rank == 0 else labels)
    except ValueError as error:
        results["refused"] = str(error)
    return results


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return on_ranks(on_one_of_two, 2, tmp_path_factory.mktemp("ranks"))


def whole_batch():
    descriptors, labels = zip(images(0), images(1), strict=True)
    return torch.cat(descriptors), torch.cat(labels)


@pytest.mark.parametrize("name", CASES)
def test_value_gradients_and_start_are_those_of_one_process(both, name):
    torch.manual_seed(0)
    plain = ArcFace(DIM, CLASSES, scale=8.0, **CASES[name]).double()
    descriptors, labels = whole_batch()
    descriptors.requires_grad_()
    value = plain(descriptors, labels)
    value.backward()
    (value_0, x_0, weight_0, start_0), (value_1, x_1, weight_1, start_1) = both[0][name], both[1][name]
    torch.testing.assert_close(torch.stack([value_0, value_1]), value.detach().expand(2))
    torch.testing.assert_close(torch.cat([x_0, x_1]), 2 * descriptors.grad)  # DDP halves it
    torch.testing.assert_close(torch.cat([weight_0, weight_1]), plain.weight.grad)
    torch.testing.assert_close(torch.cat([start_0, start_1]), plain.weight.detach())


def test_a_distributed_trunk_has_the_gradient_of_one_process(both):
    torch.manual_seed(0)
    plain, model = ArcFace(DIM, CLASSES, scale=8.0).double(), trunk()
    descriptors, labels = whole_batch()
    plain(model(descriptors), labels).backward()
    for results in both:
        for mine, theirs in zip(results["trunk"], model.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs.grad)


def test_ranks_without_labels_have_gradients_of_0(both):
    for results in both:
        assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in results["unlabelled"])


def test_each_rank_samples_its_own_classes_and_keeps_those_of_both_batches(both):
    values = [results["sampled"][0] for results in both]
    assert values[0] == values[1]
    assert values[0].isfinite()
    moved = torch.cat([results["sampled"][1].abs().sum(1) > 0 for results in both])
    labels = whole_batch()[1]
    assert moved[labels[labels >= 0]].all()


def test_a_bad_label_on_one_rank_stops_both(both):
    assert "below 7" in both[0]["refused"]
    assert both[1]["refused"] == both[0]["refused"]
