"""A classifier spread over processes: whole in a run's checkpoints, clipped by one norm, skipping by one verdict."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from imgret.training import journal, spread
from imgret.training.checkpoints import LAST, Progress, load, save
from imgret.training.losses.classifiers import ArcFace
from imgret.training.losses.collectives import Shards
from imgret.training.losses.sharded import ShardedArcFace
from imgret.training.recipe import Optimiser
from imgret.training.recipe_file import to_toml
from imgret.training.start import start_optimiser
from tests.training.losses.ranks import on_ranks
from tests.training.losses.test_two_ranks import CLASSES, DIM, images, whole_batch
from tests.training.test_loop import losses, photos, recipe_of, same_weights  # noqa: F401  # a fixture

CENTRES = 2
ADAMW = Optimiser(name="adamw", lr=0.1, weight_decay=0.01)
SGD = Optimiser(name="sgd", lr=0.1, momentum=0.9)
SHORT = 0.01


class Run:
    """A layer and a classifier, and the steps of one process of them."""

    def __init__(self, kind, optimiser, **arguments):
        torch.manual_seed(0)
        self.model = nn.Linear(DIM, DIM).double()
        self.loss = kind(DIM, CLASSES, scale=8.0, centres=CENTRES, **arguments).double()
        self.optimiser = start_optimiser(self.model, self.loss, optimiser)
        self.describe = self.model
        if isinstance(self.loss, ShardedArcFace) and self.loss.shards.ranks > 1:
            self.describe = nn.parallel.DistributedDataParallel(self.model)

    def steps(self, count, descriptors, labels, clip=None):
        for _ in range(count):
            self.optimiser.zero_grad()
            self.loss(self.describe(descriptors), labels).backward()
            if clip is not None:
                self.norm = spread.clip_gradients(self.optimiser, clip, self.loss)
            self.optimiser.step()
        return self

    @property
    def parts(self):
        return {"model": self.model, **spread.stateful(self.loss, self.optimiser)}

    @property
    def momenta(self):
        return {name: one for name, one in self.optimiser.state[self.loss.weight].items() if one.ndim}


def on_one_of_two(rank):
    from pathlib import Path

    results = {}
    batch = images(rank)
    folder = Path(os.environ["IMGRET_TEST_FOLDER"])
    for name, optimiser in (("adamw", ADAMW), ("sgd", SGD)):
        run = Run(ShardedArcFace, optimiser).steps(3, *batch)
        (folder / name).mkdir(exist_ok=True)
        save(
            folder / name,
            run.parts,
            Progress(step=3),
            {},
            [{"cpu": torch.get_rng_state(), "cuda": []}] * 2,
            writes=rank == 0,
        )
        torch.distributed.barrier()
        again = Run(ShardedArcFace, optimiser)
        load(folder / name / LAST, {}).restore(again.parts, rank, 2)
        run.steps(2, *batch)
        again.steps(2, *batch)
        results[name] = {
            "weights": [run.loss.weight.detach(), again.loss.weight.detach()],
            "momenta": [run.momenta, again.momenta],
        }
    run = Run(ShardedArcFace, SGD).steps(3, *batch, clip=SHORT)
    results["clipped"] = [run.loss.weight.detach(), run.model.weight.detach(), run.norm]

    run = Run(ShardedArcFace, SGD)
    scaler = spread.gradient_scaler(torch.device("cpu"), True, run.loss)
    scaler.scale(run.loss(run.describe(batch[0]), batch[1])).backward()
    if rank == 1:
        run.loss.weight.grad[0, 0] = float("inf")
    before = run.model.weight.detach().clone()
    scaler.step(run.optimiser)
    scaler.update()
    results["skipped"] = [torch.equal(before, run.model.weight), scaler.get_scale()]
    return results


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMGRET_TEST_FOLDER", str(folder))
        return folder, on_ranks(on_one_of_two, 2, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_two_processes_go_on_bit_for_bit_from_a_whole_checkpoint(both, name):
    for results in both[1]:
        went_on, resumed = results[name]["weights"]
        assert torch.equal(went_on, resumed)
        went_on, resumed = results[name]["momenta"]
        assert went_on.keys() == resumed.keys()
        assert len(went_on) == (2 if name == "adamw" else 1)
        assert all(torch.equal(momentum, resumed[key]) for key, momentum in went_on.items())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "optimiser"), [("adamw", ADAMW), ("sgd", SGD)])
def test_the_checkpoint_of_two_processes_is_that_of_one(both, name, optimiser):
    one = Run(ArcFace, optimiser).steps(3, *whole_batch())
    found = load(both[0] / name / LAST, {}).states
    torch.testing.assert_close(found["loss"]["weight"], one.loss.weight.detach())
    for key, momentum in one.momenta.items():
        (theirs,) = [one[key] for one in found["optimiser"]["state"].values() if one[key].shape == momentum.shape]
        torch.testing.assert_close(theirs, momentum)


@pytest.mark.slow
def test_gradients_over_two_processes_are_clipped_by_the_norm_of_one(both):
    one = Run(ArcFace, SGD).steps(3, *whole_batch(), clip=SHORT)
    assert one.norm > 10 * SHORT
    (first, model_0, norm_0), (second, model_1, norm_1) = (results["clipped"] for results in both[1])
    torch.testing.assert_close(torch.cat([first, second]), one.loss.weight.detach())
    torch.testing.assert_close(torch.stack([model_0, model_1]), one.model.weight.detach().expand(2, -1, -1))
    assert norm_0 == norm_1
    torch.testing.assert_close(norm_0, one.norm)


@pytest.mark.slow
def test_an_overflow_on_one_process_makes_both_skip_the_step(both):
    assert [results["skipped"] for results in both[1]] == [[True, 2.0**15], [True, 2.0**15]]


@pytest.mark.parametrize("kind", [ArcFace, ShardedArcFace])
def test_one_process_clips_as_torch_does(kind):
    run, other = (Run(kind, SGD).steps(1, *whole_batch()) for _ in range(2))
    norm = spread.clip_gradients(run.optimiser, SHORT, run.loss)
    parameters = [*other.model.parameters(), *other.loss.parameters()]
    assert norm == nn.utils.clip_grad_norm_(parameters, SHORT)
    for mine, theirs in zip([*run.model.parameters(), *run.loss.parameters()], parameters, strict=True):
        assert torch.equal(mine.grad, theirs.grad)


def test_a_process_takes_its_own_rows_out_of_a_whole_checkpoint():
    whole = Run(ShardedArcFace, ADAMW).steps(2, *whole_batch())
    states = {name: part.state_dict() for name, part in whole.parts.items()}
    for rank, (first, last) in enumerate([(0, 3), (3, 7)]):  # 7 classes: three and four
        mine = Run(ShardedArcFace, ADAMW)
        mine.loss.shards, mine.loss.first, mine.loss.last = Shards(rank, 2), first, last
        mine.loss.weight.data = torch.zeros((last - first) * CENTRES, DIM, dtype=torch.float64)
        for name, part in mine.parts.items():
            part.load_state_dict(states[name])
        rows = slice(first * CENTRES, last * CENTRES)
        assert torch.equal(mine.loss.weight, whole.loss.weight[rows])
        assert mine.momenta.keys() == {"exp_avg", "exp_avg_sq"}
        for key, momentum in mine.momenta.items():
            assert torch.equal(momentum, whole.momenta[key][rows])


def command(folder, name, processes=2):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return [sys.executable, *torchrun, "-m", "imgret", "train", f"{folder}/recipe.toml", "-q", "-o", f"{folder}/{name}"]


@pytest.mark.slow
def test_a_killed_run_of_two_processes_with_a_spread_classifier_goes_on_exactly(photos, tmp_path):  # noqa: F811
    recipe = recipe_of(
        photos,
        loss__name="sharded-arcface",
        loss__arguments={"margin": 0.1, "scale": 16.0, "sample": 0.67},
        optimiser__name="adamw",
        optimiser__lr=0.01,
        schedule__epochs=5,
        run__save_minutes=1e-9,
    )
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    subprocess.run(command(tmp_path, "whole"), check=True, timeout=300)
    process = subprocess.Popen(command(tmp_path, "cut"), start_new_session=True)
    metrics = tmp_path / "cut" / journal.METRICS
    until = time.monotonic() + 200
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 8) and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)  # torchrun and its processes
    process.wait()
    done = len(losses(tmp_path / "cut"))
    assert 8 < done < 30  # 49 images make 6 batches of 8, five times
    subprocess.run(command(tmp_path, "cut"), check=True, timeout=300)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert same_weights(tmp_path / "cut", tmp_path / "whole")
