"""docs/examples/slurm-train.sh itself, with an srun that starts both nodes on this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from imgret.models import load_model
from imgret.training import journal
from imgret.training.recipe_file import to_toml
from tests.training.test_loop import losses, photos, recipe_of, same_weights  # noqa: F401  # a fixture

SCRIPT = Path(__file__).parents[2] / "docs/examples/slurm-train.sh"
PROGRAMS = {
    "scontrol": 'test "$*" = "show hostnames one,two"\nprintf "localhost\\nother\\n"',
    "srun": """
test "$1" = --kill-on-bad-exit=1 && shift
for node in 0 1; do
    SLURM_NODEID=$node setsid "$@" &
    echo $! > "$NODES/$node"
done
for node in 0 1; do wait "$(cat "$NODES/$node")" || failed=1; done
exit ${failed:-0}
""",
    "torchrun": f'exec {shlex.quote(sys.executable)} -m torch.distributed.run "$@"',
}


@pytest.fixture
def submit(tmp_path, monkeypatch):
    """Start the script as a job of two nodes with a process each; whatever is left of them ends with the test."""
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    started = []

    def submit(*arguments: object) -> subprocess.Popen:
        slurm = {
            "SLURM_JOB_NODELIST": "one,two",
            "SLURM_NNODES": "2",
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_JOB_ID": str(_free_port() - 20000),
            "NODES": str(tmp_path),
        }
        command = ["bash", SCRIPT, *map(str, arguments)]
        started.append(subprocess.Popen(command, env=os.environ | slurm))
        return started[-1]

    yield submit
    if started[-1].poll() is None:
        for node in (0, 1):
            lose_node(tmp_path, node)
        started[-1].wait(60)


def _free_port() -> int:
    """One of those that the script may choose."""
    for port in range(20000 + os.getpid() % 9000, 30000):
        with socket.socket() as taken, suppress(OSError):
            taken.bind(("", port))
            return port
    raise OSError("no port is free")


def lose_node(folder: Path, node: int) -> None:
    """Kill torchrun on a node and the processes that it started, which are in sessions of their own."""
    with suppress(FileNotFoundError, ProcessLookupError):
        agent = int((folder / str(node)).read_text())
        workers = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
        for process in (agent, *map(int, workers)):
            os.kill(process, signal.SIGKILL)


@pytest.mark.slow
def test_two_nodes_train_as_one_process_with_the_same_batch(photos, tmp_path, submit):  # noqa: F811
    shutil.copytree(photos, tmp_path / "photos", ignore=shutil.ignore_patterns("broken*"))
    recipe = recipe_of(
        tmp_path / "photos", batches__batch_size=16, optimiser__freeze_batch_norm=True, schedule__epochs=1
    )
    recipe = replace(recipe, model=replace(recipe.model, name="gem", arguments={}))  # no batch norm in its head
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    asked = [tmp_path / "recipe.toml", "--workers", 0, "-q", "-o"]
    one = [sys.executable, "-m", "imgret", "train", *map(str, asked), str(tmp_path / "one")]
    subprocess.run(one, check=True, timeout=300)
    assert submit(*asked, tmp_path / "two").wait(300) == 0
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
    weights = [load_model(tmp_path / name / "best.safetensors").model.state_dict() for name in ("one", "two")]
    for key, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][key], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of a node in /proc")
def test_a_run_that_lost_a_node_ends_and_goes_on_exactly(photos, tmp_path, submit):  # noqa: F811
    recipe = recipe_of(photos, schedule__epochs=5, run__save_minutes=1e-9)
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    asked = [tmp_path / "recipe.toml", "--workers", 0, "-q", "-o"]
    assert submit(*asked, tmp_path / "whole").wait(300) == 0
    job = submit(*asked, tmp_path / "cut")
    metrics = tmp_path / "cut" / journal.METRICS
    until = time.monotonic() + 200
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 8) and time.monotonic() < until:
        time.sleep(0.02)
    lose_node(tmp_path, 1)
    assert job.wait(120) != 0
    done = len(losses(tmp_path / "cut"))
    assert 8 < done < 30  # 49 images make 6 batches of 8, five times
    assert submit(*asked, tmp_path / "cut").wait(300) == 0
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert same_weights(tmp_path / "cut", tmp_path / "whole")
