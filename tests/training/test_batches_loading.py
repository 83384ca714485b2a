from __future__ import annotations

import multiprocessing
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imgret.errors import InputError, UnknownNameError
from imgret.images.files import ImageFile, find
from imgret.training.batches.loading import load
from imgret.training.batches.plans import Batch, FixedSize, for_rank
from tests.pictures import save

SIZE = (32, 24)


def colours(folder: Path, count: int, size: tuple[int, int] = (40, 30)) -> list[ImageFile]:
    """Pictures 00.png, 01.png, ... of one grey level each, 10 times their number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", size, (10 * number,) * 3).save(folder / f"{number:02}.png")
    return find([str(folder)]).images


def textures(folder: Path, count: int = 12) -> list[ImageFile]:
    for number in range(count):
        save(folder, f"{number:02}.jpg", number, (60, 48))
    return find([str(folder)]).images


def damage(image: ImageFile) -> None:
    Path(image.path).write_bytes(b"no picture")


def batch_of(*rows: int, size=SIZE, seed: int = 5) -> Batch:
    return Batch(np.array(rows, np.int64), size, seed)


def levels(batch) -> list[int]:
    """Which picture of `colours` each place shows."""
    return [round(float(pixels.float().mean()) / 10) for pixels in batch.pixels]


def equal(first: list, second: list) -> bool:
    def maps(batch):
        return torch.empty(0) if batch.maps is None else batch.maps

    return len(first) == len(second) and all(
        torch.equal(a.pixels, b.pixels)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.rows, b.rows)
        and torch.equal(maps(a), maps(b))
        and torch.equal(a.has_map, b.has_map)
        and (a.number, a.failed) == (b.number, b.failed)
        for a, b in zip(first, second, strict=True)
    )


def test_a_batch_holds_its_rows_in_order_with_their_labels(tmp_path):
    images, labels = colours(tmp_path, 5), np.array([7, -1, 8, 9, 7])
    (found,) = load(images, labels, [batch_of(3, 0, 1)], "none", workers=0)
    assert levels(found) == [3, 0, 1]
    assert found.rows.tolist() == [3, 0, 1]
    assert found.labels.tolist() == [9, 7, -1]
    assert found.pixels.shape == (3, 3, 24, 32)
    assert (found.pixels.dtype, found.labels.dtype, found.rows.dtype) == (torch.uint8, torch.int64, torch.int64)
    assert found.maps is None
    assert found.has_map.tolist() == [False] * 3
    assert found.failed == []
    assert found.number == 0


@pytest.mark.parametrize("augment", ["soft", "phone-flip"])
def test_the_number_of_workers_changes_no_bit(tmp_path, augment):
    images = textures(tmp_path)
    damage(images[4])
    maps = tmp_path / "maps"
    save(maps, "03.jpg.png", 1)
    batches = FixedSize(12, 4, 48).batches(0) + FixedSize(12, 3, 32).batches(1)
    runs = [
        list(load(images, np.arange(12), batches, augment, workers=workers, heat_maps=maps)) for workers in (0, 1, 2)
    ]
    assert len(runs[0]) == 7
    assert [batch.number for batch in runs[0]] == list(range(7))
    assert sum(len(batch.failed) for batch in runs[0]) == 2
    assert sum(int(batch.has_map.sum()) for batch in runs[0]) == 2
    assert equal(runs[0], runs[1])
    assert equal(runs[0], runs[2])


def test_starting_in_the_middle_gives_the_same_rest(tmp_path):
    images, batches = textures(tmp_path), FixedSize(12, 2, 32).batches(3)
    whole = list(load(images, np.arange(12), batches, "phone", workers=0))
    rest = list(load(images, np.arange(12), batches[4:], "phone", workers=0))
    assert [batch.number for batch in rest] == [0, 1]
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(whole[4:], rest, strict=True))


def test_ranks_load_what_one_process_would_even_where_images_are_damaged(tmp_path):
    images = textures(tmp_path)
    for row in (2, 3, 7, 11):
        damage(images[row])
    batches = FixedSize(12, 6, 32).batches(0)
    (together, apart) = (
        list(load(images, np.arange(12), plan, "soft", workers=0))
        for plan in (batches, [for_rank(batch, rank, 3) for batch in batches for rank in range(3)])
    )
    for number, batch in enumerate(together):
        shares = apart[3 * number : 3 * number + 3]
        assert torch.equal(batch.pixels, torch.cat([share.pixels for share in shares]))
        assert torch.equal(batch.rows, torch.cat([share.rows for share in shares]))
        assert batch.failed == sum((share.failed for share in shares), [])
    assert sorted(row for batch in together for row, _ in batch.failed) == [2, 3, 7, 11]


def test_the_next_good_image_stands_in_for_a_damaged_one_and_brings_its_label(tmp_path):
    images = colours(tmp_path, 5)
    damage(images[1])
    damage(images[2])
    damage(images[4])
    (found,) = load(images, np.arange(5) + 100, [batch_of(0, 1, 2, 3, 4)], "none", workers=0)
    # after 1 and 2 comes 3; after 4 the batch begins again with 0
    assert levels(found) == [0, 3, 3, 3, 0]
    assert found.rows.tolist() == [0, 3, 3, 3, 0]
    assert found.labels.tolist() == [100, 103, 103, 103, 100]
    assert [row for row, _ in found.failed] == [1, 2, 4]
    assert all(why.startswith("unreadable: ") for _, why in found.failed)


def test_a_stand_in_does_not_look_the_same_twice(tmp_path):
    images = textures(tmp_path, 2)
    damage(images[1])
    (found,) = load(images, np.arange(2), [batch_of(0, 1)], "phone", workers=0)
    assert not torch.equal(found.pixels[0], found.pixels[1])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_without_a_good_image_is_skipped_and_said(tmp_path, workers):
    images, said, noted = colours(tmp_path, 4), [], []
    damage(images[0])
    damage(images[1])
    batches = [batch_of(2, 3), batch_of(0, 1), batch_of(3, 1)]
    note = lambda row, why: noted.append((row, why.partition(":")[0]))  # noqa: E731
    found = list(load(images, np.arange(4), batches, "none", workers=workers, say=said.append, note=note))
    assert [batch.number for batch in found] == [0, 2]
    assert len(said) == 1
    assert said[0].startswith("batch 2 is skipped: none of its images can be decoded (00.png: unreadable: ")
    assert noted == [(0, "unreadable"), (1, "unreadable")]
    assert [row for row, _ in found[1].failed] == [1]


def test_a_damaged_image_that_occurs_twice_in_a_batch_is_listed_once(tmp_path):
    images = colours(tmp_path, 3)
    damage(images[1])
    (found,) = load(images, np.arange(3), [batch_of(1, 1, 2)], "none", workers=0)
    assert [row for row, _ in found.failed] == [1]


def test_a_heat_map_goes_with_its_image_and_the_others_have_zeros(tmp_path):
    images, maps = colours(tmp_path / "photos", 3), tmp_path / "maps"
    maps.mkdir()
    half = np.zeros((60, 80), np.uint8)
    half[:, 40:] = 255
    Image.fromarray(half).save(maps / "01.png.png")
    (maps / "02.png.png").write_bytes(b"no picture")
    (found,) = load(images, np.arange(3), [batch_of(0, 1, 2)], "none", workers=0, heat_maps=maps)
    assert found.maps.shape == (3, 1, 24, 32)
    assert found.has_map.tolist() == [False, True, False]
    assert found.maps[1, 0, :, :15].max() == 0
    assert float(found.maps[1, 0, :, 17:].min()) == pytest.approx(1)
    assert found.maps[[0, 2]].abs().sum() == 0
    assert [row for row, _ in found.failed] == [2]
    assert found.failed[0][1].startswith("unreadable: its heat map 02.png.png: ")


def test_a_stand_in_has_its_own_heat_map(tmp_path):
    images, maps = colours(tmp_path / "photos", 2), tmp_path / "maps"
    save(maps, "01.png.png", 1)
    damage(images[0])
    (found,) = load(images, np.arange(2), [batch_of(0, 1)], "none", workers=0, heat_maps=maps)
    assert found.has_map.tolist() == [True, True]
    assert torch.equal(found.maps[0], found.maps[1])


def test_two_views_of_an_image_differ_and_stand_a_batch_apart(tmp_path):
    images, maps = textures(tmp_path / "photos", 3), tmp_path / "maps"
    save(maps, "02.jpg.png", 1)
    (found,) = load(images, np.array([4, 5, 6]), [batch_of(0, 2, 1)], "soft", workers=0, views=2, heat_maps=maps)
    assert found.pixels.shape == (6, 3, 24, 32)
    assert found.rows.tolist() == [0, 2, 1, 0, 2, 1]
    assert found.labels.tolist() == [4, 6, 5, 4, 6, 5]
    assert found.has_map.tolist() == [False, True, False] * 2
    for place in range(3):
        assert not torch.equal(found.pixels[place], found.pixels[place + 3])
    (once,) = load(images, np.array([4, 5, 6]), [batch_of(0, 2, 1)], "soft", workers=0)
    assert torch.equal(once.pixels, found.pixels[:3])


def test_both_seeds_and_the_place_change_the_view_and_nothing_else_does(tmp_path):
    images = textures(tmp_path, 3)

    def pixels(batch: Batch, seed: int = 0) -> torch.Tensor:
        (found,) = load(images, np.arange(3), [batch], "soft", workers=0, seed=seed)
        return found.pixels

    first = pixels(batch_of(0, 1, 1))
    assert torch.equal(first, pixels(batch_of(0, 1, 1)))
    assert torch.equal(first[1], pixels(batch_of(2, 1, 0))[1])
    assert not torch.equal(first[1], first[2])
    assert not torch.equal(first, pixels(batch_of(0, 1, 1, seed=6)))
    assert not torch.equal(first, pixels(batch_of(0, 1, 1), seed=1))


@pytest.mark.parametrize(("augment", "side"), [("none", 125), ("soft", 150), ("phone", 200)])
def test_images_are_decoded_somewhat_larger_than_they_are_seen(tmp_path, monkeypatch, augment, side):
    from imgret.training.batches import samples

    asked, plain = [], samples.decode
    monkeypatch.setattr(samples, "decode", lambda image, rule: (asked.append(rule), plain(image, rule))[1])
    images = colours(tmp_path, 1)
    for size in [(300, 100), (100, 300), (100, 100)]:
        list(load(images, np.zeros(1), [batch_of(0, size=size)], augment, workers=0))
    # 1.25, 1.5 or 2 times the longer side; for a square, of the longer side of a 4:3 photograph: 100 * 4/3
    assert [rule.size for rule in asked] == [3 * side, 3 * side, round(side * 4 / 3)]
    assert all(rule.scaled and rule.exif for rule in asked)


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_outside_is_drawn_from_or_seeded_or_left_changed(tmp_path, workers):
    images, batches = textures(tmp_path), FixedSize(12, 4, 32).batches(0)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(load(images, np.arange(12), batches, "phone", workers=workers))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("end", ["close", "raise"])
def test_workers_end_when_the_consumer_stops_early(tmp_path, end):
    images = textures(tmp_path)
    batches = [batch for epoch in range(20) for batch in FixedSize(12, 2, 32).batches(epoch)]
    found = load(images, np.arange(12), batches, "soft", workers=2)
    if end == "close":
        next(found)
        assert len(multiprocessing.active_children()) == 2
        found.close()
    else:
        with pytest.raises(ZeroDivisionError):
            stopped(found)
        del found
    assert multiprocessing.active_children() == []


def stopped(batches) -> None:
    for _ in batches:
        raise ZeroDivisionError


def test_batches_are_asked_for_only_a_little_ahead(tmp_path):
    images, taken = textures(tmp_path), []

    def plan():
        for epoch in range(100):
            taken.append(epoch)
            yield FixedSize(12, 4, 32).batches(epoch)[0]

    found = load(images, np.arange(12), plan(), "none", workers=2)
    for _ in range(3):
        next(found)
    found.close()
    # three handed out, and two for each worker under way
    assert len(taken) <= 3 + 2 * 2


def test_what_is_asked_must_make_sense_before_anything_is_read(tmp_path):
    images = colours(tmp_path, 2)
    with pytest.raises(UnknownNameError, match="did you mean soft"):
        load(images, np.zeros(2), [], "sofd", workers=0)
    with pytest.raises(InputError, match="no folder .*absent of heat maps"):
        load(images, np.zeros(2), [], "none", workers=0, heat_maps=tmp_path / "absent")
    with pytest.raises(ValueError, match=r"must be \[2\]"):
        load(images, np.zeros(3), [], "none", workers=0)
    for wrong in ({"workers": -1}, {"workers": 0, "views": 0}, {"workers": 0, "seed": -1}):
        with pytest.raises(ValueError, match="must not be negative"):
            load(images, np.zeros(2), [], "none", **wrong)
