"""Plans of tuples: what is drawn, and how mined tuples become batches of several shapes."""

import numpy as np
import pytest

from imgret.errors import ImgretError
from imgret.images.files import ImageFile
from imgret.training.batches.pairs import ClassPairs, ListedPairs
from imgret.training.batches.plans import random_bits
from imgret.training.batches.sizes import TEMPLATES
from imgret.training.batches.tuple_loading import load_tuples
from imgret.training.batches.tuples import TuplePlan
from imgret.training.recipe import Tuples
from tests.pictures import save

LABELS = np.repeat(np.arange(6), 4)  # 24 images of six classes
ALL = np.ones(24, bool)


def quiet(text):
    pass


def plan_of(labels=LABELS, batch_size=8, size=(64, 64), queries=10, pool=12, negatives=2, say=quiet, **options):
    return TuplePlan(labels, batch_size, size, Tuples(queries, pool, negatives), say=say, **options)


def test_a_positive_is_another_image_of_the_class():
    labels = np.array([0, 1, 0, -1, 1, 1, 2])
    source = ClassPairs(labels, np.ones(7, bool))
    found = [source.draw(random_bits(0, epoch), 5) for epoch in range(30)]
    for queries, positives in found:
        assert sorted(queries.tolist()) == [0, 1, 2, 4, 5]  # 3 has no label, 6 is alone
        assert (labels[queries] == labels[positives]).all()
        assert (queries != positives).all()
    partners = {int(positive) for queries, positives in found for positive in positives[queries == 1]}
    assert partners == {4, 5}  # over the epochs every other image is met


def test_an_image_that_cannot_be_opened_is_neither_query_nor_positive():
    usable = ALL.copy()
    usable[[0, 1, 2]] = False  # the fourth image of the first class is then alone
    queries, positives = ClassPairs(LABELS, usable).draw(random_bits(0, 0), 99)
    assert set(queries.tolist()) == set(range(4, 24))
    assert set(positives.tolist()) <= set(range(4, 24))


def test_of_listed_pairs_only_those_within_a_known_cluster_count():
    clusters = np.array([0, 0, 1, 1, -1, -1])
    usable = np.array([True, True, True, False, True, True])
    # two clusters; not usable; unknown; itself
    source = ListedPairs(np.array([[0, 1], [0, 2], [2, 3], [4, 5], [1, 1]]), clusters, usable)
    assert (len(source), source.left_out) == (1, 4)
    assert [rows.tolist() for rows in source.draw(random_bits(0, 0), 9)] == [[0], [1]]


def test_a_query_with_two_listed_positives_asks_twice():
    source = ListedPairs(np.array([[0, 1], [0, 2]]), LABELS, ALL)
    queries, positives = source.draw(random_bits(0, 0), 2)
    assert (queries.tolist(), sorted(positives.tolist())) == ([0, 0], [1, 2])


def test_what_an_epoch_draws_depends_on_seed_and_epoch_alone():
    def drawn(seed, epoch):
        draw = plan_of(seed=seed).draw(epoch)
        return draw.queries.tolist(), draw.positives.tolist(), draw.pool.tolist()

    plan = plan_of(seed=1)
    plan.draw(0)
    plan.draw(7)
    again = plan.draw(2)  # whatever was drawn before
    assert (again.queries.tolist(), again.positives.tolist(), again.pool.tolist()) == drawn(1, 2)
    assert drawn(1, 2) != drawn(1, 3)
    assert drawn(1, 2) != drawn(2, 2)


def test_the_order_is_the_same_on_every_machine():
    # PCG64's raw output is promised to stay; these numbers were written down on 2026-11-27
    draw = plan_of().draw(0)
    assert draw.queries.tolist() == [11, 3, 20, 13, 2, 21, 15, 1, 18, 19]


def test_the_pool_has_labelled_images_once_each():
    labels = LABELS.copy()
    labels[[3, 7, 11]] = -1
    pool = plan_of(labels, pool=18).draw(0).pool
    assert len(set(pool.tolist())) == 18
    assert not {3, 7, 11} & set(pool.tolist())


def test_queries_that_fill_no_batch_are_left_out():
    plan = plan_of(queries=7)  # two tuples of four images a batch of 8
    assert len(plan) == 3
    assert len(plan.draw(0).queries) == 6


def test_where_there_is_less_than_asked_for_all_is_taken_and_said():
    said = []
    plan = plan_of(queries=99, pool=99, say=said.append)
    assert len(plan) == 12
    assert said == [
        "every epoch asks with all 24 queries there are, not with tuples.queries = 99",
        "every epoch mines in all 24 images there are, not in tuples.pool = 99",
    ]
    assert sorted(plan.draw(0).pool.tolist()) == list(range(24))


def test_pairs_that_cannot_be_used_are_counted():
    said = []
    plan_of(pairs=np.array([[0, 1], [2, 3], [0, 4]]), batch_size=4, queries=2, say=said.append)
    assert said == ["1 pairs are left out: not of one cluster, or with an image that cannot be opened"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": np.arange(24)}, "tuples need a query and a positive, but no class has two images"),
        ({"pairs": np.empty((0, 2), np.int64)}, "but the set lists no pairs that can be used"),
        ({"negatives": 6}, "but the set has 6: set tuples.negatives to at most 5"),
        ({"queries": 1}, "1 queries an epoch do not fill a batch of 2 tuples; set batches.batch_size to 4 a tuple"),
    ],
)
def test_a_set_without_tuples_is_said(change, words):
    with pytest.raises(ImgretError, match=words):
        plan_of(**change)


def test_a_pool_of_too_few_clusters_is_said():
    with pytest.raises(ImgretError, match=r"the 2 images drawn for epoch 1 are of 2 clusters, .*raise tuples\.pool"):
        plan_of(pool=2).draw(0)


@pytest.mark.parametrize("batch_size", [3, 6])
def test_a_batch_of_broken_tuples_is_a_callers_mistake(batch_size):
    with pytest.raises(ValueError, match=f"{batch_size} images are not whole tuples of 4"):
        plan_of(batch_size=batch_size)


def test_a_template_needs_aspects():
    with pytest.raises(ValueError, match="needs the aspects of all 24 images"):
        plan_of(size=TEMPLATES["T2"])


ASPECTS = np.where(np.arange(24) % 2, 0.5, 2.0)  # even rows stand, odd rows lie
TUPLES = np.array([[0, 1, 4, 5], [2, 3, 6, -1], [8, 9, 12, 13], [10, 11, 14, 15]])


def shaped_plan(batch_size=16):
    return plan_of(size=TEMPLATES["T2"], aspects=ASPECTS, batch_size=batch_size, queries=4)


def test_a_batch_has_a_part_for_each_shape_and_every_image_in_its_place():
    (batch,) = shaped_plan().batches(0, TUPLES)
    assert [part.size for _, part in batch.parts] == [(192, 128), (128, 192)]  # lying, standing
    assert [part.rows.tolist() for _, part in batch.parts] == [[1, 5, 3, 9, 13, 11, 15], [0, 4, 2, 6, 8, 12, 10, 14]]
    for places, part in batch.parts:
        assert (TUPLES.ravel()[places] == part.rows).all()
    assert len({part.seed for _, part in batch.parts}) == 2


def test_images_of_unknown_aspect_are_never_drawn():
    aspects = ASPECTS.copy()
    aspects[:4] = np.nan
    draw = plan_of(size=TEMPLATES["T2"], aspects=aspects, queries=20, pool=20).draw(0)
    assert not set(range(4)) & {*draw.queries.tolist(), *draw.positives.tolist(), *draw.pool.tolist()}


def test_the_shares_of_two_processes_are_whole_tuples_and_keep_their_places():
    (batch,) = shaped_plan().batches(0, TUPLES)
    shares = [batch.for_rank(rank, 2) for rank in range(2)]
    assert [share.tuples.tolist() for share in shares] == [TUPLES[:2].tolist(), TUPLES[2:].tolist()]
    for part in range(2):
        ours = [share.parts[part] for share in shares]
        whole = batch.parts[part][1].rows
        assert np.concatenate([each.rows for _, each in ours]).tolist() == whole.tolist()
        for share, (places, each) in zip(shares, ours, strict=True):
            assert (share.tuples.ravel()[places] == each.rows).all()
            assert (whole[each.first : each.first + len(each.rows)] == each.rows).all()
            assert each.whole is whole
    with pytest.raises(ValueError, match="4 tuples cannot be shared equally by 3"):
        batch.for_rank(0, 3)


def test_a_shape_that_a_process_has_no_image_of_is_left_out():
    standing_first = np.array([[0, 2, 4, 6], [1, 3, 5, 7]])
    (batch,) = plan_of(size=TEMPLATES["T2"], aspects=ASPECTS, queries=2).batches(0, standing_first)
    assert [[part.size for _, part in batch.for_rank(rank, 2).parts] for rank in (0, 1)] == [[(128, 192)], [(192, 128)]]


def test_every_image_is_described_once_at_the_shape_it_trains_with():
    plan = shaped_plan(8)
    batches = plan.by_shape(np.arange(24))
    assert [len(batch.rows) for batch in batches] == [8, 4, 8, 4]
    assert sorted(np.concatenate([batch.rows for batch in batches]).tolist()) == list(range(24))
    assert {batch.size for batch in batches if batch.rows[0] % 2} == {(192, 128)}


@pytest.fixture
def pictures(tmp_path):
    """24 pictures as the aspects say; row 5 and 8 are damaged."""
    found = []
    for row in range(24):
        path = save(tmp_path, f"{row:02d}.png", row, (64, 32) if row % 2 else (32, 64))
        if row in (5, 8):
            path.write_bytes(b"no image")
        found.append(ImageFile(path.name, str(path), str(tmp_path), path.stat().st_size, 0))
    return found


def test_loaded_tuples_point_at_their_own_images_and_never_at_a_stand_in(pictures):
    batches = shaped_plan().batches(0, TUPLES)
    (loaded,) = load_tuples(pictures, LABELS, batches, "none", workers=0)
    assert [tuple(part.shape) for part in loaded.parts] == [(7, 3, 128, 192), (8, 3, 192, 128)]
    rows = loaded.rows.numpy()
    # 5 is a damaged negative; 8 a damaged query, so its tuple is gone; the third negative of the second was never there
    wanted = [[0, 1, 4, -1], [2, 3, 6, -1], [10, 11, 14, 15]]
    assert [[-1 if place < 0 else int(rows[place]) for place in each] for each in loaded.target.tolist()] == wanted
    assert {row for row, _ in loaded.failed} == {5, 8}


def test_a_part_without_a_good_image_is_missing_and_the_others_stay(pictures):
    tuples = np.array([[0, 2, 4, 5]])  # 5, the only lying one, is damaged
    (batch,) = plan_of(size=TEMPLATES["T2"], aspects=ASPECTS, batch_size=4, queries=1).batches(0, tuples)
    (loaded,) = load_tuples(pictures, LABELS, [batch], "none", workers=0)
    assert (len(loaded.parts), loaded.target.tolist()) == (1, [[0, 1, 2, -1]])


@pytest.mark.parametrize("place", [0, 1])
def test_a_batch_without_any_good_image_stops_the_run(pictures, place):
    for row in (0, 1, 4):
        with open(pictures[row].path, "wb") as file:
            file.write(b"gone")
    tuples = np.array([[2, 3, 6, 7], [2, 3, 6, 7]])
    tuples[place] = [0, 1, 4, 5]
    batches = plan_of(size=TEMPLATES["T2"], aspects=ASPECTS, batch_size=4, queries=2).batches(0, tuples)
    with pytest.raises(ImgretError, match=r"none of the images of a batch can be decoded, the first is .*01\.png"):
        list(load_tuples(pictures, LABELS, batches, "none", workers=0))
