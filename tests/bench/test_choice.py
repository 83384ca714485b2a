"""Flags from figures that can be added up by hand."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from imgret.bench.choice import break_even, choose, choose_workers, command, explain
from imgret.bench.machine import Hardware
from imgret.bench.report import Cosine, Decoding, Describing, Together
from imgret.extraction.job import ExtractJob

TWO_CORES, GPU = Hardware(2, on_gpu=False), Hardware(2, on_gpu=True)
SAME, NEAR, FAR = Cosine(1.0, 1.0, 8), Cosine(0.998, 0.992, 8), Cosine(0.98, 0.95, 8)
EXACT = Decoding("exact", "pillow", 0.2, SAME)
SCALED = Decoding("scaled", "pillow", 0.05, NEAR)
ABSENT = [Decoding(how, "simplejpeg", why_not="not installed") for how in ("scaled", "exact")]
FP32 = Describing("fp32", False, 0.4, cosine=SAME)
FP32_COMPILED = Describing("fp32", True, 0.3, start=20.0, cosine=SAME)
BF16 = Describing("bf16", False, 0.2, cosine=NEAR)
BF16_COMPILED = Describing("bf16", True, 0.1, start=30.0, cosine=NEAR)
ALL = [FP32, FP32_COMPILED, BF16, BF16_COMPILED]


def both(model=BF16, way=SCALED, workers=2, seconds=1.0):
    return Together(model.precision, model.compile, way.decode, workers, seconds, 0.5)


def test_on_a_processor_the_ideal_is_decoding_over_the_cores_and_then_the_model():
    assert TWO_CORES.ideal(0.2, 0.4) == pytest.approx(0.2 / 2 + 0.4)
    assert GPU.ideal(0.2, 0.4) == 0.4
    assert GPU.ideal(0.2, 0.04) == 0.2 / 2


def test_compiling_pays_from_its_start_over_what_an_image_saves():
    assert break_even(BF16, BF16_COMPILED) == 300  # 30 s / (0.2 - 0.1) s
    assert break_even(BF16, Describing("bf16", True, 0.2, start=30.0)) is None
    assert break_even(BF16, Describing("bf16", True, 0.199, start=30.0)) is None  # as good as nothing
    assert break_even(BF16, Describing("bf16", True, why_not="no compiler")) is None


@pytest.mark.parametrize(("count", "compile"), [(299, False), (301, True)])
def test_the_number_of_images_decides_whether_to_compile(count, compile):
    model, way = choose([SCALED, EXACT, *ABSENT], ALL, count, TWO_CORES)
    assert (model.precision, model.compile, way.decode) == ("bf16", compile, "scaled")


def test_a_way_whose_descriptors_stray_is_never_chosen():
    scaled = Decoding("scaled", "pillow", 0.001, FAR)
    short = Describing("bf16", False, 0.001, cosine=FAR)
    model, way = choose([scaled, EXACT, *ABSENT], [FP32, short], 1000, TWO_CORES)
    assert (model.precision, way.decode) == ("fp32", "exact")


def test_pixels_and_precision_are_not_given_up_for_next_to_nothing():
    scaled = Decoding("scaled", "pillow", 0.19, NEAR)
    short = Describing("bf16", False, 0.39, cosine=NEAR)
    # 0.19 / 2 + 0.39 = 0.485 of 0.2 / 2 + 0.4 = 0.5 together, but less than 3 % each
    model, way = choose([scaled, EXACT, *ABSENT], [FP32, short], 1000, TWO_CORES)
    assert (model.precision, way.decode) == ("fp32", "exact")


def test_a_gpu_that_waits_for_decoding_stays_in_full_precision():
    # decoding takes 0.05 / 2 s: neither 0.02 nor 0.01 s of describing is seen
    quick = [Describing("fp32", False, 0.02, cosine=SAME), Describing("bf16", False, 0.01, cosine=NEAR)]
    assert choose([SCALED, EXACT, *ABSENT], quick, 1000, GPU)[0].precision == "fp32"


def test_where_simplejpeg_is_installed_its_figures_count_for_extract_will_use_it():
    fast = [Decoding("scaled", "simplejpeg", 0.05, NEAR), Decoding("exact", "simplejpeg", 0.05, SAME)]
    assert choose([SCALED, EXACT, *fast], ALL, 10, TWO_CORES)[1] == fast[1]


def test_other_workers_than_one_a_core_must_be_worth_it():
    assert choose_workers([both(workers=2), both(workers=1, seconds=0.98)], 2).workers == 2
    assert choose_workers([both(workers=2), both(workers=1, seconds=0.9)], 2).workers == 1


def test_the_command_keeps_the_options_given_and_quotes_what_must_be():
    job = ExtractJob(images=("my photos",), output=Path("store"), model="gem", image_size=512, scales=(1.0, 0.7071))
    line = command(job, both())
    assert shlex.split(line) == [
        *("imgret", "extract", "my photos", "-o", "store", "--model", "gem", "--image-size", "512"),
        *("--scales", "1,0.7071", "--precision", "bf16", "--no-compile", "--decode", "scaled", "--workers", "2"),
    ]


def test_the_reasons_say_what_is_gained_and_what_it_costs():
    job = ExtractJob(images=("photos",), output=Path("store"))
    found = explain(job, both(), [SCALED, EXACT, *ABSENT], ALL, count=87)
    assert found.break_even == 300
    assert found.reasons == (
        "bf16 describes 2.0 times as fast as fp32, at a cosine of 0.9980.",
        "--compile makes the model 2.0 times as fast after a start of 30 s, which pays from 300 images on; "
        "there are 87, so do not compile.",
        "Scaled decoding is 4.0 times as fast as exact, at a cosine of 0.9980.",
    )


def test_what_was_not_tried_is_said_with_its_reason():
    job = ExtractJob(images=(), output=Path("store"))
    rows = [FP32, Describing("fp32", True, why_not="no C++ compiler")]
    found = explain(job, both(FP32, EXACT), [SCALED, EXACT, *ABSENT], rows, count=None)
    assert found.break_even is None
    assert "--compile was not tried: no C++ compiler." in found.reasons
    assert found.command.startswith("imgret extract photos/ -o store")
