"""Imports that crash, hang, fail or do not fit are said in words; each is planted as a module on the path."""

from __future__ import annotations

import os

import pytest

from imgret.doctor import child, imports
from imgret.doctor.imports import Package, try_imports
from tests.doctor.conftest import FINE, HANG, NMS, SIGILL, SIGSEGV

signals = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def versions(monkeypatch):
    """Which versions are installed, instead of what is installed here."""
    known: dict[str, str] = {}

    def version(name):
        if name not in known:
            raise imports.metadata.PackageNotFoundError(name)
        return known[name]

    monkeypatch.setattr(imports.metadata, "version", version)
    monkeypatch.setattr(imports, "required", lambda: {"torch": "2.11", "torchvision": "0.26", "faiss-cpu": "1.15"})
    return known


def tried(monkeypatch, *modules, timeout=60.0):
    """Findings by module, of these modules only, asked nothing beyond their import."""
    some = {name: Package(imports.PACKAGES[name].distributions, imports.PACKAGES[name].needs) for name in modules}
    monkeypatch.setattr(imports, "PACKAGES", some)
    return {name: finding for name, finding, _ in try_imports(timeout) if finding is not None}


@signals
def test_a_package_built_for_another_processor_is_named_with_what_to_type(stand_in, versions, monkeypatch):
    stand_in("faiss", SIGILL)
    versions["faiss-cpu"] = "1.14.2"
    found = tried(monkeypatch, "faiss")["faiss"]
    assert found.verdict == "wrong"
    assert "this processor lacks instructions that faiss-cpu 1.14.2 was built with (SIGILL)" in found.words
    assert found.next_step == "python -m pip install --force-reinstall 'faiss-cpu>=1.15'"
    assert "Illegal instruction" in found.detail  # where it happened, for -v


def test_a_processor_without_avx2_is_told_beside_the_signal(monkeypatch, tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(imports, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(imports.platform, "machine", lambda: "x86_64")
    cpuinfo.write_text("flags : sse4_2 avx\n")
    assert "it has no AVX2" in imports.crash("faiss", "SIGILL")
    cpuinfo.write_text("flags : sse4_2 avx avx2\n")
    assert "it has no AVX2" not in imports.crash("faiss", "SIGILL")


@signals
def test_a_segmentation_fault_is_a_line_and_the_other_packages_are_tried_all_the_same(stand_in, versions, monkeypatch):
    stand_in("h5py", SIGSEGV)
    stand_in("faiss", FINE)
    versions["faiss-cpu"] = "1.15.1"
    found = tried(monkeypatch, "h5py", "faiss")
    assert found["h5py"].verdict == "wrong"
    assert "importing h5py crashes (SIGSEGV)" in found["h5py"].words
    assert (found["faiss"].verdict, found["faiss"].words) == ("ok", "faiss-cpu 1.15.1")


def test_an_import_that_hangs_is_ended_and_said(stand_in, versions, monkeypatch):
    stand_in("torch", HANG)
    found = tried(monkeypatch, "torch", timeout=1.0)["torch"]
    assert found.verdict == "wrong"
    assert "importing torch hangs: it did not end within 1 s" in found.words


@pytest.mark.parametrize(
    ("build", "index"),
    [("", ""), ("+cpu", " --index-url https://download.pytorch.org/whl/cpu"), ("+git1", "")],
)
def test_torch_and_torchvision_that_do_not_fit_are_named_with_the_line_to_type(
    stand_in, versions, monkeypatch, build, index
):
    stand_in("torch", FINE)
    stand_in("torchvision", NMS)
    versions |= {"torch": f"2.14.1{build}", "torchvision": "0.29.1"}
    found = tried(monkeypatch, "torch", "torchvision")
    assert found["torch"].verdict == "ok"
    words = f"torch 2.14.1{build} and torchvision 0.29.1 do not fit together (operator torchvision::nms does not exist)"
    assert (found["torchvision"].verdict, found["torchvision"].words) == ("wrong", words)
    assert found["torchvision"].next_step == f"python -m pip install --force-reinstall torch torchvision{index}"


def test_a_pair_that_imports_but_is_of_two_releases_is_a_warning(stand_in, versions, monkeypatch):
    for name in ("torch", "torchvision"):
        stand_in(name, FINE)
    versions |= {"torch": "2.14.1", "torchvision": "0.28.0"}  # 0.29 goes with 2.14: 14 + 15
    found = tried(monkeypatch, "torch", "torchvision")["torchvision"]
    assert (found.verdict, found.words) == ("warning", "torchvision 0.28.0 is made for another torch than torch 2.14.1")


def test_a_missing_module_is_said_with_its_line(stand_in, versions, monkeypatch):
    stand_in("faiss", "raise ModuleNotFoundError(\"No module named 'faiss'\")")
    found = tried(monkeypatch, "faiss")["faiss"]
    assert (found.verdict, found.words) == ("wrong", "not installed")
    assert found.next_step == "python -m pip install 'faiss-cpu>=1.15'"


def test_a_module_that_lacks_another_names_the_other(stand_in, versions, monkeypatch):
    stand_in("h5py", "import no_such_module_at_all.part")
    found = tried(monkeypatch, "h5py")["h5py"]
    assert found.words == "h5py needs no_such_module_at_all, which is not installed"
    assert found.next_step == "python -m pip install no_such_module_at_all"


def test_what_needs_a_broken_package_is_not_tried_and_has_its_line(stand_in, versions, monkeypatch):
    stand_in("torch", "raise ImportError('libcudart.so.12: cannot open shared object file: No such file')")
    stand_in("timm", HANG)
    found = tried(monkeypatch, "torch", "timm", timeout=30.0)
    assert found["torch"].words == "torch needs the system library libcudart.so.12, which is not here"
    assert (found["timm"].verdict, found["timm"].words) == ("wrong", "not tried: it needs torch")
    assert found["timm"].next_step == found["torch"].next_step


def test_a_module_built_for_another_numpy_is_said(stand_in, versions, monkeypatch):
    stand_in("faiss", "raise ImportError('numpy.core.multiarray failed to import')")
    found = tried(monkeypatch, "faiss")["faiss"]
    assert "was built for another NumPy" in found.words
    assert "'numpy>=2.0'" in found.next_step


def test_an_old_version_that_imports_is_a_warning(stand_in, versions, monkeypatch):
    stand_in("faiss", FINE)
    versions["faiss-cpu"] = "1.9.0"  # as numbers: 9 is less than 15
    found = tried(monkeypatch, "faiss")["faiss"]
    assert (found.verdict, found.words) == (
        "warning",
        "faiss-cpu 1.9.0 is older than 1.15, the oldest that imgret is made for",
    )
    assert found.next_step == "python -m pip install --upgrade 'faiss-cpu>=1.15'"


def test_the_least_versions_are_those_imgret_is_installed_with(monkeypatch):
    lines = ["torch>=2.11", "faiss-cpu (>=1.15)", "tomli>=2.0; python_version < '3.11'", "pytest>=8.3; extra == 'dev'"]
    monkeypatch.setattr(imports.metadata, "requires", lambda name: lines)
    assert imports.required() == {"torch": "2.11", "faiss-cpu": "1.15"}


def test_a_file_of_the_current_folder_is_not_taken_for_a_package(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise ImportError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    assert child.run("import json; print(json.dumps(1))").answer == 1


def test_a_child_that_ends_early_and_says_nothing_did_not_end_well():
    assert child.run("import os; os._exit(0)").ended == "error"
    failed = child.run("import sys; sys.exit('no more')")
    assert (failed.ended, failed.reason) == ("error", "no more")
