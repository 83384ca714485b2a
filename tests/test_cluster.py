"""The scripts of docs/examples do what docs/cluster.md says, as far as one machine can tell: a Slurm task is its body
with the variables that Slurm sets, a pod its command line with those of its Job."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml  # timm depends on it

from imgret.store import Store
from tests.cli.test_cli import FAST, answers, run
from tests.pictures import save, textured

EXAMPLES = Path(__file__).parent.parent / "docs/examples"
PARTS = 8  # of every example
IMAGES = 24
RECORD = """#!/bin/sh
for word in "$@"; do printf '%s\\0' "$word"; done >> "$RECORD"
printf '\\n' >> "$RECORD"
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with drawn pictures and a `bin` that comes first in PATH; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    for number in range(IMAGES):
        save(tmp_path / "photos", f"{'ab'[number % 2]}/{number}.png", number)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return tmp_path


def program(place: Path, name: str, text: str) -> None:
    path = place / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def python_program(place: Path, name: str, module: str) -> None:
    program(place, name, f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n')


def said_to_imgret(place: Path, command: list, **environment: object) -> list[list[str]]:
    """The arguments of each call of imgret that a command makes."""
    program(place, "imgret", RECORD)
    record = place / "record"
    record.unlink(missing_ok=True)
    shell(command, RECORD=record, **environment)
    return [line.split("\0")[:-1] for line in record.read_text().splitlines()]


def shell(command: list, **environment: object) -> None:
    here = {name: str(value) for name, value in environment.items()}
    subprocess.run([str(word) for word in command], env=os.environ | here, check=True, timeout=300)


def rows_of(store: Path) -> dict[str, np.ndarray]:
    return {
        image_id: row
        for block in Store.open(store).blocks()
        for image_id, row in zip(block.ids, block.descriptors, strict=True)
    }


def check_against_one_machine(place: Path, options: list[str]) -> None:
    """`work/store` and `work/index` hold and answer what one undivided run does."""
    run("extract", "photos", "-o", "one", *options, "-q")
    run("index", "one", "-o", "one-index", "-q")
    ours, theirs = rows_of(place / "work/store"), rows_of(place / "one")
    assert ours.keys() == theirs.keys()
    assert len(ours) == IMAGES
    assert min(ours[image_id] @ theirs[image_id] for image_id in ours) >= 0.9999
    textured(7, 80, 60).save("query.png")
    found = [
        answers(run("search", index, "query.png", "-k", 5, "--workers", 0))[0]["results"]
        for index in ("work/index", "one-index")
    ]
    assert [hit["id"] for hit in found[0]] == [hit["id"] for hit in found[1]]


def test_the_tasks_of_a_slurm_array_make_the_store_of_one_machine(place, mean_colour):
    options = ["--model", mean_colour, *FAST]
    extract = ["bash", EXAMPLES / "slurm-extract.sh", "work", "photos", *options]
    for task in range(1, PARTS + 1):
        (said,) = said_to_imgret(place, extract, SLURM_ARRAY_TASK_ID=task, SLURM_CPUS_PER_TASK=2)
        assert said[:5] == ["extract", "-o", f"work/part-{task}", "--part", f"{task}/{PARTS}"]
        run(*said, "-q")
    merge, index = said_to_imgret(place, ["bash", EXAMPLES / "slurm-index.sh", "work", "-q"], SLURM_CPUS_PER_TASK=2)
    run(*merge)
    run(*index)
    check_against_one_machine(place, options)


def test_a_slurm_index_of_too_few_parts_is_refused(place, mean_colour):
    run("extract", "photos", "-o", "work/part-1", "--part", f"1/{PARTS}", "--model", mean_colour, *FAST, "-q")
    merge, _ = said_to_imgret(place, ["bash", EXAMPLES / "slurm-index.sh", "work"], SLURM_CPUS_PER_TASK=2)
    assert "part-2" in run(*merge, code=1).stderr


@pytest.mark.slow
def test_the_slurm_scripts_run_as_they_are_with_the_model_that_ships(place):
    python_program(place, "imgret", "imgret")
    for name in ("slurm-extract.sh", "slurm-index.sh"):
        (place / name).write_text((EXAMPLES / name).read_text().replace(f"parts={PARTS}", "parts=3"))
    options = ["--image-size", "64", "--precision", "fp32"]
    for task in (1, 2, 3):
        shell(["bash", "slurm-extract.sh", "work", "photos", *options], SLURM_ARRAY_TASK_ID=task, SLURM_CPUS_PER_TASK=1)
    shell(["bash", "slurm-index.sh", "work"], SLURM_CPUS_PER_TASK=1)
    check_against_one_machine(place, options)


def job_of(name: str) -> dict:
    """A Job, after a look at what the interface would refuse or misread."""
    job = yaml.safe_load((EXAMPLES / name).read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # a Job takes this or OnFailure alone
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert all(isinstance(variable.get("value", ""), str) for variable in container["env"])  # numbers are refused
    return job


def command_of(job: dict, place: Path, **environment: object) -> tuple[list[str], dict[str, object]]:
    """What a pod of a Job runs and its variables, its folders moved below a place."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    script = re.sub(rf"({'|'.join(mounted)})\b", rf"{place}\1", *container["args"])
    fixed = {variable["name"]: variable.get("value", "2") for variable in container["env"]}
    return [*container["command"], script], fixed | environment


def test_the_pods_of_a_kubernetes_job_make_the_store_of_one_machine(place, mean_colour):
    options = ["--model", mean_colour, *FAST]
    job = job_of("kubernetes-extract.yaml")
    assert job["spec"]["completionMode"] == "Indexed"
    for pod in range(job["spec"]["completions"]):
        command, environment = command_of(job, place, JOB_COMPLETION_INDEX=pod)
        (said,) = said_to_imgret(place, command, **environment)
        assert said[said.index("--part") + 1] == f"{pod + 1}/{PARTS}"
        run(*said, "--dry-run")
        run(*said, *options, "-q")
    merge, index = said_to_imgret(place, *command_of(job_of("kubernetes-index.yaml"), place)[:1], PARTS=PARTS)
    run(*merge)
    run(*index)
    check_against_one_machine(place, options)


def test_the_examples_agree_on_the_number_of_parts():
    text = {path.name: path.read_text() for path in EXAMPLES.iterdir()}
    assert f"#SBATCH --array=1-{PARTS}\n" in text["slurm-extract.sh"]
    assert all(f"\nparts={PARTS} #" in text[name] for name in ("slurm-extract.sh", "slurm-index.sh"))
    extract, index = job_of("kubernetes-extract.yaml"), job_of("kubernetes-index.yaml")
    assert extract["spec"]["completions"] == PARTS
    for job in (extract, index):
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert {"name": "PARTS", "value": str(PARTS)} in container["env"]
