from __future__ import annotations

import sys

import numpy as np
import pytest

from imgret.images import files, slots, stream
from imgret.images.decode import DecodeRule
from imgret.images.slots import Slots, make_slots
from imgret.images.stream import decode_stream
from tests.pictures import save

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory without a name")


@linux
def test_pixels_come_out_of_a_slot_as_they_went_in():
    memory = Slots(3, 60)
    first, second = (np.full((4, 5, 3), value, np.uint8) for value in (7, 9))
    assert memory.put(0, first)
    assert memory.put(1, second)
    assert (memory.take(0, (4, 5, 3)) == 7).all()
    assert (memory.take(1, (4, 5, 3)) == 9).all()
    memory.close()


@linux
def test_pixels_that_are_too_large_for_a_slot_are_refused():
    memory = Slots(2, 59)
    assert not memory.put(0, np.zeros((4, 5, 3), np.uint8))
    memory.close()


@linux
def test_what_is_taken_stays_when_the_slot_is_used_again():
    memory = Slots(1, 12)
    memory.put(0, np.full((2, 2, 3), 1, np.uint8))
    taken = memory.take(0, (2, 2, 3))
    memory.put(0, np.full((2, 2, 3), 2, np.uint8))
    assert (taken == 1).all()
    memory.close()


@pytest.mark.parametrize("shared", [True, False])
def test_pixels_are_the_same_through_shared_memory_and_through_a_pipe(tmp_path, monkeypatch, shared):
    for number in range(12):
        save(tmp_path, f"{number:02d}.png", number, (30, 20 + number))
    if not shared:
        monkeypatch.setattr(stream, "make_slots", lambda count, size: None)
    images = list(files.find([str(tmp_path)]).images)
    plain = [result.pixels for _, result in decode_stream(images, DecodeRule(32), workers=0)]
    found = [result.pixels for _, result in decode_stream(images, DecodeRule(32), workers=1, window=3)]
    assert all((one == other).all() for one, other in zip(found, plain, strict=True))


def test_pictures_larger_than_the_size_asked_for_go_through_the_pipe(tmp_path):
    for number in range(6):
        save(tmp_path, f"{number}.png", number, (60, 60))
    images = list(files.find([str(tmp_path)]).images)
    rule = DecodeRule(32, slack=2.0)  # left as they are, twice as large as a slot allows for
    found = [result.pixels.shape for _, result in decode_stream(images, rule, workers=1)]
    assert found == [(60, 60, 3)] * 6


def test_systems_without_nameless_memory_have_no_slots(monkeypatch):
    monkeypatch.setattr(slots.sys, "platform", "darwin")
    assert make_slots(4, 100) is None
