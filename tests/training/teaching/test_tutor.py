"""Whole runs with a teacher: a tiny GeM with weights of its own teaches a tiny GLAM."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from imgret.errors import ImgretError
from imgret.models import load_model, save_weights
from imgret.models.gem import GeMModel
from imgret.training import journal
from imgret.training.loop import Trainer
from imgret.training.recipe import Recipe, Teacher, deciding
from imgret.training.recipe_file import from_dict
from imgret.workflows.training import training_sets
from tests.pictures import save

IMAGES = 16


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(IMAGES):
        save(folder, f"{number % 2}/{number:02d}.png", number, (48, 40))
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Random in truth; what counts is that it is another model, and always the same."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    torch.manual_seed(7)
    save_weights(GeMModel("test_resnet").eval(), path, {})
    return path


def recipe_of(photos, teacher, **changes) -> Recipe:
    tree = {
        "data": {"dataset": str(photos)},
        "model": {"name": "glam", "backbone": "test_resnet", "arguments": {"dim": 16, "dropout": 0.0}},
        "batches": {"kind": "fixed", "size": 64, "batch_size": 8, "workers": 0, "augment": "phone-scenes"},
        "loss": {"weight": 0.0},
        "teacher": {"model": str(teacher), "windows": 2, "bank": 6, "map_channels": 8, "grid": 2},
        "optimiser": {"name": "adamw", "lr": 5e-3},
        "schedule": {"epochs": 4},
        "run": {"device": "cpu", "precision": "fp32", "save_minutes": 1e-9},
    }
    for name, value in changes.items():
        section, _, key = name.partition("__")
        tree.setdefault(section, {})[key] = value
    return from_dict(tree, "a test")


def trainer(recipe, folder, **options) -> Trainer:
    images, _ = training_sets(recipe)
    return Trainer(recipe, folder, images, torch.device("cpu"), "fp32", say=lambda text: None, **options)


def losses(folder):
    return [line["loss"] for line in journal.read(folder / journal.METRICS) if "loss" in line]


class Stop(Exception):
    """What a test raises in the middle of a run."""


def test_the_teacher_answers_each_window_of_each_image_once(photos, teacher, tmp_path):
    run = trainer(recipe_of(photos, teacher), tmp_path / "run")
    asked = []
    run._start()
    run.tutor.teacher.register_forward_hook(lambda module, inputs, output: asked.append(len(output)))
    run._epochs()
    assert sum(asked) == IMAGES * 2  # 4 epochs see 2 windows twice
    assert run.tutor.answers.known(np.arange(IMAGES).repeat(2), np.tile([0, 1], IMAGES)).all()


def test_the_teacher_sees_the_students_window_without_light_or_backdrop(photos, teacher, tmp_path):
    run = trainer(recipe_of(photos, teacher), tmp_path / "run")
    run._start()
    first, again = (next(iter(run._source(epoch, 0))) for epoch in (0, 2))  # windows 0 and 0
    model = load_model(teacher).model
    for batch in (first, again):
        with torch.no_grad():
            wanted = model(batch.plain.float() / 255)
        told = run.tutor.taught(batch, step=0)
        assert torch.allclose(told.rows, wanted, atol=1e-3)  # kept in float16
        batch_of_row = dict(zip(batch.rows.tolist(), batch.plain, strict=True))
        if batch is first:
            before = batch_of_row
    common = before.keys() & batch_of_row.keys()
    assert common
    assert all(torch.equal(before[row], batch_of_row[row]) for row in common)


def test_a_student_comes_nearer_to_its_teacher(photos, teacher, tmp_path):
    trainer(recipe_of(photos, teacher, schedule__epochs=30), tmp_path / "run").run()
    found = losses(tmp_path / "run")
    assert sum(found[-6:]) < 0.85 * sum(found[:6])


@pytest.mark.parametrize("after", [3, 6])
def test_a_taught_run_that_stops_goes_on_as_if_it_had_not(photos, teacher, tmp_path, after):
    recipe = recipe_of(photos, teacher)
    trainer(recipe, tmp_path / "whole").run()

    def stop(done, total, loss, rate):
        if done == after:
            raise Stop

    with pytest.raises(Stop):
        trainer(recipe, tmp_path / "cut", show=stop).run()
    trainer(recipe, tmp_path / "cut").run()
    assert losses(tmp_path / "cut") == pytest.approx(losses(tmp_path / "whole"), rel=1e-6)


def test_the_teachers_loss_joins_the_loss_on_labels(photos, teacher, tmp_path):
    both = recipe_of(photos, teacher, loss__weight=1.0, schedule__epochs=1)
    alone = replace(both, loss=replace(both.loss, weight=0.0))
    trainer(both, tmp_path / "both").run()
    trainer(alone, tmp_path / "alone").run()
    # the weights start alike, so the first batch differs by ArcFace alone: about its scale
    assert losses(tmp_path / "both")[0] > losses(tmp_path / "alone")[0] + 1


def test_random_weights_teach_nobody(photos, teacher, tmp_path):
    recipe = recipe_of(photos, teacher, teacher__model="gem", teacher__backbone="test_resnet", teacher__weights="none")
    with pytest.raises(ImgretError, match="random weights, and nothing to teach"):
        trainer(recipe, tmp_path / "run").run()


def test_a_student_without_one_last_map_is_refused(photos, teacher, tmp_path):
    recipe = recipe_of(photos, teacher, model__name="dalg", model__backbone="test_resnet", model__arguments={"dim": 16})
    with pytest.raises(ImgretError, match="teacher.map_weight: the student has not one last map"):
        trainer(recipe, tmp_path / "run").run()


@pytest.mark.parametrize("backbone", ["test_vit", "test_convnext"])
def test_a_teacher_without_a_map_teaches_by_its_descriptors_alone(photos, tmp_path, backbone):
    path = tmp_path / "teacher.safetensors"
    torch.manual_seed(7)
    save_weights(GeMModel(backbone).eval(), path, {})
    with pytest.raises(ImgretError, match="the teacher has not one last map.*--set teacher.map_weight=0"):
        trainer(recipe_of(photos, path), tmp_path / "run").run()
    trainer(recipe_of(photos, path, teacher__map_weight=0.0), tmp_path / "rows").run()
    again = trainer(recipe_of(photos, path, teacher__map_weight=0.0), tmp_path / "rows")
    again.run()  # at its end already; its answers are read back
    assert again.tutor.answers.known(np.arange(IMAGES), np.zeros(IMAGES, int)).all()
    assert len(losses(tmp_path / "rows")) == 8


def test_a_teacher_alone_needs_no_labels(photos, teacher, tmp_path):
    unlabelled = tmp_path / "photos"
    unlabelled.mkdir()
    for number in range(8):
        save(unlabelled, f"{number}.png", number, (48, 40))
    listed = tmp_path / "list.csv"
    listed.write_text("path,label\n" + "".join(f"photos/{number}.png,\n" for number in range(8)))
    recipe = recipe_of(listed, teacher, schedule__epochs=1)
    report = trainer(recipe, tmp_path / "run").run()
    assert report.images == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher__own": 0.7, "teacher__label": 0.4}, "shares of 1, got 0.7 and 0.4"),
        ({"loss__name": "triplet", "batches__batch_size": 14}, "teacher.model is for losses on labels"),
    ],
)
def test_what_cannot_be_meant_is_one_line(photos, teacher, changes, words):
    with pytest.raises(ImgretError, match=words):
        recipe_of(photos, teacher, **changes)


def test_a_loss_of_no_weight_without_a_teacher_is_refused_with_what_to_type(photos, teacher, tmp_path):
    recipe = replace(recipe_of(photos, teacher), teacher=Teacher())
    with pytest.raises(ImgretError, match="--set teacher.model=FILE.safetensors"):
        trainer(recipe, tmp_path / "run").run()


def test_settings_of_a_teacher_that_is_not_there_decide_nothing():
    assert not any(key.startswith("teacher.") for key in deciding(from_dict({"teacher": {"own": 0.5}}, "a test")))
