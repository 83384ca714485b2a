"""Mining at the start of an epoch, and whole runs on tuples."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from imgret import workflows
from imgret.errors import ImgretError
from imgret.models import load_model
from imgret.training import checkpoints, journal
from imgret.training.loop import Trainer
from imgret.training.recipe_file import from_dict, to_toml
from imgret.training.start import start_model
from imgret.workflows.training import training_pairs, training_sets
from tests.pictures import save

CLASSES, EACH = 6, 6


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six classes of six pictures, lying and standing, one of them damaged, and two without a label."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(CLASSES * EACH):
        size = (48 + number % EACH, 32) if number % 2 else (32, 48 + number % EACH)  # alike in a class, not the same
        save(folder, f"class-{number // EACH}/{number:02d}.png", number // EACH, size)
    (folder / "class-0" / "broken.png").write_bytes(b"no image")
    for number in (90, 91):
        save(folder, f"{number}.png", number)
    return folder


def recipe_of(photos, **changes):
    tree = {
        "data": {"dataset": str(photos)},
        "model": {"name": "gem", "backbone": "test_resnet"},
        "batches": {"kind": "fixed", "size": 32, "batch_size": 8, "workers": 0, "augment": "soft"},
        "tuples": {"queries": 12, "pool": 24, "negatives": 2},
        "loss": {"name": "contrastive", "arguments": {"tau": 0.85}},
        "optimiser": {"lr": 1e-3, "ema": 0.9, "freeze_batch_norm": True},
        "schedule": {"epochs": 3},
        "run": {"device": "cpu", "precision": "fp32"},
    }
    for name, value in changes.items():
        section, _, key = name.partition("__")
        tree.setdefault(section, {})[key] = value
    return from_dict(tree, "a test")


def trainer_of(recipe, folder, **options):
    images, _ = training_sets(recipe)
    options = {"say": lambda text: None, "pairs": training_pairs(recipe, images), **options}
    return Trainer(recipe, folder, images, torch.device("cpu"), "fp32", **options)


def losses(folder):
    return [line["loss"] for line in journal.read(folder / journal.METRICS) if "loss" in line]


def same_weights(*folders):
    one, other = (load_model(folder / "best.safetensors").model.state_dict() for folder in folders)
    return one.keys() == other.keys() and all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def mined(recipe, folder, epoch, model=None):
    """The tuples of an epoch, and the labels of the set."""
    trainer = trainer_of(recipe, folder)
    trainer._start()
    trainer.miner.mine(epoch, model or trainer.model)
    return trainer.miner.tuples, trainer.images.labels


def test_tuples_depend_on_seed_epoch_and_model_alone(photos, tmp_path):
    recipe = recipe_of(photos)
    trainer = trainer_of(recipe, tmp_path / "run")
    trainer._start()
    trainer.miner.mine(0, trainer.model)
    trainer.miner.mine(2, trainer.model)
    tuples, _ = mined(recipe, tmp_path / "other", 2)
    assert trainer.miner.tuples.tolist() == tuples.tolist()
    assert mined(recipe, tmp_path / "other", 1)[0].tolist() != tuples.tolist()
    assert mined(recipe_of(photos, run__seed=5), tmp_path / "seed", 2)[0].tolist() != tuples.tolist()
    model = start_model(recipe_of(photos, run__seed=9))
    other, _ = mined(recipe, tmp_path / "model", 2, model)
    assert other[:, :2].tolist() == tuples[:, :2].tolist()  # what is drawn does not depend on the model
    assert other[:, 2:].tolist() != tuples[:, 2:].tolist()


def test_mining_changes_nothing_of_the_model_and_draws_no_random_number(photos, tmp_path):
    trainer = trainer_of(recipe_of(photos), tmp_path / "run")
    trainer._start()
    trainer.model.train()  # in which a batch norm would learn from what it sees
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    random = torch.get_rng_state()
    trainer.miner.mine(0, trainer.model)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.model.state_dict().items())


@pytest.mark.parametrize("kind", ["fixed", "size-groups"])
def test_negatives_are_of_other_clusters_and_the_nearest_of_theirs(photos, tmp_path, kind):
    recipe = recipe_of(photos, batches__kind=kind, tuples__pool=99)
    trainer = trainer_of(recipe, tmp_path / "run")
    trainer._start()
    trainer.miner.mine(0, trainer.model)
    labels = trainer.images.labels
    everything = trainer.plan.by_shape(np.flatnonzero(labels >= 0))
    rows, descriptors = trainer.miner._described(everything, trainer.model, 0)
    broken = sorted({row for batch in everything for row in batch.rows.tolist()} - set(rows.tolist()))
    assert set(trainer.failed) == {"class-0/broken.png"}
    # where shapes matter, it is left out before anything is described
    assert [trainer.images.images[row].id for row in broken] == ["class-0/broken.png"] * (kind == "fixed")
    cosines = {int(row): descriptors @ descriptors[place] for place, row in enumerate(rows)}
    for query, positive, *negatives in trainer.miner.tuples.tolist():
        assert labels[query] == labels[positive]
        if query in broken:
            assert negatives == [-1, -1]
            continue
        nearest = {}  # of each other class, by a plain loop
        for place, row in enumerate(rows.tolist()):
            if labels[row] != labels[query]:
                nearest[labels[row]] = max(nearest.get(labels[row], (-2.0, 0)), (cosines[query][place].item(), row))
        wanted = [row for _, row in sorted(nearest.values(), reverse=True)[:2]]
        assert negatives == wanted


def test_images_without_a_label_and_damaged_ones_are_in_no_place_but_a_damaged_query(photos, tmp_path):
    tuples, labels = mined(recipe_of(photos, tuples__pool=99), tmp_path / "run", 0)
    used = tuples[tuples >= 0]
    assert (labels[used] >= 0).all()


@pytest.mark.parametrize(("name", "kind"), [("contrastive", "size-groups"), ("triplet", "fixed")])
def test_training_on_tuples_makes_the_loss_smaller(photos, tmp_path, name, kind):
    change = {"loss__name": name, "loss__arguments": {}, "batches__kind": kind, "optimiser__lr": 0.05}
    recipe = recipe_of(photos, batches__augment="none", schedule__epochs=5, **change)
    report = trainer_of(recipe, tmp_path / "run").run()
    found = losses(tmp_path / "run")
    assert len(found) == 5 * 6  # 12 queries make 6 batches of two tuples
    assert sum(found[-6:]) < 0.8 * sum(found[:6])
    assert set(report.failed) <= {"class-0/broken.png"}
    assert load_model(tmp_path / "run/best.safetensors").trained


class Stop(Exception):
    """What a test raises in the middle of a run."""


@pytest.mark.parametrize(("kind", "after"), [("fixed", 3), ("fixed", 6), ("size-groups", 8)])
def test_a_run_on_tuples_that_stops_goes_on_as_if_it_had_not(photos, tmp_path, kind, after):
    recipe = recipe_of(photos, run__save_minutes=1e-9, batches__kind=kind, schedule__epochs=2)  # saved after each batch
    whole = trainer_of(recipe, tmp_path / "whole").run()

    def stop(done, total, loss, rate):
        if done == after:
            raise Stop

    with pytest.raises(Stop):
        trainer_of(recipe, tmp_path / "cut", show=stop).run()
    assert trainer_of(recipe, tmp_path / "cut").run().progress == whole.progress
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


def test_a_run_that_goes_on_does_not_mine_the_epoch_again(photos, tmp_path):
    recipe = recipe_of(photos, run__save_minutes=1e-9)

    def stop(done, total, loss, rate):
        if done == 9:  # of 6 a epoch: the checkpoint is of the eighth
            raise Stop

    with pytest.raises(Stop):
        trainer_of(recipe, tmp_path / "run", show=stop).run()
    said = []
    trainer_of(recipe, tmp_path / "run", say=said.append).run()
    assert [line for line in said if "mining" in line and line.startswith("epoch")] == [
        "epoch 3: mining, 28 images to describe"
    ]


@pytest.mark.slow
def test_a_run_on_tuples_killed_by_the_system_goes_on_from_its_last_checkpoint(photos, tmp_path):
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
    assert len(losses(tmp_path / "cut")) < 36
    subprocess.run([*command, str(tmp_path / "cut")], check=True, timeout=300)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fixed", "size-groups"])
def test_two_processes_train_on_tuples_as_one_with_twice_the_batch(photos, tmp_path, kind):
    shutil.copytree(photos, tmp_path / "photos", ignore=shutil.ignore_patterns("broken*"))
    recipe = recipe_of(tmp_path / "photos", batches__batch_size=16, batches__kind=kind, schedule__epochs=2)
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    train = ["-m", "imgret", "train", str(tmp_path / "recipe.toml"), "-q", "-o"]
    subprocess.run([sys.executable, *train, str(tmp_path / "one")], check=True, timeout=300)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    subprocess.run([*torchrun, *train, str(tmp_path / "two")], check=True, timeout=300)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
    tuples = [checkpoints._read(tmp_path / name / "last.pt")["states"]["tuples"]["tuples"] for name in ("one", "two")]
    assert torch.equal(*tuples)
    one, two = (load_model(tmp_path / name / "best.safetensors").model.state_dict() for name in ("one", "two"))
    for key, tensor in one.items():
        torch.testing.assert_close(tensor, two[key], rtol=1e-3, atol=1e-4)


def sfm_set(folder, **changes):
    """Two splits: train, six clusters of four pictures, each the next one's positive; val, three of three."""
    splits = {}
    for split, clusters, each in (("train", 6, 4), ("val", 3, 3)):
        cids = [f"{split}{number:06d}" for number in range(clusters * each)]
        for number, cid in enumerate(cids):
            place = folder / "ims" / cid[-2:] / cid[-4:-2] / cid[-6:-4]
            save(place, "picture.png", number, (48, 32) if number % 2 else (32, 48)).rename(place / cid)
        rows = [row for row in range(len(cids)) if (row + 1) % each]
        splits[split] = {
            "cids": cids,
            "cluster": [row // each for row in range(len(cids))],
            "qidxs": rows,
            "pidxs": [row + 1 for row in rows],
        }
    splits["train"] |= changes
    (folder / "retrieval-SfM-120k.json").write_text(json.dumps(splits))
    return folder


def test_the_recipe_of_sfm_trains_on_its_pairs_and_is_judged_by_its_clusters(tmp_path):
    from imgret.training.recipe_file import override, read

    recipe = override(
        read("gem_sfm"),
        **{
            "data.dataset": str(sfm_set(tmp_path)),
            "model.backbone": "test_resnet",
            "model.pretrained": False,
            "batches.size": 32,
            "batches.workers": 0,
            "batches.batch_size": 14,
            "validation.image_size": 48,
            "schedule.epochs": 2,
            "run.device": "cpu",
            "run.precision": "fp32",
        },
    )
    said = []
    report = workflows.train(recipe, tmp_path / "run", say=said.append)
    assert 0 < report.progress.best_score <= 1
    assert len(losses(tmp_path / "run")) == 2 * 9  # 6 clusters of 3 pairs, two a batch
    assert "every epoch asks with all 18 queries there are, not with tuples.queries = 2000" in said
    tuples = checkpoints._read(tmp_path / "run/last.pt")["states"]["tuples"]["tuples"]
    assert (tuples[:, 1] == tuples[:, 0] + 1).all()  # the published pairs, in rows of the split
    clusters = tuples // 4
    assert (clusters[:, 2:] != clusters[:, :1]).all()
    assert all(len(set(row)) == 6 for row in clusters[:, 1:].tolist())  # five negatives of five other clusters
    rates = [line["lr"] for line in journal.read(tmp_path / "run" / journal.METRICS) if "lr" in line]
    assert rates == pytest.approx([5e-7] * 9 + [5e-7 * np.exp(-0.01)] * 9)


def test_pairs_of_held_out_images_are_not_learned_from(tmp_path):
    recipe = recipe_of(sfm_set(tmp_path), data__split="train", validation__hold_out=0.34)
    images, judged = training_sets(recipe)
    pairs = training_pairs(recipe, images)
    assert len(judged.classes) == 2
    assert len(pairs) == 4 * 3  # of 6 clusters
    names = [[images.images[row].id[-6:] for row in pair] for pair in pairs.tolist()]
    assert all(int(one) + 1 == int(other) for one, other in names)


def test_other_pairs_are_another_run(tmp_path):
    folder = sfm_set(tmp_path)
    recipe = recipe_of(folder, data__split="train", schedule__epochs=1)
    trainer_of(recipe, tmp_path / "run").run()
    sfm_set(tmp_path, qidxs=[0, 4, 8, 12], pidxs=[2, 6, 10, 14])
    with pytest.raises(ImgretError, match="is of a run with images"):
        trainer_of(recipe, tmp_path / "run").run()


def test_whose_pairs_are_learned_from_must_be_said(tmp_path):
    recipe = recipe_of(sfm_set(tmp_path))
    with pytest.raises(ImgretError, match=r"data\.split says whose pairs contrastive learns from"):
        training_pairs(recipe, training_sets(recipe)[0])


def test_a_set_of_one_cluster_is_refused(photos, tmp_path):
    shutil.copytree(photos / "class-1", tmp_path / "one/class-1")
    with pytest.raises(ImgretError, match="contrastive needs two classes or more, but all labelled images are of one"):
        trainer_of(recipe_of(tmp_path / "one"), tmp_path / "run").run()


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        ("gem", {"optimiser__freeze_batch_norm": False}, "set optimiser.freeze_batch_norm = true"),
        ("gala", {}, "gala has a batch norm behind its trunk"),
    ],
)
def test_batch_norms_do_not_learn_from_an_image_or_two(photos, tmp_path, model, changes, words):
    recipe = recipe_of(photos, model__name=model, batches__kind="size-groups", **changes)
    with pytest.raises(ImgretError, match=words):
        trainer_of(recipe, tmp_path / "run").run()
    trainer_of(recipe_of(photos, model__name=model, schedule__epochs=1, **changes), tmp_path / "fixed").run()


def test_tuples_that_processes_cannot_share_are_said(photos, tmp_path):
    from imgret.training.processes import Processes

    trainer = trainer_of(recipe_of(photos), tmp_path / "run")
    trainer._start()
    with pytest.raises(ImgretError, match=r"a batch of 2 tuples cannot be shared equally by 3 processes; .* 3 x 4"):
        dataclasses.replace(trainer.miner, processes=Processes(0, 3))


def test_a_model_that_diverges_while_mining_stops_the_run_and_the_checkpoint_is_kept(photos, tmp_path, monkeypatch):
    trainer = trainer_of(recipe_of(photos), tmp_path / "run")
    monkeypatch.setattr(trainer, "_check_weights", lambda epoch: None)
    epochs = []

    def judge(model):
        epochs.append(model)
        if len(epochs) == 2:  # after the second epoch's checkpoint was made whole
            handle = trainer.model.register_forward_hook(lambda module, args, output: output * float("nan"))
            epochs.append(handle)
        return 0.5

    trainer.validate = judge
    with pytest.raises(ImgretError, match="the descriptors are not finite at the start of epoch 3; the last good") as e:
        trainer.run()
    assert "\n" not in str(e.value)
    assert checkpoints.load(tmp_path / "run/last.pt", trainer.identity).progress.epoch == 2


def test_weights_that_the_last_step_has_broken_are_not_saved(photos, tmp_path):
    def poison(done, total, loss, rate):
        if done == 12:  # the last batch of the second epoch
            with torch.no_grad():
                next(trainer.model.parameters()).fill_(float("nan"))

    trainer = trainer_of(recipe_of(photos), tmp_path / "run", show=poison)
    with pytest.raises(
        ImgretError, match="the weights are not finite in epoch 2, batch 6 of 6; the last good checkpoint is kept"
    ):
        trainer.run()
    assert checkpoints.load(tmp_path / "run/last.pt", trainer.identity).progress.epoch == 1


def test_a_model_without_a_head_and_a_loss_without_weights_have_a_rate(photos, tmp_path):
    recipe = replace(recipe_of(photos, schedule__epochs=1), schedule=replace(recipe_of(photos).schedule, epochs=1))
    trainer_of(recipe, tmp_path / "run").run()
    rates = [line["lr"] for line in journal.read(tmp_path / "run" / journal.METRICS)]
    assert rates[0] == pytest.approx(1e-3)
