import errno
import os
import signal
import subprocess
import sys
import time
import types
import zipfile

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from imgret.errors import ImgretError, SpaceError
from imgret.models.weights import load_model
from imgret.training import checkpoints
from imgret.training.checkpoints import BEST, BEST_WEIGHTS, LAST, Progress, load, random_state, save
from imgret.training.schedule import warmup_cosine

IDENTITY = {"model.name": "gem", "optimiser.lr": 0.1, "loss.arguments.margins": [0.1, 0.2]}


def parts(width=4):
    """What a run has, in small: a model with dropout, a loss with weights, momentum, a schedule, EMA, a scaler."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Dropout(0.5))
        loss = nn.Linear(width, 2)
    optimiser = torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=0.1, momentum=0.9)
    return {
        "model": model,
        "loss": loss,
        "optimiser": optimiser,
        "schedule": warmup_cosine(optimiser, 10, 2),
        "ema": AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9)),
        "scaler": torch.amp.GradScaler("cpu"),
    }


def train(run, steps):
    """Steps on random data; their losses."""
    losses = []
    for _ in range(steps):
        images = torch.rand(4, 3)
        loss = run["loss"](run["model"](images)).square().sum()
        run["optimiser"].zero_grad()
        run["scaler"].scale(loss).backward()
        run["scaler"].step(run["optimiser"])
        run["scaler"].update()
        run["schedule"].step()
        run["ema"].update_parameters(run["model"])
        losses.append(loss.item())
    return losses


def tensors(run):
    return {
        f"{name}.{key}": value.clone()
        for name in ("model", "loss", "ema")
        for key, value in run[name].state_dict().items()
    }


@pytest.fixture
def tiny(tmp_path):
    """A model that a weights file can hold."""
    return load_model("gem", backbone="test_resnet", weights="none", seed=3).model


def test_a_run_goes_on_as_if_nothing_had_happened(tmp_path):
    torch.manual_seed(5)
    whole = parts()
    wanted = train(whole, 7)
    torch.manual_seed(5)
    killed = parts()
    first = train(killed, 4)
    progress = Progress(epoch=1, batch=2, step=4, lines=9, best_score=0.5, best_epoch=0, stale=1)
    save(tmp_path, killed, progress, IDENTITY)
    train(killed, 2)  # lost with the process
    torch.manual_seed(99)
    resumed = parts()
    checkpoint = load(tmp_path / LAST, IDENTITY)
    checkpoint.restore(resumed)
    assert checkpoint.progress == progress
    assert first + train(resumed, 3) == wanted
    for key, value in tensors(whole).items():
        assert torch.equal(tensors(resumed)[key], value), key
    assert resumed["schedule"].get_last_lr() == whole["schedule"].get_last_lr()
    assert resumed["scaler"].get_scale() == whole["scaler"].get_scale()


def test_every_process_gets_its_own_random_state_back(tmp_path):
    states, drawn = [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        states.append(random_state())
        drawn.append(torch.rand(3))
    save(tmp_path, {}, Progress(), IDENTITY, states)
    for rank in (1, 0):
        load(tmp_path / LAST, IDENTITY).restore({}, rank, world=2)
        assert torch.equal(torch.rand(3), drawn[rank])
    with pytest.raises(ImgretError, match="is of a run of 2 processes, now 1"):
        load(tmp_path / LAST, IDENTITY).restore({})


def test_a_better_score_is_the_best_and_an_equal_one_is_stale():
    first = Progress(epoch=1).judged(0.5)
    assert (first.best_score, first.best_epoch, first.stale) == (0.5, 1, 0)
    equal = Progress(epoch=2, best_score=0.5, best_epoch=1).judged(0.5)
    assert (equal.best_score, equal.best_epoch, equal.stale) == (0.5, 1, 1)
    assert equal.judged(0.4).stale == 2
    better = Progress(epoch=5, best_score=0.5, best_epoch=1, stale=2).judged(0.6)
    assert (better.best_score, better.best_epoch, better.stale) == (0.6, 5, 0)
    assert Progress(epoch=3, step=7, lines=8).judged(0.0) == Progress(3, 0, 7, 8, 0.0, 3, 0)


def test_the_best_is_kept_as_checkpoint_and_as_weights_and_outlives_the_last(tmp_path, tiny):
    run = parts()
    save(tmp_path, run, Progress(epoch=1, step=1), IDENTITY, best=tiny, provenance={"score": 0.5})
    assert load(tmp_path / BEST, IDENTITY).progress == load(tmp_path / LAST, IDENTITY).progress
    save(tmp_path, run, Progress(epoch=2, step=2), IDENTITY)
    assert load(tmp_path / BEST, IDENTITY).progress.epoch == 1
    assert load(tmp_path / LAST, IDENTITY).progress.epoch == 2
    loaded = load_model(tmp_path / BEST_WEIGHTS)
    assert loaded.trained
    for key, value in tiny.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value)
    assert sorted(os.listdir(tmp_path)) == [BEST, BEST_WEIGHTS, LAST]


def test_a_file_system_without_links_keeps_both_files_too(tmp_path, tiny, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    save(tmp_path, parts(), Progress(epoch=1), IDENTITY, best=tiny)
    assert load(tmp_path / LAST, IDENTITY).progress == load(tmp_path / BEST, IDENTITY).progress == Progress(epoch=1)
    assert not os.path.samefile(tmp_path / LAST, tmp_path / BEST)


def test_the_best_is_written_before_the_last_names_it(tmp_path, tiny, monkeypatch):
    order = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append(os.path.basename(b)), real(a, b)))
    save(tmp_path, parts(), Progress(), IDENTITY, best=tiny)
    assert order == [BEST_WEIGHTS, BEST, LAST]


@pytest.mark.parametrize("room", [0, 2000])
def test_a_full_disk_is_one_line_and_the_old_checkpoint_stays(tmp_path, monkeypatch, room):
    run = parts()
    save(tmp_path, run, Progress(step=1), IDENTITY)
    real = torch.save

    class Full:
        def __init__(self, file):
            self.file, self.left = file, room

        def write(self, data):
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

        def flush(self):
            self.file.flush()

    monkeypatch.setattr(checkpoints.torch, "save", lambda content, file: real(content, Full(file)))
    with pytest.raises(SpaceError, match=r"no space left while writing .*last.pt; what was written before is safe"):
        save(tmp_path, run, Progress(step=2), IDENTITY)
    assert load(tmp_path / LAST, IDENTITY).progress.step == 1
    assert os.listdir(tmp_path) == [LAST]


def test_a_save_that_dies_half_way_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    run = parts()
    save(tmp_path, run, Progress(step=1), IDENTITY)

    def dies(content, file):
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.torch, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, run, Progress(step=2), IDENTITY)
    assert load(tmp_path / LAST, IDENTITY).progress.step == 1


def test_what_a_kill_left_behind_is_no_obstacle(tmp_path):
    (tmp_path / (LAST + ".partial")).write_bytes(b"half of it")
    (tmp_path / (BEST + ".partial")).write_bytes(b"half of it")
    save(tmp_path, parts(), Progress(step=1), IDENTITY)
    assert load(tmp_path / LAST, IDENTITY).progress.step == 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"optimiser.lr": 0.2}, "is of a run with optimiser.lr 0.1, now it is 0.2. Go on with"),
        ({"model.name": "glam"}, "is of a run with model.name 'gem', now it is 'glam'. Go on with"),
        ({"optimiser.clip": 1.0}, "is of a run with optimiser.clip left out, now it is 1.0. Go on with"),
        ({"optimiser.lr": ...}, "is of a run with optimiser.lr 0.1, now it is left out. Go on with"),
    ],
)
def test_a_checkpoint_of_another_recipe_is_refused_by_the_key_that_differs(tmp_path, change, line):
    save(tmp_path, parts(), Progress(), IDENTITY)
    asked = {key: value for key, value in {**IDENTITY, **change}.items() if value is not ...}
    with pytest.raises(ImgretError) as caught:
        load(tmp_path / LAST, asked)
    assert str(caught.value).startswith(f"{tmp_path / LAST} {line}")
    assert "-o" in str(caught.value)


def test_a_checkpoint_of_another_model_is_one_line(tmp_path):
    save(tmp_path, parts(), Progress(), IDENTITY)
    with pytest.raises(ImgretError, match="last.pt: its model does not fit this run's: .*size mismatch") as caught:
        load(tmp_path / LAST, IDENTITY).restore(parts(width=5))
    assert "\n" not in str(caught.value)
    with pytest.raises(ImgretError, match="holds ema, loss, model, .*; this run has loss, model, optimiser, scaler"):
        load(tmp_path / LAST, IDENTITY).restore({k: v for k, v in parts().items() if k != "ema"})


def middles(path):
    """The middle byte of every entry of a zip file."""
    whole = path.read_bytes()
    for entry in zipfile.ZipFile(path).infolist():
        local = whole[entry.header_offset : entry.header_offset + 30]
        begin = (
            entry.header_offset + 30 + int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
        )
        yield begin + entry.compress_size // 2


def test_a_flipped_bit_in_any_tensor_is_found(tmp_path):
    # torch.load alone would give back a wrong weight and say nothing
    save(tmp_path, parts(), Progress(), IDENTITY)
    path = tmp_path / LAST
    whole, places = path.read_bytes(), list(middles(path))
    assert len(places) > 10
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ImgretError, match=r"last.pt is damaged"):
            load(path, IDENTITY)


@pytest.mark.parametrize("kept", [0, 10, 1000, -1])
def test_a_checkpoint_cut_short_is_damaged(tmp_path, kept):
    save(tmp_path, parts(), Progress(), IDENTITY)
    path = tmp_path / LAST
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ImgretError, match=r"last.pt is damaged; go on from a copy of .*best.pt, or name a new folder"):
        load(path, IDENTITY)


def test_what_torch_saved_for_others_is_no_checkpoint(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(ImgretError, match="is no checkpoint of this imgret: it holds 'no schema'"):
        load(path, IDENTITY)
    torch.save([1, 2], path)
    with pytest.raises(ImgretError, match="is no checkpoint of this imgret: it holds 'list'"):
        load(path, IDENTITY)


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (os.mkdir, (str(self.trace),))


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    path, trace = tmp_path / "model.pt", tmp_path / "was-here"
    torch.save({"schema": checkpoints.SCHEMA, "evil": Evil(trace)}, path)
    with pytest.raises(ImgretError, match="is damaged"):
        load(path, IDENTITY)
    assert not trace.exists()


def test_a_checkpoint_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ImgretError, match=r"last.pt: no such checkpoint"):
        load(tmp_path / LAST, IDENTITY)
    with pytest.raises(ImgretError, match="cannot be read: Is a directory"):
        load(tmp_path, IDENTITY)


def test_states_of_gpus_are_given_back_as_far_as_there_are_gpus(monkeypatch):
    given = []
    gpu = types.SimpleNamespace(
        device_count=lambda: 1, set_rng_state=lambda state, device: given.append((state, device))
    )
    monkeypatch.setattr(torch, "cuda", gpu)
    checkpoints.restore_random({"cpu": torch.get_rng_state(), "cuda": ["a", "b"]})
    assert given == [("a", 0)]


KILLED = """
import sys, torch
from pathlib import Path
from imgret.training.checkpoints import Progress, save

part = torch.nn.Linear(700, 700)
step = 0
while True:
    step += 1
    torch.nn.init.constant_(part.weight, step)
    save(Path(sys.argv[1]), {"model": part}, Progress(step=step), {})
    print(step, flush=True)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    for wait in (0.0, 0.003, 0.007, 0.011):
        run = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3):
            run.stdout.readline()
        time.sleep(wait)
        run.send_signal(signal.SIGKILL)
        run.wait(timeout=30)
        run.stdout.close()
        part = nn.Linear(700, 700)
        checkpoint = load(tmp_path / LAST, {})
        checkpoint.restore({"model": part})
        assert checkpoint.progress.step >= 3
        assert part.weight.eq(checkpoint.progress.step).all()
