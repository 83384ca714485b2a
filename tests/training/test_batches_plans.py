from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from imgret.errors import ImgretError
from imgret.training.batches.plans import Batch, FixedSize, SizeGroups, for_rank
from imgret.training.batches.sizes import TEMPLATES, size_group

T2 = TEMPLATES["T2"]
ASPECTS = np.random.default_rng(7).choice([0.6, 0.7, 1.0, 1.4, 1.6, np.nan], 103)


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        a.rows.tolist() == b.rows.tolist() and (a.size, a.seed) == (b.size, b.seed)
        for a, b in zip(first, second, strict=True)
    )


def rows_of(batches: list[Batch]) -> list[int]:
    return np.concatenate([batch.rows for batch in batches]).tolist()


PLANS = [SizeGroups(ASPECTS, 4, T2, seed=3), FixedSize(103, 4, 160, seed=3)]
either_plan = pytest.mark.parametrize("plan", PLANS, ids=["groups", "fixed"])


@either_plan
def test_every_image_is_in_an_epoch_at_most_once_in_batches_of_the_size_asked_for(plan):
    batches = plan.batches(0)
    assert len(batches) == len(plan) == len(plan.batches(5))
    assert {len(batch.rows) for batch in batches} == {4}
    assert {batch.rows.dtype for batch in batches} == {np.dtype(np.int64)}
    assert len(set(rows_of(batches))) == 4 * len(batches)


def test_all_images_of_a_batch_are_of_the_group_whose_size_it_has():
    for batch in SizeGroups(ASPECTS, 4, T2).batches(0):
        assert {T2.sizes[group] for group in size_group(ASPECTS[batch.rows])} == {batch.size}


def test_only_uneven_last_batches_and_unreadable_images_are_dropped():
    counts = np.bincount(size_group(ASPECTS[~np.isnan(ASPECTS)]), minlength=5)
    assert len(SizeGroups(ASPECTS, 4, T2)) == sum(counts // 4)
    whole = SizeGroups(ASPECTS, 4, T2, drop_last=False)
    assert sorted(rows_of(whole.batches(0))) == np.flatnonzero(~np.isnan(ASPECTS)).tolist()
    assert len(whole) == len(whole.batches(0))
    # 103 = 25 * 4 + 3
    assert len(FixedSize(103, 4, 160)) == 25
    last = FixedSize(103, 4, 160, drop_last=False)
    assert len(last) == len(last.batches(0)) == 26
    assert sorted(rows_of(last.batches(0))) == list(range(103))


def test_other_images_are_dropped_in_other_epochs():
    plan = FixedSize(103, 50, 160)
    dropped = [set(range(103)) - set(rows_of(plan.batches(epoch))) for epoch in range(2)]
    assert len(dropped[0]) == len(dropped[1]) == 3
    assert dropped[0] != dropped[1]


@either_plan
def test_an_epoch_is_always_the_same_and_another_epoch_is_another(plan):
    assert same(plan.batches(2), plan.batches(2))
    assert rows_of(plan.batches(2)) != rows_of(plan.batches(3))
    assert not {batch.seed for batch in plan.batches(2)} & {batch.seed for batch in plan.batches(3)}
    assert len({batch.seed for batch in plan.batches(2)}) == len(plan)


def test_another_seed_is_another_order():
    assert rows_of(FixedSize(103, 4, 160, seed=0).batches(1)) != rows_of(FixedSize(103, 4, 160, seed=1).batches(1))
    # seed and epoch are not added up
    assert rows_of(FixedSize(103, 4, 160, seed=0).batches(1)) != rows_of(FixedSize(103, 4, 160, seed=1).batches(0))


def test_the_order_is_the_one_written_down_here_on_every_machine_and_version():
    # numbers that numpy promises for PCG64 and SeedSequence([seed, epoch]); sorting them gives the order
    bits = np.random.PCG64(np.random.SeedSequence([0, 0])).random_raw(8)
    assert np.argsort(bits).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]
    batches = FixedSize(8, 4, 32).batches(0)
    assert sorted(batch.rows.tolist() for batch in batches) == [[0, 7, 4, 5], [3, 2, 1, 6]]


@either_plan
def test_groups_are_mixed_over_the_epoch_and_rows_over_the_batches(plan):
    batches = plan.batches(0)
    first = batches[: len(batches) // 2]
    if plan is PLANS[0]:
        assert len({batch.size for batch in first}) > 2
    assert np.mean(rows_of(first)) == pytest.approx(51, abs=12)
    assert any(np.diff(batch.rows).min() < 0 for batch in batches)


@either_plan
def test_nothing_outside_is_drawn_from_or_seeded(plan):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    plan.batches(0)
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_shares_of_the_ranks_make_up_the_batch(world):
    batch = PLANS[0].batches(0)[0]
    shares = [for_rank(batch, rank, world) for rank in range(world)]
    assert rows_of(shares) == batch.rows.tolist()
    for rank, share in enumerate(shares):
        assert len(share.rows) == 4 // world
        assert (share.size, share.seed, share.first) == (batch.size, batch.seed, rank * 4 // world)
        assert world == 1 or share.whole.tolist() == batch.rows.tolist()


def test_a_batch_that_does_not_divide_by_the_processes_is_refused():
    with pytest.raises(ImgretError, match="4 images cannot be shared equally by 3 .* a multiple of 3"):
        for_rank(PLANS[0].batches(0)[0], 0, 3)
    with pytest.raises(ValueError, match="from 0 to 1"):
        for_rank(PLANS[0].batches(0)[0], 2, 2)


def test_a_plan_without_a_single_batch_is_refused_with_the_way_out():
    with pytest.raises(ImgretError, match="largest has 2 of 3.*smaller batch size"):
        SizeGroups(np.array([1.0, 1.0, 2.0]), 4, T2)
    assert len(SizeGroups(np.array([1.0, 1.0, 2.0]), 4, T2, drop_last=False)) == 2
    with pytest.raises(ImgretError, match="3 images do not fill a batch of 4"):
        FixedSize(3, 4, 160)


def test_batch_sizes_seeds_and_epochs_must_make_sense():
    with pytest.raises(ValueError, match="at least 1"):
        FixedSize(3, 0, 160)
    with pytest.raises(ValueError, match="negative"):
        FixedSize(3, 1, 160, seed=-1).batches(0)
    with pytest.raises(ValueError, match="negative"):
        FixedSize(3, 1, 160).batches(-1)
