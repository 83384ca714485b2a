"""Whole runs on drawn pictures: stopped anywhere they end as if never stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from imgret import workflows
from imgret.errors import ImgretError
from imgret.models import load_model, read_card
from imgret.store import failures as register
from imgret.store.lock import WriterLock
from imgret.tables import resolve
from imgret.training import checkpoints, journal
from imgret.training.loop import Trainer
from imgret.training.losses import LOSSES
from imgret.training.losses.classifiers import ArcFace
from imgret.training.recipe import Recipe
from imgret.training.recipe_file import from_dict, to_toml
from imgret.training.start import classifier_note, start_loss, start_model
from imgret.workflows.training import training_sets
from tests.pictures import save

CLASSES, EACH = 6, 8


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six classes of eight like pictures, of two shapes, and one damaged file."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(CLASSES * EACH):
        size = (48, 40) if number % 2 else (40, 48)
        save(folder, f"class-{number // EACH}/{number:02d}.png", number // EACH, size)
    (folder / "class-0" / "broken.png").write_bytes(b"no image")
    return folder


def recipe_of(photos, **changes) -> Recipe:
    tree = {
        "data": {"dataset": str(photos)},
        "model": {"name": "gala", "backbone": "test_resnet", "arguments": {"dim": 16}},
        "batches": {"kind": "fixed", "size": 64, "batch_size": 8, "workers": 0, "augment": "soft"},
        "loss": {"name": "arcface", "arguments": {"margin": 0.1, "scale": 16.0}},
        "optimiser": {"lr": 0.05, "ema": 0.9, "clip": 5.0},
        "schedule": {"epochs": 2, "warmup_epochs": 0.5},
        "run": {"device": "cpu", "precision": "fp32"},
    }
    for name, value in changes.items():
        section, _, key = name.partition("__")
        tree.setdefault(section, {})[key] = value
    return from_dict(tree, "a test")


def run(recipe, folder, **options):
    images, _ = training_sets(recipe)
    said = []
    report = Trainer(recipe, folder, images, torch.device("cpu"), "fp32", say=said.append, **options).run()
    return report, said


def losses(folder):
    return [line["loss"] for line in journal.read(folder / journal.METRICS) if "loss" in line]


def test_a_run_ends_with_weights_a_curve_and_a_journal(photos, tmp_path):
    report, _ = run(recipe_of(photos), tmp_path / "run")
    assert report.stopped == "done"
    assert report.progress.step == 2 * 6  # 49 images make 6 batches of 8
    assert set(report.failed) == {"class-0/broken.png"}
    assert (tmp_path / "run/curves.png").stat().st_size > 1000
    loaded = load_model(tmp_path / "run/best.safetensors")
    assert loaded.trained
    assert loaded.identity["model"] == "gala"
    assert len(losses(tmp_path / "run")) == 12


def test_weights_say_what_they_learned_from_but_not_where_it_lies_on_this_machine(photos, tmp_path):
    run(recipe_of(photos, schedule__epochs=1), tmp_path / "run")
    noted = read_card(tmp_path / "run/best.safetensors")["provenance"]
    assert noted["recipe"]["data.dataset"] == photos.name
    assert str(photos.parent) not in json.dumps(noted)


def test_training_makes_the_loss_smaller(photos, tmp_path):
    run(recipe_of(photos, schedule__epochs=8), tmp_path / "run")
    found = losses(tmp_path / "run")
    assert sum(found[-6:]) < 0.7 * sum(found[:6])


def test_the_same_seed_gives_the_same_run_and_another_does_not(photos, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(recipe_of(photos, run__seed=seed), tmp_path / name)
    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")


def same_weights(*folders):
    one, other = (load_model(folder / "best.safetensors").model.state_dict() for folder in folders)
    return one.keys() == other.keys() and all(torch.equal(tensor, other[key]) for key, tensor in one.items())


class Stop(Exception):
    """What a test raises in the middle of a run."""


@pytest.mark.parametrize("after", [3, 6, 8])
def test_a_run_that_stops_goes_on_as_if_it_had_not(photos, tmp_path, after):
    recipe = replace(recipe_of(photos), run=replace(recipe_of(photos).run, save_minutes=1e-9))  # after each batch
    whole, _ = run(recipe, tmp_path / "whole")

    def stop(done, total, loss, rate):
        if done == after:
            raise Stop

    with pytest.raises(Stop):
        run(recipe, tmp_path / "cut", show=stop)
    resumed, said = run(recipe, tmp_path / "cut")
    assert any(line.startswith("going on from epoch") for line in said)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert resumed.progress == whole.progress
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_a_run_killed_by_the_system_goes_on_from_its_last_checkpoint(photos, tmp_path):
    command = [sys.executable, "-m", "imgret", "train", str(tmp_path / "recipe.toml"), "-q", "-o"]
    recipe = recipe_of(photos, schedule__epochs=6, run__save_minutes=1e-9)
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    subprocess.run([*command, str(tmp_path / "whole")], check=True, timeout=300)
    process = subprocess.Popen([*command, str(tmp_path / "cut")])
    metrics = tmp_path / "cut" / journal.METRICS
    until = time.monotonic() + 200
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 9) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([*command, str(tmp_path / "cut")], check=True, timeout=300)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


def test_a_finished_run_is_not_begun_again(photos, tmp_path):
    run(recipe_of(photos), tmp_path / "run")
    before = (tmp_path / "run" / journal.METRICS).read_bytes()
    report, _ = run(recipe_of(photos), tmp_path / "run")
    assert report.images == 0
    assert (tmp_path / "run" / journal.METRICS).read_bytes() == before


def test_a_run_that_stopped_early_is_not_begun_again(photos, tmp_path):
    recipe = recipe_of(photos, schedule__epochs=5, validation__patience=1, validation__hold_out=0.34)
    run(recipe, tmp_path / "run", validate=lambda model: 0.5)  # the second is no better
    report, _ = run(recipe, tmp_path / "run", validate=lambda model: 0.9)
    assert (report.stopped, report.images) == ("no better for 1 validations", 0)
    assert report.progress.best_score == 0.5


def test_another_recipe_does_not_go_on_in_the_same_folder(photos, tmp_path):
    run(recipe_of(photos), tmp_path / "run")
    with pytest.raises(ImgretError, match=r"schedule\.epochs"):
        run(recipe_of(photos, schedule__epochs=3), tmp_path / "run")


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_checkpoint(photos, tmp_path):
    recipe = recipe_of(photos, optimiser__lr=0.05, schedule__epochs=3)

    def poison(done, total, loss, rate):
        if done == 8:
            with torch.no_grad():
                trainer.model.projection.fc.weight.fill_(float("nan"))

    images, _ = training_sets(recipe)
    trainer = Trainer(recipe, tmp_path / "run", images, torch.device("cpu"), "fp32", say=lambda text: None, show=poison)
    with pytest.raises(ImgretError, match=r"the loss is nan in epoch 2, batch 3 of 6; the last good checkpoint"):
        trainer.run()
    assert checkpoints.load(tmp_path / "run/last.pt", trainer.identity).progress.epoch == 1


def test_a_step_that_spoils_the_weights_reaches_no_checkpoint_and_no_validation(photos, tmp_path):
    recipe = recipe_of(photos, schedule__epochs=3, validation__hold_out=0.34)
    judged = []

    def poison(done, total, loss, rate):
        if done == total * 2 // 3:  # after the last step of the second epoch, whose loss was a number
            with torch.no_grad():
                trainer.model.projection.fc.weight[0, 0] = float("inf")

    def validate(model):
        judged.append(1)
        return 0.5

    images, _ = training_sets(recipe)
    options = {"say": lambda text: None, "show": poison, "validate": validate}
    trainer = Trainer(recipe, tmp_path / "run", images, torch.device("cpu"), "fp32", **options)
    with pytest.raises(ImgretError, match=r"the weights are not finite in epoch 2, .*the last good checkpoint"):
        trainer.run()
    assert checkpoints.load(tmp_path / "run/last.pt", trainer.identity).progress.epoch == 1
    assert len(judged) == 1


def test_a_run_that_diverges_before_its_first_checkpoint_does_not_speak_of_one(photos, tmp_path):
    with pytest.raises(ImgretError, match=r"the loss is nan in epoch 1, batch 2 of 6; no checkpoint in "):
        run(recipe_of(photos, optimiser__lr=1e30), tmp_path / "run")


def test_images_that_fail_are_listed_in_the_run_and_stay_listed(photos, tmp_path):
    run(recipe_of(photos), tmp_path / "run")
    (found,) = register.load(tmp_path / "run/failures.csv")
    assert (found.id, found.reason) == ("class-0/broken.png", "unreadable")
    assert found.path == str(photos / "class-0/broken.png")
    assert found.bytes == len(b"no image")
    again, _ = run(recipe_of(photos), tmp_path / "run")  # trained to its end, opens nothing
    assert set(again.failed) == {"class-0/broken.png"}


def test_images_left_out_of_size_groups_are_listed_too(photos, tmp_path):
    report, said = run(recipe_of(photos, batches__kind="size-groups", batches__batch_size=4), tmp_path / "run")
    assert any("1 images cannot be opened and are left out, the first is class-0/broken.png" in line for line in said)
    assert set(report.failed) == {one.id for one in register.load(tmp_path / "run/failures.csv")}


def test_a_run_without_failures_has_no_list_of_them(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos", ignore=shutil.ignore_patterns("broken*"))
    run(recipe_of(tmp_path / "photos", schedule__epochs=1), tmp_path / "run")
    assert not (tmp_path / "run/failures.csv").exists()


def test_without_a_single_good_image_there_is_no_run(tmp_path):
    for number in range(8):
        path = save(tmp_path / "photos", f"{number % 2}/{number}.png", number)
        path.write_bytes(path.read_bytes()[:-60])  # the header can be read, the pixels cannot
    with pytest.raises(ImgretError, match=r"no step was made in epoch 1: .*failures.csv says why"):
        run(recipe_of(tmp_path / "photos"), tmp_path / "run")
    assert len(register.load(tmp_path / "run/failures.csv")) == 8
    assert not (tmp_path / "run/last.pt").exists()


def test_judged_images_that_fail_are_listed(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    for number in range(CLASSES):
        (tmp_path / f"photos/class-{number}/broken.png").write_bytes(b"no image")
    recipe = recipe_of(tmp_path / "photos", validation__hold_out=0.34, validation__image_size=64, schedule__epochs=1)
    report = workflows.train(recipe, tmp_path / "run")
    judged = training_sets(recipe)[1]
    broken = {image.id for image in judged.images if image.id.endswith("broken.png")}
    assert len(broken) == 2  # of six classes two are held out
    assert broken < set(report.failed) == {one.id for one in register.load(tmp_path / "run/failures.csv")}


def test_a_folder_that_is_being_trained_into_is_left_alone(photos, tmp_path):
    (tmp_path / "run").mkdir()
    with WriterLock(tmp_path / "run", "run.lock"), pytest.raises(ImgretError, match=r"run is being written by process"):
        workflows.train(recipe_of(photos), tmp_path / "run")
    assert os.listdir(tmp_path / "run") == ["run.lock"]
    (tmp_path / "file").touch()
    with pytest.raises(ImgretError, match="file cannot be made: .*name another folder with -o"):
        workflows.train(recipe_of(photos), tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "arguments", "optimiser", "world", "words"),
    [
        # a matrix of 81,313 x 512 x 4 bytes is 0.1665 GB; three are kept, four more and 6 x 64 x 81,313 x 4 bytes come
        ("arcface", {}, "sgd", 1, "keeps 0.5 GB in each process (weights, gradient, momenta) and takes about 1.3 GB"),
        ("arcface", {}, "adamw", 2, "keeps 0.83 GB"),  # five: two momenta, and the averaged gradient
        (
            "sharded-arcface",
            {"sample": 0.1},
            "sgd",
            1,
            "keeps 0.5 GB in each process (weights, gradient, momenta) and takes about 0.58",
        ),
    ],
)
def test_a_large_classifier_is_said(photos, name, arguments, optimiser, world, words):
    recipe = recipe_of(photos, loss__name=name, batches__batch_size=64, optimiser__name=optimiser)
    loss = resolve(LOSSES[name].target)(512, 81313, **arguments)
    said = classifier_note(loss, recipe, world)
    assert words in said
    assert ("loss.name=sharded-arcface" in said) == (name == "arcface")
    assert ("loss.arguments.sample=0.1" in said) == (not arguments)


def test_a_small_classifier_is_not_worth_a_line(photos):
    assert classifier_note(ArcFace(512, 11318), recipe_of(photos), 1) is None
    assert classifier_note(torch.nn.Linear(20000, 20000, device="meta"), recipe_of(photos), 1) is None


def test_early_stopping_keeps_the_best(photos, tmp_path):
    scores = iter([0.5, 0.7, 0.6, 0.65, 0.9])
    recipe = recipe_of(photos, schedule__epochs=5, validation__patience=2, validation__hold_out=0.34)
    report, _ = run(recipe, tmp_path / "run", validate=lambda model: next(scores))
    assert report.stopped == "no better for 2 validations"
    assert (report.progress.best_score, report.progress.best_epoch) == (0.7, 1)
    assert next(scores) == 0.9  # never asked for


def test_accumulated_batches_make_the_step_of_one_large_batch(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "whole-photos", ignore=shutil.ignore_patterns("broken*"))
    common = {"optimiser__freeze_batch_norm": True, "batches__augment": "none", "schedule__epochs": 1}
    arguments = {"dim": 16, "dropout": 0.0}
    one = recipe_of(tmp_path / "whole-photos", batches__batch_size=16, model__arguments=arguments, **common)
    two = recipe_of(tmp_path / "whole-photos", batches__accumulate=2, model__arguments=arguments, **common)
    run(one, tmp_path / "one")
    run(two, tmp_path / "two")
    assert len(losses(tmp_path / "one")) == len(losses(tmp_path / "two")) == 3


def test_dynamic_margins_come_from_the_sizes_of_the_classes(photos):
    recipe = recipe_of(photos, loss__arguments={"margin": "dynamic"})
    images, _ = training_sets(recipe)
    margin = start_loss(recipe, 16, images).margin
    # 9 files (one of them broken) in class 0, 8 in every other: the larger class has the smallest margin
    assert margin.tolist() == pytest.approx([0.05] + [0.5] * 5)


def test_what_the_loss_is_told_wrongly_is_said(photos):
    images, _ = training_sets(recipe_of(photos))
    for arguments, words in (
        ({"margin": 28.6}, "loss.arguments: arcface"),
        ({"marge": 0.1}, "loss.arguments: arcface"),
    ):
        with pytest.raises(ImgretError, match=words):
            start_loss(recipe_of(photos, loss__arguments=arguments), 16, images)
    with pytest.raises(ImgretError, match='batches.kind = "pk"'):
        start_loss(recipe_of(photos, loss__name="batch-triplet", loss__arguments={}), 16, images)


def test_a_single_class_cannot_judge(photos):
    # a tenth of six classes is one; all its images are positives of each other, whatever the model
    with pytest.raises(ImgretError, match="has 1 class, and among images of one class every ranking is perfect"):
        training_sets(recipe_of(photos, validation__hold_out=0.1))


def test_batches_of_classes_train_with_triplets(photos, tmp_path):
    recipe = recipe_of(
        photos, loss__name="batch-triplet", loss__arguments={}, batches__kind="pk", batches__images_per_class=2
    )
    run(recipe, tmp_path / "run")
    assert len(losses(tmp_path / "run")) > 8


def test_click_maps_need_a_model_with_attentions(photos, tmp_path):
    recipe = recipe_of(photos, model__name="gem", model__arguments={}, loss__map_weight=1.0, data__maps=str(photos))
    with pytest.raises(ImgretError, match="gem has none; gala has"):
        run(recipe, tmp_path / "run")


def test_click_maps_are_learned_from(photos, tmp_path):
    maps = tmp_path / "maps"
    for number in range(CLASSES * EACH):
        save(maps, f"class-{number // EACH}/{number:02d}.png.png", number, (16, 16))
    run(recipe_of(photos), tmp_path / "plain")
    run(recipe_of(photos, loss__map_weight=1.0, data__maps=str(maps)), tmp_path / "maps-run")
    assert losses(tmp_path / "maps-run") != losses(tmp_path / "plain")


def test_frozen_trunks_do_not_move(photos, tmp_path):
    frozen = {"optimiser__frozen_epochs": 1, "optimiser__freeze_batch_norm": True}
    recipe = recipe_of(photos, schedule__epochs=1, **frozen)
    images, _ = training_sets(recipe)
    trainer = Trainer(recipe, tmp_path / "run", images, torch.device("cpu"), "fp32", say=lambda text: None)
    trainer.run()
    before = dict(start_model(recipe).named_parameters())
    part_of = {id(one): group["part"] for group in trainer.optimiser.param_groups for one in group["params"]}
    moved = {"trunk": False, "head": False, "gates": False, "gem_p": False}
    for name, parameter in trainer.model.named_parameters():
        moved[part_of[id(parameter)]] |= not torch.equal(parameter, before[name])
    # the gates stand inside the trunk and still learn
    assert moved == {"trunk": False, "head": True, "gates": True, "gem_p": True}


def test_validation_is_the_real_evaluation(photos, tmp_path):
    recipe = recipe_of(photos, validation__hold_out=0.34, validation__image_size=64, schedule__epochs=1)
    report = workflows.train(recipe, tmp_path / "run")
    assert 0 < report.progress.best_score <= 1
    (line,) = [line for line in journal.read(tmp_path / "run" / journal.METRICS) if "score" in line]
    assert line["score"] == report.progress.best_score


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos", ignore=shutil.ignore_patterns("broken*"))
    recipe = recipe_of(
        tmp_path / "photos",
        batches__batch_size=16,
        model__arguments={"dim": 16, "dropout": 0.0},
        optimiser__freeze_batch_norm=True,
        schedule__epochs=1,
    )
    # A batch norm in the head would see each process's share alone; gem has none.
    recipe = replace(recipe, model=replace(recipe.model, name="gem", arguments={}))
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    train = ["-m", "imgret", "train", str(tmp_path / "recipe.toml"), "-o"]
    subprocess.run([sys.executable, *train, str(tmp_path / "one")], check=True, timeout=300)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    said = subprocess.run([*torchrun, *train, str(tmp_path / "two")], check=True, timeout=300, stderr=subprocess.PIPE)
    assert said.stderr.count(b"1 epochs, 3 steps") == 1  # one of the two talks
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
    one, two = (load_model(tmp_path / name / "best.safetensors").model.state_dict() for name in ("one", "two"))
    for key, tensor in one.items():
        torch.testing.assert_close(tensor, two[key], rtol=1e-3, atol=1e-4)


def test_the_command_trains_and_extract_takes_the_weights(photos, tmp_path, monkeypatch):
    from tests.cli.test_every_model import run as command

    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.toml").write_text(to_toml(recipe_of(photos)))
    more = ("--set", "optimiser.lr=0.01", "--set", "run.seed=3")  # one of them has an option of its own
    command("train", "recipe.toml", "-o", "run", "--epochs", 1, *more, "-q")
    assert "seed = 3" in (tmp_path / "run/recipe.toml").read_text()
    assert json.loads((tmp_path / "run" / journal.METRICS).read_text().splitlines()[0])["step"] == 1
    command("extract", photos, "-o", "store", "--model", "run/best.safetensors", "--image-size", 64, "--workers", 0)
    assert command("index", "store", "-o", "index") == ""
