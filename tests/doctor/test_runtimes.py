"""What two OpenMP runtimes in one process do, and which verdict it is."""

from __future__ import annotations

from imgret.doctor import runtimes
from imgret.doctor.child import Outcome

TORCH, FAISS = "/t/torch/lib/libgomp-a34b3233.so.1", "/f/faiss_cpu.libs/libgomp-e985bcbb.so.1.0.0"


def well(*paths, found=True):
    return runtimes.judge(Outcome("well", {"found": found, "runtimes": list(paths)}))


def test_runtimes_are_told_from_other_libraries(monkeypatch):
    others = ["/usr/lib/libc.so.6", "/x/libgomp/libother.so", "/usr/lib/libcomputer.so"]
    monkeypatch.setattr(runtimes, "_libraries", lambda: [*others, TORCH, TORCH, FAISS, "/opt/libiomp5.so"])
    assert runtimes.loaded() == [FAISS, "/opt/libiomp5.so", TORCH]


def test_this_process_has_libraries():
    assert isinstance(runtimes._libraries(), list)


def test_copies_of_one_runtime_that_work_are_fine_and_two_kinds_a_warning():
    assert well().verdict == well(TORCH).verdict == "ok"
    two = well(TORCH, FAISS)
    assert (two.verdict, two.words) == ("ok", "they run together, on 2 copies of libgomp")
    mixed = well(TORCH, "/opt/libiomp5.so")
    assert mixed.verdict == "warning"
    assert "libgomp and libiomp5" in mixed.words
    assert "OMP_NUM_THREADS=1" in mixed.next_step


def test_a_runtime_that_refuses_a_crash_and_a_hang_are_wrong():
    refused = runtimes.judge(Outcome("signal", reason="SIGABRT", detail="OMP: Error #15: Initializing libomp.dylib"))
    assert "two OpenMP runtimes are in one process" in refused.words
    crashed = runtimes.judge(Outcome("signal", reason="SIGSEGV"))
    assert "each imports alone, together they end with SIGSEGV" in crashed.words
    hung = runtimes.judge(Outcome("hang", reason="it did not end within 9 s"))
    assert "together they hang" in hung.words
    assert {refused.verdict, crashed.verdict, hung.verdict} == {"wrong"}


def test_a_search_that_finds_the_wrong_vectors_is_wrong():
    assert well(TORCH, found=False).verdict == "wrong"
