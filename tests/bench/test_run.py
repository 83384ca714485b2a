"""The whole bench with a model anyone can compute, on drawn pictures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from imgret.bench import describing, run, sample
from imgret.bench.describing import PLAIN
from imgret.cli.app import app
from imgret.errors import InputError
from imgret.extraction.job import ExtractJob
from imgret.models import MODELS
from tests.pictures import save
from tests.toy import MEAN_COLOUR

ROOT = Path(__file__).parent.parent.parent
TINY = replace(run.QUICK, looking=60, decoding=0.1, describing=60, together=0.1)  # as much as there is, once


def job_of(*images: Path, **more) -> ExtractJob:
    names = tuple(map(str, images))
    made = ExtractJob(images=names, output=Path("store"), model="mean-colour", weights="none", image_size=96)
    return replace(made, device="cpu", **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine JPEGs of two sizes and one that is none."""
    place = tmp_path_factory.mktemp("photos")
    for number in range(9):
        save(place, f"{number}.jpg", number, (400, 300) if number < 6 else (300, 400))
    (place / "broken.jpg").write_bytes(b"\xff\xd8\xff but no more")
    return place


@pytest.fixture(scope="module")
def report(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "mean-colour", MEAN_COLOUR)
        return run.bench(job_of(folder), effort=TINY)


def test_every_step_has_its_row(report):
    assert [(row.decode, row.reader) for row in report.decoding] == [
        *(("scaled", "pillow"), ("exact", "pillow"), ("scaled", "simplejpeg"), ("exact", "simplejpeg"))
    ]
    assert [(row.precision, row.compile) for row in report.describing] == list(describing.VARIANTS)
    assert report.reading.bytes > 100
    assert all(row.seconds > 0 and row.ideal > 0 for row in report.together)


def test_the_plain_model_is_what_the_others_are_compared_with(report):
    plain = report.describing[0]
    assert plain.cosine.lowest == pytest.approx(1, abs=1e-6)
    # colours change little when a JPEG is decoded at a quarter
    assert 0.99 < report.decoding[0].cosine.lowest < 1 + 1e-6
    assert report.decoding[0].cosine.count == 9
    assert report.together[0].cosine.lowest > 0.99


def test_what_cannot_run_is_named_with_its_reason(report):
    reasons = {(row.precision, row.compile): row.why_not for row in report.describing if row.seconds is None}
    assert reasons["fp32", True] == "left out by --quick"
    assert reasons["fp16", False] == "fp16 is for GPUs"


def test_an_unreadable_image_is_counted_and_left_out(report):
    assert (report.images["found"], report.images["read"], report.images["unreadable"]) == (10, 9, 1)


def test_the_document_is_plain_json_with_the_share_of_the_ideal(report):
    document = json.loads(json.dumps(report.document(), allow_nan=False))
    assert document["schema"] == "imgret.bench/1"
    row = document["together"][0]
    assert row["share"] == pytest.approx(row["ideal"] / row["seconds"])
    assert document["choice"]["command"].startswith("imgret extract ")
    assert document["images"]["seed"] == 0


def test_a_folder_without_one_readable_image_is_the_users_to_mend(mean_colour, tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match="none of the 1 images tried can be read"):
        run.bench(job_of(tmp_path), effort=TINY)


def test_the_sample_is_the_same_each_time_and_in_order(folder):
    one, again = sample.take([str(folder)], 4), sample.take([str(folder)], 4)
    names = [image.id for image in one.images]
    assert names == [image.id for image in again.images] == sorted(names)
    assert (len(names), one.found) == (4, 10)


def test_without_images_pictures_of_twelve_megapixels_are_drawn(tmp_path):
    from PIL import Image

    drawn = sample.draw(tmp_path, 2)
    assert drawn.drawn
    assert len(drawn.images) == 2
    for image in drawn.images:
        with Image.open(image.path) as picture:
            assert sorted(picture.size) == [3000, 4000]


def test_images_of_one_size_make_a_full_batch_and_count_as_often_as_they_occur():
    pixels = [np.full((2, 3, 3), 0), np.full((4, 4, 3), 1), np.full((2, 3, 3), 2), np.full((2, 3, 3), 3)]
    made = describing.groups(pixels, batch_size=2)
    assert [(group.numbers, group.weight) for group in made] == [([0, 2], 3), ([1], 1)]
    assert made[1].pixels.shape == (2, 4, 4, 3)  # the only one, twice


class Describes:
    """A describer that fails."""

    settled = True

    def expect(self, images, side):
        pass

    def __call__(self, pixels):
        raise torch.OutOfMemoryError("no room\nand much more")


def described(job, variants):
    groups = describing.groups([np.full((8, 8, 3), 200, np.uint8)], 1)
    rows = describing.warm_up(variants, groups, expected=1, side=8)
    return {(row.precision, row.compile): row for row in describing.measure(variants, groups, rows, 1)}


def test_a_model_that_does_not_compile_is_a_row_and_no_error(mean_colour, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)  # no compiler is found
    job = job_of()
    plain = describing.load(job, lambda text: None)
    found = described(job, describing.load_variants(job, plain, compiled=""))
    assert found["fp32", True].why_not == "no C++ compiler is installed"
    assert found[PLAIN].cosine.count == 1


def test_a_variant_that_fails_is_a_row_with_the_first_line_of_why(mean_colour):
    job = job_of()
    variants = describing.load_variants(job, describing.load(job, lambda text: None), compiled="left out")
    variants.describers["bf16", False] = Describes()
    variants.why_not.pop(("bf16", False), None)
    assert described(job, variants)["bf16", False].why_not == "no room"


def test_a_failure_of_the_plain_model_is_not_hidden():
    with pytest.raises(torch.OutOfMemoryError):
        described(job_of(), describing.Bench({PLAIN: Describes()}))


@pytest.fixture
def shown(report, monkeypatch):
    """Run the command on the report that was made above."""
    asked = []

    def bench(job, *, images, effort, say, doing):
        asked.append((job, images, effort))
        return report

    monkeypatch.setattr(run, "bench", bench)

    def command(*arguments):
        result = CliRunner().invoke(app, ["bench", *arguments])
        assert result.exit_code == 0, result.output
        return result, asked[-1]

    return command


def test_the_last_line_of_stdout_can_be_pasted_and_the_reasons_are_talk(shown, report):
    result, _ = shown("photos")
    assert result.stdout.splitlines()[-1] == report.choice.command
    assert result.stderr.splitlines() == list(report.choice.reasons)
    assert "both together" in result.stdout
    assert "fp16 is for GPUs" in result.stdout
    assert shown("photos", "-q")[0].stderr == ""


def test_a_narrow_terminal_loses_the_bars_and_no_figure(shown, report, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    narrow = shown("photos")[0].stdout
    assert "█" not in narrow
    assert f"{1000 * report.describing[0].seconds:,.2f}" in narrow
    assert f"{report.describing[0].cosine.lowest:.4f}" in narrow
    monkeypatch.setenv("COLUMNS", "120")
    assert "█" in shown("photos")[0].stdout


def test_the_model_options_reach_the_bench(shown):
    words = "photos -m gem --backbone resnet18 --weights none --image-size 96 --scales 1,0.5 --device cpu -n 5"
    job, images, effort = shown(*words.split())[1]
    assert (job.images, job.model, job.backbone, job.weights) == (("photos",), "gem", "resnet18", "none")
    assert (job.image_size, job.scales, job.device, images) == (96, (1.0, 0.5), "cpu", 5)
    assert effort.compile
    assert not shown("photos", "--quick")[1][2].compile


def test_json_is_all_of_stdout(shown, report):
    result, _ = shown("--json")
    assert json.loads(result.stdout) == json.loads(json.dumps(report.document()))


@pytest.mark.slow
def test_the_shipped_model_is_measured_as_a_user_types_it(folder):
    line = [sys.executable, "-m", "imgret", "bench", str(folder), "--quick", "--image-size", "64"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.splitlines()[-1].startswith(f"imgret extract {folder} -o store --image-size 64 --precision")
