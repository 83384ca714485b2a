import pytest
import torch

from imgret.training.losses.classifiers import ArcFace
from imgret.training.losses.collectives import Shards, shard_of
from imgret.training.losses.sharded import ShardedArcFace


def batch(rows=8, dim=4, classes=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    descriptors = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    return descriptors, torch.randint(-1, classes, (rows,), generator=generator)


def pair(**arguments):
    """A sharded loss and the plain one, with the same start."""
    torch.manual_seed(0)
    sharded = ShardedArcFace(4, 7, **arguments).double()
    torch.manual_seed(0)
    return sharded, ArcFace(4, 7, **arguments).double()


def with_gradients(loss, descriptors, labels):
    descriptors = descriptors.clone().requires_grad_()
    value = loss(descriptors, labels)
    value.backward()
    return value.detach(), descriptors.grad, loss.weight.grad


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"centres": 3, "scale": 8.0},
        {"psi": "easy", "margin": 0.25},
        {"psi": "delg", "margin": torch.tensor([0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5])},
    ],
)
def test_on_one_rank_it_is_arcface(arguments):
    sharded, plain = pair(**arguments)
    assert torch.equal(sharded.weight, plain.weight)
    for mine, theirs in zip(with_gradients(sharded, *batch()), with_gradients(plain, *batch()), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=1e-12)


def test_its_gradients_are_right():
    descriptors, labels = batch()
    loss = ShardedArcFace(4, 7, scale=4.0).double()

    def of(x, weight):
        return torch.func.functional_call(loss, {"weight": weight}, (x, labels))

    assert torch.autograd.gradcheck(of, (descriptors.requires_grad_(), loss.weight.detach().requires_grad_()))


def test_logits_of_any_size_do_not_overflow():
    sharded, plain = pair(scale=1000.0)
    descriptors, labels = batch()
    torch.testing.assert_close(sharded(descriptors.float(), labels), plain(descriptors.float(), labels))


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("sample", [1.0, 0.5])
def test_without_any_labelled_row_loss_and_gradients_are_0(rows, sample):
    loss = ShardedArcFace(4, 7, sample=sample)
    value, to_descriptors, to_weight = with_gradients(loss, torch.randn(rows, 4), torch.full((rows,), -1))
    assert value.item() == 0
    assert torch.equal(to_descriptors, torch.zeros(rows, 4))
    assert torch.equal(to_weight, torch.zeros(7, 4))


@pytest.mark.parametrize("autocast", [False, True])
def test_identical_and_opposite_vectors_give_finite_losses_and_gradients(autocast):
    loss = ShardedArcFace(4, 7)
    x = torch.cat([loss.weight.detach(), -loss.weight.detach()])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        results = with_gradients(loss, x.bfloat16() if autocast else x, torch.arange(14) % 7)
    assert results[0].dtype == torch.float32
    assert all(result.isfinite().all() for result in results)


def moved(loss):
    """The classes whose centres have a gradient."""
    return set(loss.weight.grad.unflatten(0, (-1, loss.centres)).abs().sum((1, 2)).nonzero().flatten().tolist())


def test_sampling_keeps_the_classes_of_the_batch_and_draws_others():
    seen = set()
    for seed in range(5):
        loss = ShardedArcFace(4, 40, scale=2.0, centres=2, sample=0.25, seed=seed)
        loss(torch.randn(6, 4), torch.tensor([3, 17, 39, 3, -1, 17])).backward()
        assert {3, 17, 39} <= moved(loss)
        assert len(moved(loss)) == 10  # a quarter of 40, those of the batch among them
        seen |= moved(loss)
    assert len(seen) > 20  # not the same ten each time


def test_the_sampled_loss_is_that_of_the_sampled_classes_alone():
    loss = ShardedArcFace(4, 40, sample=0.25).double()
    descriptors, labels = batch(classes=40)
    value, to_descriptors, to_weight = with_gradients(loss, descriptors, labels)
    chosen = sorted(moved(loss))
    small = ArcFace(4, len(chosen)).double()
    small.weight.data = loss.weight.data[chosen]
    position = torch.tensor([chosen.index(label) if label >= 0 else -1 for label in labels.tolist()])
    expected = with_gradients(small, descriptors, position)
    torch.testing.assert_close(value, expected[0])
    torch.testing.assert_close(to_descriptors, expected[1])
    torch.testing.assert_close(to_weight[chosen], expected[2])


def test_more_classes_in_the_batch_than_the_sample_are_all_kept():
    loss = ShardedArcFace(4, 40, sample=0.05)  # 2 classes
    loss(torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 4])).backward()
    assert moved(loss) == {0, 1, 2, 3, 4}


def test_each_step_draws_anew_and_a_resumed_run_draws_the_same():
    torch.manual_seed(0)
    descriptors, labels = torch.randn(3, 4), torch.tensor([0, 1, 2])

    def steps(loss, n):
        drawn = []
        for _ in range(n):
            loss.weight.grad = None
            loss(descriptors, labels).backward()
            drawn.append(moved(loss))
        return drawn

    loss = ShardedArcFace(4, 40, scale=2.0, sample=0.25, seed=5)
    whole = steps(loss, 4)
    assert whole[0] != whole[1]
    first, second = (ShardedArcFace(4, 40, scale=2.0, sample=0.25, seed=5) for _ in range(2))
    begun = steps(first, 2)
    second.load_state_dict(first.state_dict())
    assert begun + steps(second, 2) == whole
    assert steps(ShardedArcFace(4, 40, scale=2.0, sample=0.25, seed=6), 1) != whole[:1]


def test_drawing_leaves_the_random_numbers_of_others_alone():
    loss = ShardedArcFace(4, 40, sample=0.25)
    before = torch.get_rng_state()
    loss(torch.randn(0, 4), torch.empty(0, dtype=torch.int64))
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_sees_all_classes():
    loss = ShardedArcFace(4, 40, sample=0.25).double().eval()
    plain = ArcFace(4, 40).double()
    plain.weight.data = loss.weight.data
    descriptors, labels = batch(classes=40)
    torch.testing.assert_close(loss(descriptors, labels), plain(descriptors, labels))
    assert loss.steps == 0


def test_shards_cover_all_classes_once_and_evenly():
    assert [shard_of(10, Shards(rank, 4)) for rank in range(4)] == [(0, 2), (2, 5), (5, 7), (7, 10)]
    with pytest.raises(ValueError, match="classes must be at least as many as ranks, got 3 and 4"):
        shard_of(3, Shards(0, 4))


@pytest.mark.parametrize("bad", [-2, 7])
def test_labels_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match="below 7; they run from"):
        ShardedArcFace(4, 7)(torch.randn(2, 4), torch.tensor([0, bad]))


@pytest.mark.parametrize(
    ("shape", "labels", "words"),
    [
        ((2, 3), torch.tensor([0, 1]), r"must be \[B, 4\] and \[B\], got \[2, 3\] and \[2\]"),
        ((2, 4), torch.tensor([0]), r"got \[2, 4\] and \[1\]"),
        ((2, 4), torch.tensor([0.0, 1.0]), "labels must be int64"),
    ],
)
def test_other_shapes_and_types_are_refused(shape, labels, words):
    with pytest.raises(ValueError, match=words):
        ShardedArcFace(4, 7)(torch.randn(shape), labels)


@pytest.mark.parametrize("sample", [0.0, 1.5])
def test_a_sample_that_is_no_share_is_refused(sample):
    with pytest.raises(ValueError, match=r"sample must be in \(0, 1\]"):
        ShardedArcFace(4, 7, sample=sample)
