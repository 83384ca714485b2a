from __future__ import annotations

from imgret.extraction.bottleneck import bottleneck
from imgret.extraction.stream import Clock


def test_the_largest_share_is_named_with_what_would_help():
    clock = Clock(decoding=1.0, describing=8.0, writing=0.5, decode_cpu=4.0, decoded=100)
    words = bottleneck(clock, 10.0, 100, {"scales": [1.0, 0.5]})
    assert "the model, 80% of the time (80.0 ms an image)" in words  # 8 s of 10 s over 100 images
    assert "one scale" in words


def test_decoding_is_told_by_what_an_image_costs_one_core():
    clock = Clock(decoding=6.0, describing=2.0, decode_cpu=12.0, decoded=100)
    words = bottleneck(clock, 10.0, 100, {"decode": "exact"})
    assert "decoding, waited for 60% of the time (120.0 ms of one core an image)" in words
    assert "--decode scaled" in words


def test_a_slow_disk_is_told_too():
    assert "writing, 70%" in bottleneck(Clock(decoding=1.0, describing=1.0, writing=7.0), 10.0, 5, {})


def test_nothing_done_is_no_bottleneck():
    assert bottleneck(Clock(), 0.0, 0, {}) == ""


def test_who_has_a_gpu_is_not_told_to_get_one():
    clock = Clock(decoding=1.0, describing=8.0)
    assert "A GPU, or in a new store" in bottleneck(clock, 10.0, 100, {})
    words = bottleneck(clock, 10.0, 100, {}, "cuda")
    assert "GPU" not in words
    assert "In a new store a smaller --image-size would help" in words


def test_the_start_of_the_workers_is_no_bottleneck():
    assert "the model" in bottleneck(Clock(starting=6.0, decoding=1.0, describing=2.0), 10.0, 100, {})
