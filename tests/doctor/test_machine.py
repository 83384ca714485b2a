"""Python, formats, memory, folder and clock: each fault is planted once."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext

import pytest

from imgret.doctor import machine
from imgret.doctor.finding import Finding
from imgret.errors import StoreBusyError

CODECS = {"jpg": "6.2", "libjpeg_turbo": "3.2", "zlib": "1.3", "webp": "1.6", "avif": "1.4"}
TORCH = {
    "cpu": "AVX2",
    "capabilities": ["avx2"],
    "built_for_cuda": None,
    "gpus": [],
    "gpu_bf16": False,
}


def by_what(findings):
    return {finding.what: finding for finding in findings}


def test_an_old_python_is_wrong(monkeypatch):
    assert machine.python().verdict == "ok"
    monkeypatch.setattr(machine, "OLDEST_PYTHON", (9, 0))
    assert machine.python().verdict == "wrong"
    assert machine.python().next_step == "python9.0 -m venv venv"


def test_a_pillow_without_jpeg_is_wrong_and_without_avif_a_warning():
    assert machine.codecs(CODECS).verdict == "ok"
    assert machine.codecs(CODECS | {"libjpeg_turbo": None}).verdict == "ok"  # another libjpeg reads them as well
    assert machine.codecs(CODECS | {"jpg": None}).verdict == "wrong"
    found = machine.codecs(CODECS | {"avif": None})
    assert (found.verdict, found.words) == (
        "warning",
        "Pillow was built without avif: such images are listed as unsupported",
    )


def test_the_accelerator_is_named_with_its_precision(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_NVIDIA_DRIVER", tmp_path / "version")
    assert machine.accelerator(TORCH).words == "no GPU; the processor (AVX2) in fp32, for it has no bf16"
    assert (
        machine.accelerator(TORCH | {"capabilities": ["avx512_bf16"]}).words == "no GPU; the processor (AVX2) in bf16"
    )
    assert machine.accelerator(TORCH | {"gpus": ["H100"], "gpu_bf16": True}).words == "H100; bf16"
    (tmp_path / "version").touch()
    found = machine.accelerator(TORCH)
    assert found.verdict == "warning"
    assert "an NVIDIA driver is here: this torch is built without CUDA" in found.words


@pytest.mark.parametrize(("free", "verdict"), [(None, "ok"), (8_000_000_000, "ok"), (1_900_000_000, "warning")])
def test_little_memory_is_a_warning(monkeypatch, free, verdict):
    monkeypatch.setattr(machine, "_free_memory", lambda: free)
    assert machine.memory().verdict == verdict


def test_a_sound_folder_is_left_as_it_was(tmp_path):
    found = by_what(machine.folder(tmp_path))
    assert (found["file locks"].verdict, found["clock"].verdict) == ("ok", "ok")
    assert os.listdir(tmp_path) == []


def test_room_is_said_in_descriptors(tmp_path):
    # 2.048 GB at 1,024 bytes each: 512 numbers of two bytes
    assert "room for 2.0 million descriptors" in machine.disk(2_048_000_000, tmp_path).words
    assert machine.disk(900_000_000, tmp_path).verdict == "warning"


def test_a_folder_that_cannot_be_written_is_wrong(tmp_path):
    (found,) = machine.folder(tmp_path / "gone")
    assert found.verdict == "wrong"
    assert "nothing can be written in" in found.words
    assert "cd FOLDER" in found.next_step


def test_a_file_system_without_locks_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "WriterLock", lambda folder: nullcontext())  # a lock that locks nothing
    found = machine.locking(tmp_path, tmp_path)
    assert found.verdict == "wrong"
    assert "without locks: two may write a store" in found.words

    def refuse(folder):
        raise StoreBusyError("no locks available")

    monkeypatch.setattr(machine, "WriterLock", refuse)
    assert "gives no locks" in machine.locking(tmp_path, tmp_path).words


def test_a_clock_before_the_release_or_beside_the_file_systems_is_a_warning(tmp_path, monkeypatch):
    now = time.time()
    assert machine.clock(tmp_path).verdict == "ok"
    monkeypatch.setattr(machine.time, "time", lambda: now + 60)
    late = machine.clock(tmp_path)
    assert late.verdict == "warning"
    assert "the file system's differs by 60 s" in late.words.replace("59 s", "60 s")
    monkeypatch.setattr(machine.time, "time", lambda: 0.0)
    assert "it says 1970-01-01 00:00 UTC, before this imgret was made" in machine.clock(tmp_path).words


def test_a_verdict_is_one_of_three():
    with pytest.raises(ValueError, match="a verdict is one of ok, warning, wrong"):
        Finding("x", "fine", "")
