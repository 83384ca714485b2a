import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from imgret.training.losses import mining
from imgret.training.losses.mining import hard_negatives


def at(*degrees):
    angles = torch.tensor([math.radians(d) for d in degrees], dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], 1)


def ids(*numbers):
    return torch.tensor(numbers, dtype=torch.int64)


def test_the_nearest_image_of_each_other_cluster_is_taken():
    pool = at(1, 2, 10, 20, 30, 15)
    clusters = ids(7, 7, 3, 3, 4, 5)
    # The query at 0 degrees is of cluster 7; then 3 (10 degrees; its image at 20 is left out), 5 (15), 4 (30).
    assert hard_negatives(at(0), ids(7), pool, clusters, k=5).tolist() == [[2, 5, 4, -1, -1]]


def test_no_more_than_k_are_taken():
    assert hard_negatives(at(0), ids(7), at(10, 15, 30), ids(3, 5, 4), k=2).tolist() == [[0, 1]]


def test_lengths_do_not_matter():
    pool = at(10, 20) * torch.tensor([[1.0], [100.0]], dtype=torch.float64)
    assert hard_negatives(at(0) * 5, ids(0), pool, ids(1, 2), k=1).tolist() == [[0]]


def test_of_equal_images_the_lower_row_comes_first():
    pool = at(10, 10, 10)
    assert hard_negatives(at(0), ids(0), pool, ids(2, 1, 1), k=3).tolist() == [[0, 1, -1]]


def test_an_image_of_unknown_cluster_is_never_a_negative_and_gets_none():
    negatives = hard_negatives(at(0, 0), ids(0, -1), at(1, 20, 30), ids(-1, 1, 2), k=2)
    assert negatives.tolist() == [[1, 2], [-1, -1]]


def test_an_empty_pool_has_no_negatives():
    assert hard_negatives(at(0), ids(0), torch.empty(0, 2), ids(), k=2).tolist() == [[-1, -1]]
    assert hard_negatives(torch.empty(0, 2), ids(), at(0), ids(1), k=2).shape == (0, 2)


def slow(queries, own, pool, clusters, k):
    cosine = torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(pool).T
    rows = []
    for scores, cluster in zip(cosine.tolist(), own.tolist(), strict=True):
        taken, found = {cluster}, []
        for row in sorted(range(len(scores)), key=lambda n: -scores[n]):
            if clusters[row].item() not in taken and len(found) < k:
                taken.add(clusters[row].item())
                found.append(row)
        rows.append(found + [-1] * (k - len(found)))
    return rows


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor made inside has."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


@pytest.mark.parametrize("held", [2**26, 350])
def test_a_large_pool_is_searched_in_bounded_memory_with_the_same_result(held, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    pool = torch.randn(100, 3, generator=generator, dtype=torch.float64)
    own, clusters = torch.arange(40) % 7, torch.randint(7, (100,), generator=generator)
    monkeypatch.setattr(mining, "_SCORES_AT_ONCE", held)
    with Largest() as largest:
        found = hard_negatives(queries, own, pool, clusters, k=7)
    assert found.tolist() == slow(queries, own, pool, clusters, 7)
    assert largest.numbers <= max(300, held)  # 300: the pool itself


def test_nothing_is_kept_for_a_backward_pass():
    kept = []
    queries = at(0, 90).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda kept: kept):
        hard_negatives(queries, ids(0, 1), queries, ids(0, 1), k=1)
    assert kept == []


@pytest.mark.parametrize("which", [0, 1])
def test_a_model_that_has_diverged_is_said(which):
    images = [at(0), at(10)]
    images[which] = images[which] * math.nan
    with pytest.raises(ValueError, match="descriptors must be finite"):
        hard_negatives(images[0], ids(0), images[1], ids(1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((at(0), ids(0), at(1), ids(1), 0), "k must be at least 1, got 0"),
        ((at(0), ids(0, 1), at(1), ids(1), 1), r"clusters must be \[1\] and \[1\], got \[2\] and \[1\]"),
        ((at(0), ids(0), at(1), ids(1, 1), 1), r"clusters must be \[1\] and \[1\], got \[1\] and \[2\]"),
        ((at(0), ids(0), torch.ones(1, 3), ids(1), 1), r"got \[1, 2\], \[1, 3\]"),
    ],
)
def test_other_shapes_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        hard_negatives(*arguments)
