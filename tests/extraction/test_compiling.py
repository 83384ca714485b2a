from __future__ import annotations

import pytest
import torch

from imgret.extraction import compiling
from imgret.extraction.compiling import Compiling

CPU = torch.device("cpu")
IMAGES = torch.ones(2, 3, 4, 4)


def plain(images):
    return images.sum((2, 3))


@pytest.fixture
def compiled(monkeypatch):
    """Calls of torch.compile; what they give adds nothing, but says so."""
    calls = []

    def compile(rows, **options):
        calls.append(options)
        return lambda images: calls.append("called") or rows(images)

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: f"/usr/bin/{name}")
    return calls


def pace(model: Compiling, seconds: float, batches: int = 20) -> None:
    for _ in range(batches):
        if not model.settled:
            model.note(seconds, 1)


def test_many_slow_images_are_worth_compiling_for(compiled):
    said = []
    model = Compiling(plain, CPU, torch.float32, None, said.append)
    model.expect(10_000)
    pace(model, 0.2, 8)  # 2,000 s to go: 5 % of them are more than twice the start
    assert len(compiled) == 1
    assert "33 minutes" in said[0]
    assert model(IMAGES).tolist() == plain(IMAGES).tolist()
    assert compiled[-1] == "called"


@pytest.mark.parametrize(("images", "seconds"), [(300, 0.2), (10_000, 0.01)])
def test_few_or_quick_images_are_not(compiled, images, seconds):
    model = Compiling(plain, CPU, torch.float32, None)
    model.expect(images)
    pace(model, seconds)
    assert model.settled
    assert not compiled


@pytest.mark.parametrize(("seconds", "stays"), [(0.1, True), (0.3, False)])
def test_a_compiled_model_that_is_slower_does_not_stay(compiled, seconds, stays):
    model = Compiling(plain, CPU, torch.float32, None)
    model.expect(10_000)
    pace(model, 0.2, 8)
    while not model.settled:
        model.note(0.2 if model._rows is plain else seconds, 1)
    assert (model._rows is not plain) == stays


def test_a_batch_of_one_is_never_compiled_for(compiled):
    model = Compiling(plain, CPU, torch.float32, True)
    model(IMAGES[:1])
    assert "called" not in compiled
    model(IMAGES)
    assert "called" in compiled


def test_no_means_no_and_yes_means_at_once(compiled):
    never = Compiling(plain, CPU, torch.float32, False)
    never.expect(10**9)
    assert never.settled
    assert not compiled
    Compiling(plain, CPU, torch.float32, True)
    assert len(compiled) == 1


def test_what_cannot_be_compiled_goes_on_as_it_is(monkeypatch):
    def refuse(images):
        raise RuntimeError("\nno such graph\nand a long story")

    monkeypatch.setattr(torch, "compile", lambda rows, **options: refuse)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: "/usr/bin/c++")
    said = []
    model = Compiling(plain, CPU, torch.float32, True, said.append)
    assert model(IMAGES).tolist() == plain(IMAGES).tolist()
    assert model(IMAGES).tolist() == plain(IMAGES).tolist()
    assert said == ["note: the model cannot be compiled here (no such graph); it goes on as it is"]


def test_a_machine_without_a_compiler_is_told_so(monkeypatch):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    said = []
    model = Compiling(plain, CPU, torch.float32, True, said.append)
    assert model(IMAGES).tolist() == plain(IMAGES).tolist()
    assert "no C++ compiler" in said[0]


@pytest.fixture
def gpu(compiled):
    return Compiling(plain, torch.device("cuda"), torch.float32, True)


def test_a_gpu_records_shapes_that_come_often_and_no_more_than_a_few(gpu, compiled):
    assert compiled == [{"dynamic": False, "mode": "reduce-overhead"}]
    for _ in range(3):
        gpu(IMAGES)
    assert "called" not in compiled
    gpu(IMAGES)  # the fourth time
    assert compiled.count("called") == 1
    for height in range(5, 20):
        for _ in range(4):
            gpu(torch.ones(2, 3, height, 4))
    assert compiled.count("called") == 6  # five more shapes, once each; the others go on plainly


def test_a_gpu_compiles_only_when_asked_to(compiled):
    model = Compiling(plain, torch.device("cuda"), torch.float32, None)
    model.expect(10**9)
    assert model.settled
    assert not compiled
